"""A store in which something was changed or lost: what leans on it fails with words that name it, and everything else goes on."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from noetl.store.log import chain
from tests.cli.command import document, killed_at, listed, newest, noetl, was_killed, write

WORK = """
    - {step: start, tool: {kind: noop, result: 1}, next: large}
    - {step: large, tool: {kind: python, code: "result = {'text': 'x' * 100000}"}, next: last}
    - {step: last, tool: {kind: noop, result: "{{ large.text | length }}"}}
"""
LARGE_IS_DONE = 3
"""Appends until the large result is there and the last step is under way."""

Damage = Callable[[sqlite3.Connection, str], None]


def killed_run(folder: Path) -> str:
    """The id of a run that was killed before its last step."""
    write(folder, WORK)
    assert was_killed(killed_at(LARGE_IS_DONE, "after", "run", "test.yaml", cwd=folder))
    return newest(folder)


def damage(folder: Path, how: Damage, identifier: str) -> None:
    with closing(sqlite3.connect(folder / ".noetl" / "noetl.db")) as connection:
        how(connection, identifier)
        connection.commit()


def a_changed_row(connection: sqlite3.Connection, identifier: str) -> None:
    connection.execute("update events set body = cast(x'90' as blob) where version = 2 and execution_id = ?", (identifier,))


def a_lost_row(connection: sqlite3.Connection, identifier: str) -> None:
    connection.execute("delete from events where version = 2 and execution_id = ?", (identifier,))


def an_unknown_event(connection: sqlite3.Connection, identifier: str) -> None:
    """Written properly, as a newer version might: the chain of hashes is whole."""
    (before,), (body,) = (
        connection.execute(f"select {column} from events where version = ? and execution_id = ?", (version, identifier)).fetchone()
        for column, version in (("hash", 2), ("body", 3))
    )
    changed = msgspec.msgpack.encode([*msgspec.msgpack.decode(body), {"event": "StepTeleported", "step": "last", "run": 3}])
    connection.execute("update events set body = ?, hash = ? where version = 3 and execution_id = ?", (changed, chain(before, changed), identifier))


def a_changed_playbook(connection: sqlite3.Connection, _: str) -> None:
    connection.execute("update catalog set net = x'00'")


DAMAGES: list[tuple[Damage, str]] = [
    (a_changed_row, "version 2 does not hold what was written: its hash does not match"),
    (a_lost_row, "version 2 is missing: the next row is 3"),
    (an_unknown_event, "the events of version 3 can't be read: Invalid value 'StepTeleported'"),
]


@pytest.mark.parametrize(("how", "reason"), DAMAGES, ids=[how.__name__ for how, _ in DAMAGES])
def test_a_run_whose_log_is_damaged_is_quarantined_with_its_reason_and_others_go_on(tmp_path: Path, how: Damage, reason: str) -> None:
    poisoned, sibling = killed_run(tmp_path), killed_run(tmp_path)
    damage(tmp_path, how, poisoned)
    resumed = noetl("run", "--resume", poisoned, "--json", cwd=tmp_path)
    assert resumed.returncode == 1
    assert (document(resumed)["execution_id"], document(resumed)["error"]["kind"]) == (poisoned, "store")
    assert f"error: execution {poisoned} is quarantined: " in resumed.stderr
    assert reason in resumed.stderr
    assert "--resume" not in resumed.stderr
    assert reason in noetl("executions", "show", poisoned, cwd=tmp_path).stderr
    assert document(noetl("run", "--resume", sibling, "--json", cwd=tmp_path))["steps"]["last"]["result"] == 100_000
    assert {row["execution_id"]: row["status"] for row in listed(tmp_path)} == {poisoned: "failed", sibling: "completed"}


@pytest.mark.parametrize("is_there", [True, False], ids=["changed", "lost"])
def test_a_large_result_that_is_changed_or_lost_fails_the_step_that_reads_it(tmp_path: Path, is_there: bool) -> None:
    identifier = killed_run(tmp_path)
    (blob,) = [path for path in (tmp_path / ".noetl" / "artifacts").rglob("*") if path.is_file()]
    content = blob.read_bytes()
    blob.unlink()
    if is_there:
        blob.write_bytes(content.replace(b"x", b"y"))
    failed = noetl("run", "--resume", identifier, "--json", cwd=tmp_path)
    assert failed.returncode == 1
    error = document(failed)["error"]
    assert error["step"] == "last"
    assert blob.name in error["message"]
    assert ("does not hold what was written" in error["message"]) == is_there
    blob.unlink(missing_ok=True)
    blob.write_bytes(content)
    assert document(noetl("run", "--resume", identifier, "--json", cwd=tmp_path))["steps"]["last"]["result"] == 100_000


def test_a_compiled_playbook_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    identifier = killed_run(tmp_path)
    damage(tmp_path, a_changed_playbook, identifier)
    resumed = noetl("run", "--resume", identifier, cwd=tmp_path)
    assert resumed.returncode == 1
    assert "the compiled playbook of test can't be read by this version" in resumed.stderr


LARGE_VALUES = {
    "python": "{kind: python, code: \"result = 'x' * 100000\"}",
    "noop": "{kind: noop, result: \"{{ 'x' * 100000 }}\"}",
    "ctx": "{kind: noop}, set: {ctx.large: \"{{ 'x' * 100000 }}\"}",
}


@pytest.mark.parametrize("made_by", LARGE_VALUES)
def test_a_large_value_that_can_not_be_stored_stops_the_run_which_goes_on_when_it_can(tmp_path: Path, made_by: str) -> None:
    write(tmp_path, f"- {{step: start, tool: {LARGE_VALUES[made_by]}}}")
    (tmp_path / ".noetl").mkdir()
    artifacts = tmp_path / ".noetl" / "artifacts"
    artifacts.touch()
    run = noetl("run", "test.yaml", cwd=tmp_path)
    assert run.returncode == 1
    assert str(artifacts) in run.stdout + run.stderr
    assert "Not a directory" in run.stdout + run.stderr
    artifacts.unlink()
    assert document(noetl("run", "--resume", newest(tmp_path), "--json", cwd=tmp_path))["status"] == "completed"
