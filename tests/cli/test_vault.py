"""`noetl vault rotate-key`, and `noetl run` with credentials from the store."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from noetl.clock import SystemClock
from noetl.settings import StoreSettings
from noetl.store.logs.sqlite import open_sqlite
from noetl.store.store import Store
from noetl.vault.credential import Use
from noetl.vault.keyring import FileKeys
from noetl.vault.vaults.sealed import SealedVault
from tests.cli.command import document, killed_at, newest, noetl, was_killed, write
from tests.cli.echo import echo_server

TOKEN = "t0k3n-ABC/def+42=="
USE = Use(1, "start", "test")

PLAYBOOK = """
    - step: start
      tool: {kind: http, url: "{{ workload.base }}/x", auth: api}
      set: {ctx.header: "{{ result.data.authorization }}"}
      next: use
    - step: use
      args: {header: "{{ ctx.header }}"}
      tool: {kind: python, code: "result = len(header)"}
"""


def with_store(folder: Path, work: Any) -> Any:
    """What `work(store, vault)` gives on the store that commands in the folder use."""

    async def run() -> Any:
        directory = folder / ".noetl"
        store: Store = await open_sqlite(directory / "noetl.db", directory, StoreSettings())
        try:
            return await work(store, SealedVault(store.credentials, FileKeys(directory / "vault.key"), SystemClock()))
        finally:
            await store.close()

    return asyncio.run(run())


def put(folder: Path, name: str = "api", token: str = TOKEN, **scope: Any) -> None:
    with_store(folder, lambda _, vault: vault.put(name, "bearer", {"token": token}, **scope))


def token_of(folder: Path, name: str = "api") -> str:
    record = with_store(folder, lambda _, vault: vault.open(name, USE))
    found: str = record.data["token"]
    return found


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    with echo_server() as base:
        write(tmp_path, PLAYBOOK, head=f"workload: {{base: '{base}'}}")
        put(tmp_path)
        yield tmp_path


def test_a_run_opens_credentials_of_its_store_and_that_is_on_record(place: Path) -> None:
    run = noetl("run", "test.yaml", "--json", cwd=place)
    assert document(run)["steps"]["use"]["result"] == len(f"Bearer {TOKEN}")
    (opening,) = with_store(place, lambda store, _: store.credentials.openings("api"))
    assert (str(opening.execution_id), opening.step, opening.version) == (newest(place), "start", 1)


def test_a_credential_of_another_domain_is_refused_in_words(place: Path) -> None:
    put(place, domains=["billing"])
    run = noetl("run", "test.yaml", "--json", cwd=place)
    assert document(run)["error"]["kind"] == "auth"
    assert "credential 'api' is for playbooks of the domains billing; this one's is 'test'" in document(run)["error"]["message"]


def test_after_a_rotation_credentials_open_and_a_run_from_before_goes_on(place: Path) -> None:
    assert was_killed(killed_at(2, "after", "run", "test.yaml", cwd=place))
    before = (place / ".noetl/vault.key").read_bytes()
    rotated = noetl("vault", "rotate-key", cwd=place)
    assert rotated.returncode == 0, rotated.stderr
    key = FileKeys(place / ".noetl/vault.key").current()
    assert key.secret != before
    assert f"key {key.id} seals from now on; 1 version of credentials wrapped anew" in rotated.stdout
    assert "older keys stay in " in rotated.stdout
    resumed = noetl("run", "--resume", newest(place), "--json", cwd=place)
    assert document(resumed)["steps"]["use"]["result"] == len(f"Bearer {TOKEN}")
    assert document(noetl("run", "test.yaml", "--json", cwd=place))["status"] == "completed"


def test_a_key_that_somebody_else_keeps_is_put_before_the_old_one(place: Path) -> None:
    old, new = (place / ".noetl/vault.key").read_bytes().hex(), (b"n" * 32).hex()
    (place / ".noetl/vault.key").unlink()
    env = {"NOETL_VAULT_KEY_ENV": "MASTER", "MASTER": f"{new},{old}"}
    rotated = noetl("vault", "rotate-key", cwd=place, env=env)
    assert "1 version of credentials wrapped anew" in rotated.stdout
    only_new = noetl("run", "test.yaml", "--json", cwd=place, env=env | {"MASTER": new})
    assert document(only_new)["status"] == "completed"
    assert not (place / ".noetl/vault.key").exists()
    only_old = noetl("run", "test.yaml", "--json", cwd=place, env=env | {"MASTER": old})
    assert "credential 'api' is sealed with the key " in document(only_old)["error"]["message"]


def test_a_store_that_is_not_there_has_no_key_to_rotate(tmp_path: Path) -> None:
    rotated = noetl("vault", "rotate-key", cwd=tmp_path)
    assert rotated.returncode == 2
    assert "there is no store" in rotated.stderr
    assert not (tmp_path / ".noetl").exists()


KILLER = """
import os, signal, sys
from noetl.store.logs import sqlite_connection
from noetl.vault import key

left = int(sys.argv[1])

def counting(function):
    def call(*args, **kwargs):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return call

from pathlib import Path
for name in ("open", "write", "fsync", "link"):
    setattr(key.os, name, counting(getattr(os, name)))
Path.replace = counting(Path.replace)
sqlite_connection.Connection.end_transaction = counting(sqlite_connection.Connection.end_transaction)
sys.argv[1:] = ["vault", "rotate-key"]
from noetl.__main__ import main
main()
"""


@pytest.mark.parametrize("after", [0, 3, 8, 12, 16, 18])
def test_a_rotation_that_is_killed_leaves_everything_readable_and_can_be_done_again(place: Path, after: int) -> None:
    for number in range(3):
        put(place, f"api {number}", f"value {number}")
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[2])}
    killed = subprocess.run([sys.executable, "-c", KILLER, str(after)], cwd=place, env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL, "there is something left to be killed at"
    assert [token_of(place, f"api {number}") for number in range(3)] == [f"value {number}" for number in range(3)]
    assert noetl("vault", "rotate-key", cwd=place).returncode == 0
    assert token_of(place) == TOKEN
    key = FileKeys(place / ".noetl/vault.key").current()
    assert with_store(place, lambda store, _: store.credentials.not_under(key.id)) == []
