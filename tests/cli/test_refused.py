"""What can't be run: everything that is wrong is said at once, and nothing is written, not even a store."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from noetl.store.logs.sqlite_schema import APPLICATION_ID
from tests.cli.command import document, files, noetl, write

HELLO = "- {step: start, tool: {kind: noop, result: hello}}"

BROKEN = """
- step: start
  colour: red
  tool: {kind: nop, result: "{{ 1 + }}"}
  next: nowhere
- {step: page, tool: {kind: http}}
"""
ERRORS = [
    (8, "unknown key 'colour' in step 'start'"),
    (9, "unknown tool kind 'nop'"),
    (9, "template: "),
    (10, "next step 'nowhere' is not defined"),
    (11, "http needs 'url'"),
]


def test_every_error_of_a_playbook_is_said_with_its_place_and_nothing_is_written(tmp_path: Path) -> None:
    write(tmp_path, BROKEN)
    before = files(tmp_path)
    run = noetl("run", "test.yaml", cwd=tmp_path)
    assert (run.returncode, run.stdout) == (2, "")
    *problems, last = [line for line in run.stderr.splitlines() if not line.startswith("    hint:")]
    assert last == "rejected: 5 errors"
    for (line, message), problem in zip(ERRORS, problems, strict=True):
        assert problem.startswith(f"{tmp_path}/test.yaml:{line}:")
        assert f": error: {message}" in problem
    assert files(tmp_path) == before


def test_with_json_a_rejected_playbook_is_one_object_with_all_errors(tmp_path: Path) -> None:
    write(tmp_path, BROKEN)
    run = noetl("run", "test.yaml", "--json", cwd=tmp_path)
    report = document(run)
    errors = report.pop("errors")
    assert report == {"execution_id": None, "status": "rejected", "error": None, "steps": {}}
    assert [error["line"] for error in errors] == [line for line, _ in ERRORS]
    assert all({"message", "line", "column", "path", "key"} <= set(error) <= {"message", "line", "column", "path", "key", "hint"} for error in errors)
    assert errors[1]["hint"] == "did you mean 'noop'?"
    assert run.returncode == 2
    assert files(tmp_path) == {"test.yaml"}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"workflow: [", "YAML: "),
        (b"\xff\xfe", "UTF-8"),
        (b"- a\n- b\n", "a playbook is a mapping"),
        (b"", "a playbook is a mapping"),
    ],
    ids=["yaml", "bytes", "list", "empty"],
)
def test_what_is_no_playbook_is_rejected_with_a_line(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "test.yaml").write_bytes(content)
    run = noetl("run", "test.yaml", "--json", cwd=tmp_path)
    assert run.returncode == 2
    assert says in document(run)["errors"][0]["message"]
    assert document(run)["errors"][0]["line"] >= 1
    assert files(tmp_path) == {"test.yaml"}


def test_a_playbook_that_requires_what_is_not_here_is_refused(tmp_path: Path) -> None:
    write(tmp_path, HELLO, head="executor: {requires: {tools: [noop, teleport]}}")
    run = noetl("run", "test.yaml", cwd=tmp_path)
    assert (run.returncode, run.stderr) == (2, "error: the playbook requires tool kinds that are not available here: teleport\n")
    assert files(tmp_path) == {"test.yaml"}


USAGE: dict[str, tuple[list[str], str]] = {
    "no playbook": ([], "name a playbook, or an execution to --resume (not both)"),
    "both": (["test.yaml", "--resume", "1"], "name a playbook, or an execution to --resume (not both)"),
    "payload of a resume": (["--resume", "1", "--set", "a=1"], "a resumed execution has its payload already"),
    "id": (["--resume", "abc"], "--resume abc: an execution id is a number; `noetl executions list` shows them"),
    "negative id": (["--resume", "-1"], "--resume -1: an execution id is a number"),
    "no JSON": (["test.yaml", "--payload", "{bad"], "--payload: not JSON: "),
    "empty": (["test.yaml", "--payload", ""], "--payload: not JSON: "),
    "a list": (["test.yaml", "--payload", "[1]"], "--payload: must be a JSON object, not a list"),
    "null": (["test.yaml", "--payload", "null"], "--payload: must be a JSON object, not null"),
    "no file": (["test.yaml", "--payload", "@none.json"], "--payload @none.json: can't be read: No such file or directory"),
    "a directory": (["test.yaml", "--payload", "@."], "--payload @.: can't be read: Is a directory"),
    "no value": (["test.yaml", "--set", "a"], "--set a: must be KEY=VALUE"),
    "no key": (["test.yaml", "--set", ".a=1"], "--set .a=1: must be KEY=VALUE"),
    "into a number": (["test.yaml", "--set", "a=1", "--set", "a.b=2"], "--set a.b=2: 'a' is a number, not an object"),
    "large": (["test.yaml", "--set", f"a={2**64}"], "the payload has a whole number of more than 64 bits: write it as text"),
    "deep": (["test.yaml", "--set", "a=" + "[" * 5000 + "]" * 5000], "the payload is nested too deeply"),
    "no text": (["test.yaml", "--set", "a=\udcff"], "the payload has a text that is not UTF-8"),
    "no such playbook": (["none"], "there is no playbook 'none' (looked in "),
    "no store": (["--resume", "12"], "there is no store "),
    "memory": (["--resume", "12", "--store", "memory"], "a store in memory is gone with its process"),
}


@pytest.mark.parametrize("name", USAGE)
def test_bad_usage_is_said_and_nothing_is_written(tmp_path: Path, name: str) -> None:
    arguments, message = USAGE[name]
    write(tmp_path, HELLO)
    run = noetl("run", *arguments, cwd=tmp_path)
    assert (run.returncode, run.stdout) == (2, "")
    assert message in run.stderr
    assert files(tmp_path) == {"test.yaml"}


@pytest.mark.parametrize("name", ["no JSON", "id", "both", "no such playbook"])
def test_with_json_bad_usage_is_an_object_too(tmp_path: Path, name: str) -> None:
    arguments, message = USAGE[name]
    write(tmp_path, HELLO)
    run = noetl("run", "--json", *arguments, cwd=tmp_path)
    assert run.returncode == 2
    report = document(run)
    assert (report["execution_id"], report["status"], report["error"], report["steps"]) == (None, "rejected", None, {})
    assert message in report["errors"][0]["message"]
    assert message in run.stderr


@pytest.mark.parametrize(
    ("env", "says"),
    [
        ({"NOETL_PYTHON_PROCESSES": "many"}, "NOETL_PYTHON_PROCESSES is 'many': Expected `int | null`, got `str`"),
        ({"NOETL_CREDENTIALS": "none.json"}, "NOETL_CREDENTIALS: none.json can't be read: No such file or directory"),
        ({"NOETL_ENV": "prdo"}, "NOETL_ENV is 'prdo', but there is no config/prdo.yaml"),
    ],
)
def test_settings_that_can_not_be_are_refused_and_nothing_is_written(tmp_path: Path, env: dict[str, str], says: str) -> None:
    write(tmp_path, HELLO)
    run = noetl("run", "test.yaml", cwd=tmp_path, env=env)
    assert run.returncode == 2
    assert says in run.stderr
    assert files(tmp_path) == {"test.yaml"}


def other_program(file: Path) -> None:
    connection = sqlite3.connect(file)
    connection.execute("create table theirs (a)")
    connection.close()


def newer(file: Path) -> None:
    connection = sqlite3.connect(file)
    connection.execute(f"pragma application_id = {APPLICATION_ID}")
    connection.execute("pragma user_version = 99")
    connection.close()


STORES: dict[str, tuple[Any, str]] = {
    "text": (lambda file: file.write_text("dear diary\n" * 100), "the file is not a NoETL store"),
    "another program's": (other_program, "the file is a database of another program"),
    "newer": (newer, "the store has format 99, this NoETL knows formats up to 2: use the newer NoETL that wrote it"),
    "damaged": (lambda file: file.write_bytes(b"SQLite format 3\0" + b"\xff" * 5000), "the file is not a NoETL store"),
    "below a file": (lambda file: None, "the store can't be made: "),
    "no directory for files": (lambda file: None, "check that its directory exists and can be written"),
}


@pytest.mark.parametrize("name", STORES)
def test_a_store_that_is_none_is_named_and_left_as_it_is(tmp_path: Path, name: str) -> None:
    make, says = STORES[name]
    write(tmp_path, HELLO)
    store = {"below a file": "test.yaml/x.db", "no directory for files": "/proc/x.db"}.get(name, "some.db")
    make(tmp_path / store)
    before = {file: (tmp_path / file).read_bytes() for file in files(tmp_path)}
    run = noetl("run", "test.yaml", "--store", store, "--json", cwd=tmp_path)
    assert run.returncode == 1
    report = document(run)
    assert (report["execution_id"], report["status"], report["error"]["kind"]) == (None, "failed", "store")
    assert says in report["error"]["message"]
    assert str(Path(tmp_path / store)) in report["error"]["message"]
    assert f"error: {report['error']['message']}\n" == run.stderr
    assert {file: (tmp_path / file).read_bytes() for file in files(tmp_path)} == before
    if (tmp_path / store).exists():
        looked = noetl("executions", "list", "--store", store, cwd=tmp_path)
        assert (looked.returncode, says in looked.stderr) == (1, True)
