"""`noetl executions prune`: what goes, and what must stay."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.cli.command import document, ended, files, listed, newest, noetl, read_until, start, write

BIG = """
    - {step: start, tool: {kind: python, code: "print(1); result = {'rows': list(range(50000)), 'name': '%s'}"}, next: keep}
    - {step: keep, tool: {kind: duckdb, command: "create table t (a int)"}, next: last}
    - {step: last, tool: {kind: noop, result: "{{ start.rows[3] }}"}}
"""


def age_artifacts(home: Path) -> set[str]:
    """Make all artifacts two hours old; their names."""
    found = [path for path in (home / "artifacts").rglob("*") if path.is_file()]
    for path in found:
        os.utime(path, (time.time() - 7200,) * 2)
    return {path.name for path in found}


def test_what_has_ended_goes_with_its_log_and_its_results_and_nothing_else_does(tmp_path: Path) -> None:
    home = tmp_path / ".noetl"
    write(tmp_path, BIG % "old", name="old")
    write(tmp_path, BIG % "other", name="other")
    for name in ("old.yaml", "other.yaml"):
        run = noetl("run", name, "--json", cwd=tmp_path)
        assert document(run)["status"] == "completed", run.stderr
    old, other = listed(tmp_path, "--path", "old")[0], listed(tmp_path, "--path", "other")[0]
    both = age_artifacts(home)
    assert noetl("executions", "prune", "--older-than", "1h", cwd=tmp_path).stdout == "deleted 0 executions, 0 artifacts\n"
    assert age_artifacts(home) == both
    # make the first one old
    import sqlite3

    connection = sqlite3.connect(home / "noetl.db")
    connection.execute("update executions set ended_at = ended_at - 3600000000 * 3 where id = ?", (int(old["execution_id"]),))
    connection.commit()
    connection.close()
    (home / "run" / old["execution_id"]).mkdir(parents=True, exist_ok=True)
    (home / "run" / old["execution_id"] / "left.duckdb").touch()
    assert noetl("executions", "prune", "--older-than", "1h", cwd=tmp_path).stdout == "deleted 1 execution, 1 artifact\n"
    assert [execution["path"] for execution in listed(tmp_path)] == ["other"]
    assert not [name for name in files(home) if old["execution_id"] in name]
    assert f"logs/{other['execution_id']}.jsonl" in files(home)
    assert len(age_artifacts(home)) == len(both) - 1
    shown = document(noetl("executions", "show", other["execution_id"], "--json", cwd=tmp_path))
    assert shown["steps"]["start"]["result"]["name"] == "other"
    assert noetl("executions", "prune", "--older-than", "0s", cwd=tmp_path).stdout == "deleted 1 execution, 1 artifact\n"


def test_artifacts_that_are_younger_than_an_hour_stay(tmp_path: Path) -> None:
    write(tmp_path, BIG % "young")
    noetl("run", "test.yaml", cwd=tmp_path)
    assert noetl("executions", "prune", "--older-than", "0s", cwd=tmp_path).stdout == "deleted 1 execution, 0 artifacts\n"
    age_artifacts(tmp_path / ".noetl")
    assert noetl("executions", "prune", "--older-than", "0s", cwd=tmp_path).stdout == "deleted 0 executions, 1 artifact\n"


def test_what_has_not_ended_stays_and_can_go_on(tmp_path: Path) -> None:
    write(
        tmp_path,
        """
        - {step: start, tool: {kind: python, code: "result = list(range(50000))"}, next: wait}
        - {step: wait, args: {place: "{{ workload.place }}"}, tool: {kind: python, code: "import os, time; print(1, flush=True)\\nwhile not os.path.exists(place): time.sleep(0.01)"}, next: last}
        - {step: last, tool: {kind: noop, result: "{{ start | length }}"}}
        """,
    )
    process = start("run", "test.yaml", "--set", f"place={tmp_path}/go", cwd=tmp_path)
    read_until(process, "[wait] 1")
    process.kill()
    ended(process)
    age_artifacts(tmp_path / ".noetl")
    assert noetl("executions", "prune", "--older-than", "0s", cwd=tmp_path).stdout == "deleted 0 executions, 0 artifacts\n"
    (tmp_path / "go").touch()
    resumed = noetl("run", "--resume", newest(tmp_path), "--json", cwd=tmp_path)
    assert document(resumed)["steps"]["last"]["result"] == 50000


@pytest.mark.parametrize("age", ["3", "d", "-1d", "1y", "1 d 2 h"])
def test_an_age_that_is_none_is_refused(tmp_path: Path, age: str) -> None:
    pruned = noetl("executions", "prune", f"--older-than={age}", cwd=tmp_path)
    assert pruned.returncode == 2
    assert "must be a number and a unit, such as 30d" in pruned.stderr


def test_old_reports_of_the_runtime_are_deleted_as_well(tmp_path: Path) -> None:
    write(tmp_path, "- {step: start, tool: {kind: noop}}")
    assert noetl("run", "test.yaml", cwd=tmp_path).returncode == 0
    logs = tmp_path / ".noetl" / "logs"
    logs.mkdir(exist_ok=True)
    (logs / "run-1.log").touch()
    noetl("executions", "prune", "--older-than", "1d", cwd=tmp_path)
    assert (logs / "run-1.log").exists()
    noetl("executions", "prune", "--older-than", "0s", cwd=tmp_path)
    assert not (logs / "run-1.log").exists()
