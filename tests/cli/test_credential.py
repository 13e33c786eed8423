"""`noetl credential`: what is sent, and that nothing of the data is printed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import document, noetl
from tests.client.standin import StandIn, body, problem

SECRET = "hunter2-hunter2"
GIVEN = {"name": "pg", "type": "postgres", "description": "main", "data": {"host": "h", "password": SECRET}}
VIEW = {
    "name": "pg",
    "type": "postgres",
    "version": 3,
    "fields": ["host", "password"],
    "domains": ["risk"],
    "hosts": ["db.example"],
    "description": "main",
    "created_at": "2026-11-24T00:00:00Z",
    "updated_at": "2026-11-24T00:00:00Z",
    "updated_by": "me",
    "warnings": ["unknown field 'hots'"],
}


def run(server: StandIn, folder: Path, *arguments: str, code: int = 0, **more: Any) -> Any:
    found = noetl("credential", *arguments, "--url", server.url, cwd=folder, **more)
    assert found.returncode == code, found.stderr
    assert SECRET not in found.stdout + found.stderr
    return found


def write(folder: Path, content: Any) -> str:
    (folder / "c.json").write_text(json.dumps(content))
    return "c.json"


def test_one_or_several_are_kept(server: StandIn, tmp_path: Path) -> None:
    server.answer(body(VIEW, 201))
    found = run(server, tmp_path, "register", write(tmp_path, GIVEN))
    assert (found.stdout, found.stderr) == ("pg  postgres  version 3\n", "warning: pg: unknown field 'hots'\n")
    assert (server.last.path, server.last.body) == ("/api/credentials", GIVEN)
    several = run(server, tmp_path, "register", write(tmp_path, [GIVEN, GIVEN | {"hosts": ["h"], "tags": ["x"]}]), "--json")
    assert (document(several), len(server.asked), server.last.body) == ([VIEW, VIEW], 3, GIVEN | {"hosts": ["h"]})
    assert document(run(server, tmp_path, "register", "-", "--json", input=json.dumps(GIVEN))) == VIEW


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "c.json: not JSON"),
        (json.dumps(GIVEN | {"data": SECRET}), "c.json: Expected `object`, got `str` - at `$.data`"),
        (json.dumps([GIVEN, {"name": "b", "data": {"p": SECRET}}]), "c.json: Object missing required field `type` - at `$[1]`"),
        (json.dumps(SECRET), "c.json: Expected `object`, got `str` - at `$`"),
    ],
)
def test_what_is_no_credential_is_refused_before_anything_is_sent(server: StandIn, tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "c.json").write_text(content)
    assert says in run(server, tmp_path, "register", "c.json", code=2).stderr
    assert server.asked == []


def test_they_are_listed_and_shown_without_their_data(server: StandIn, tmp_path: Path) -> None:
    server.answer(body({"entries": [VIEW], "next": None}))
    assert run(server, tmp_path, "list").stdout == "pg  postgres  version 3  host, password\n"
    assert document(run(server, tmp_path, "list", "--json")) == {"entries": [VIEW], "next": None}
    in_catalog = noetl("catalog", "list", "credential", "--url", server.url, cwd=tmp_path)
    assert in_catalog.stdout == "pg  postgres  version 3  host, password\n"
    server.answer(body(VIEW))
    lines = [line.split(maxsplit=1) for line in run(server, tmp_path, "show", "pg").stdout.splitlines()]
    assert ["credential", "pg  version 3"] in lines
    assert ["domains", "risk"] in lines
    assert document(run(server, tmp_path, "show", "pg", "--json")) == VIEW


def test_one_is_deleted(server: StandIn, tmp_path: Path) -> None:
    server.answer(body(None, 204))
    assert run(server, tmp_path, "delete", "a/b").stdout == "deleted a/b\n"
    assert (server.last.method, server.last.path) == ("DELETE", "/api/credentials/a%2Fb")
    server.answer(problem(404, "there is no credential 'x'"))
    assert run(server, tmp_path, "delete", "x", code=2).stderr == "error: there is no credential 'x'\n"


def test_rotating_gives_new_data_and_keeps_who_may_use_it(server: StandIn, tmp_path: Path) -> None:
    server.answer(body(VIEW))
    new = {"password": SECRET + "!"}
    assert run(server, tmp_path, "rotate", "pg", write(tmp_path, {"data": new})).stdout == "pg  postgres  version 3\n"
    assert server.last.body == {
        "name": "pg",
        "type": "postgres",
        "data": new,
        "domains": ["risk"],
        "hosts": ["db.example"],
        "description": "main",
    }


def test_only_what_is_there_is_rotated(server: StandIn, tmp_path: Path) -> None:
    server.answer(problem(404, "there is no credential 'pg'"))
    run(server, tmp_path, "rotate", "pg", write(tmp_path, GIVEN), code=2)
    assert [asked.method for asked in server.asked] == ["GET"]
    assert "for the credential 'other'" in run(server, tmp_path, "rotate", "other", write(tmp_path, GIVEN), code=2).stderr
    assert "must be one JSON object" in run(server, tmp_path, "rotate", "pg", write(tmp_path, [GIVEN]), code=2).stderr
    assert len(server.asked) == 1
