"""`noetl token` and `noetl login` against a node that asks who calls."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import Server, server


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with server(tmp_path_factory.mktemp("guarded") / "home", environment={"NOETL_API_AUTH": "on"}) as started:
        yield started


def noetl(guarded: Server, *args: str, token: str | None = None, home: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**guarded.environment, "NOETL_URL": guarded.url}
    if token is not None:
        environment["NOETL_TOKEN"] = token
    if home is not None:
        environment["NOETL_HOME"] = str(home)
    return subprocess.run([sys.executable, "-m", "noetl", *args], env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_an_admin_makes_a_token_that_works_until_it_is_revoked(guarded: Server) -> None:
    admin = (Path(guarded.environment["NOETL_HOME"]) / "admin.token").read_text().strip()
    refused = noetl(guarded, "catalog", "list", "playbook")
    assert (refused.returncode, "token" in refused.stderr) == (2, True)
    made = noetl(guarded, "token", "create", "Ada", "--role", "operator", "--domain", "demo", "--ttl", "12h", token=admin)
    assert made.returncode == 0, made.stderr
    token = made.stdout.strip()
    assert noetl(guarded, "catalog", "list", "playbook", token=token).returncode == 0
    listed = noetl(guarded, "token", "list", token=admin).stdout.splitlines()
    assert [line.split()[1:4] for line in listed] == [["admin", "*", "admin"], ["operator", "demo", "Ada"]]
    assert token not in noetl(guarded, "token", "list", "--json", token=admin).stdout
    not_allowed = noetl(guarded, "token", "list", token=token)
    assert (not_allowed.returncode, "needs the role admin" in not_allowed.stderr) == (2, True)
    (ada,) = [entry for entry in json.loads(noetl(guarded, "token", "list", "--json", token=admin).stdout)["entries"] if entry["name"] == "Ada"]
    assert noetl(guarded, "token", "revoke", ada["id"], token=admin).stdout == f"revoked {ada['id']}\n"
    assert noetl(guarded, "catalog", "list", "playbook", token=token).returncode == 2


def test_a_login_is_kept_and_used(guarded: Server, tmp_path: Path) -> None:
    admin = (Path(guarded.environment["NOETL_HOME"]) / "admin.token").read_text().strip()
    assert noetl(guarded, "login", "--token", admin, home=tmp_path / "mine").returncode == 0
    assert noetl(guarded, "token", "list", home=tmp_path / "mine").returncode == 0
    assert noetl(guarded, "token", "list", home=tmp_path / "other").returncode == 2


def test_a_time_that_can_not_be_is_refused(guarded: Server) -> None:
    refused = noetl(guarded, "token", "create", "Ada", "--ttl", "soon")
    assert (refused.returncode, "--ttl soon: must be a number and a unit" in refused.stderr) == (2, True)
