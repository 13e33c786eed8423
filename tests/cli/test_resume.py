"""`noetl run --resume`: of a dead run, of one that failed, of one that is alive."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from tests.cli.command import document, ended, killed_at, newest, noetl, read_until, start, was_killed, with_full_disk, write

RETRIED = """
    - {step: start, tool: {kind: noop, result: 1}, next: gate}
    - {step: gate, args: {place: "{{ workload.place }}"}, tool: {kind: python, code: "result = len(open(f'{place}/gate').read())"}, next: last}
    - {step: last, tool: {kind: noop, result: "{{ start + gate }}"}}
"""
SLEEPER = '- {step: start, tool: {kind: python, code: "import time; print(1, flush=True); time.sleep(1000)"}}'


def test_of_a_failed_run_the_failed_steps_are_tried_again_and_it_goes_on(tmp_path: Path) -> None:
    write(tmp_path, RETRIED)
    failed = noetl("run", "test.yaml", "--set", f"place={tmp_path}", "--json", cwd=tmp_path)
    identifier = document(failed)["execution_id"]
    assert document(failed)["error"]["step"] == "gate"
    (tmp_path / "gate").write_text("open")
    resumed = noetl("run", "--resume", identifier, cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert re.fullmatch(rf"execution {identifier} test\ncompleted gate  .* s\ncompleted last  .* s\ncompleted\n\n5\n", resumed.stdout)
    assert resumed.stderr == "resumed: 1 failed step tried again, 0 lost attempts run again\n"
    shown = document(noetl("executions", "show", identifier, "--json", cwd=tmp_path))
    assert shown["status"] == "completed"
    gate = shown["steps"]["gate"]
    assert (gate["status"], gate["runs"], gate["result"]) == ("completed", 1, 4)


def test_a_run_that_fails_again_can_be_resumed_again(tmp_path: Path) -> None:
    write(tmp_path, RETRIED)
    identifier = document(noetl("run", "test.yaml", "--set", f"place={tmp_path}", "--json", cwd=tmp_path))["execution_id"]
    for _ in range(2):
        again = noetl("run", "--resume", identifier, "--json", cwd=tmp_path)
        assert (again.returncode, document(again)["status"]) == (1, "failed")
    (tmp_path / "gate").write_text("open")
    assert noetl("run", "--resume", identifier, cwd=tmp_path).returncode == 0


def test_the_playbook_may_be_gone_since_its_compiled_form_is_in_the_store(tmp_path: Path) -> None:
    write(tmp_path, RETRIED)
    identifier = document(noetl("run", "test.yaml", "--set", f"place={tmp_path}", "--json", cwd=tmp_path))["execution_id"]
    (tmp_path / "test.yaml").unlink()
    (tmp_path / "gate").write_text("open")
    assert noetl("run", "--resume", identifier, cwd=tmp_path).returncode == 0


@pytest.mark.parametrize("status", ["completed", "cancelled"])
def test_what_is_over_can_not_be_resumed(tmp_path: Path, status: str) -> None:
    write(tmp_path, "- {step: start, tool: {kind: noop}}" if status == "completed" else SLEEPER)
    process = start("run", "test.yaml", cwd=tmp_path)
    if status == "cancelled":
        read_until(process, "[start] 1")
        process.send_signal(signal.SIGINT)
    ended(process)
    identifier = newest(tmp_path)
    resumed = noetl("run", "--resume", identifier, cwd=tmp_path)
    assert (resumed.returncode, resumed.stdout) == (2, "")
    assert resumed.stderr == f"error: execution {identifier} is {status}: it can't be resumed\n"


def test_what_is_not_there_can_not_be_resumed(tmp_path: Path) -> None:
    write(tmp_path, "- {step: start, tool: {kind: noop}}")
    noetl("run", "test.yaml", cwd=tmp_path)
    resumed = noetl("run", "--resume", "12", cwd=tmp_path)
    assert (resumed.returncode, resumed.stderr) == (2, "error: there is no execution 12 in this store\n")


def test_a_live_run_is_not_taken_and_the_refusal_names_its_owner(tmp_path: Path) -> None:
    write(tmp_path, SLEEPER)
    process = start("run", "test.yaml", cwd=tmp_path)
    identifier = read_until(process, "[start] 1")[0].split()[1]
    resumed = noetl("run", "--resume", identifier, "--json", cwd=tmp_path)
    assert resumed.returncode == 2
    message = document(resumed)["errors"][0]["message"]
    assert re.fullmatch(rf"execution {identifier} is running in run-\w+ \(pid {process.pid} on .*\)", message)
    process.send_signal(signal.SIGINT)
    assert "interrupted by the user" in ended(process)[1], "it was not disturbed"


def test_of_two_processes_that_resume_one_run_at_once_one_wins_and_the_other_says_who_has_it(tmp_path: Path) -> None:
    write(tmp_path, SLEEPER)
    dead = start("run", "test.yaml", cwd=tmp_path)
    identifier = read_until(dead, "[start] 1")[0].split()[1]
    dead.kill()
    ended(dead)
    both = [start("run", "--resume", identifier, cwd=tmp_path) for _ in range(2)]
    first = [process.stdout.readline() for process in both if process.stdout is not None]
    winner, loser = sorted(both, key=lambda process: first[both.index(process)].startswith("error"))
    assert first[both.index(winner)] == f"execution {identifier} test\n"
    assert re.fullmatch(rf"error: execution {identifier} is running in run-\w+ \(pid {winner.pid} on .*\)\n", first[both.index(loser)])
    assert ended(loser)[0] == 2
    read_until(winner, "[start] 1")
    winner.send_signal(signal.SIGINT)
    assert ended(winner)[0] == 1


def test_a_resume_that_is_killed_can_be_resumed_by_another(tmp_path: Path) -> None:
    write(tmp_path, RETRIED)
    (tmp_path / "gate").write_text("open")
    arguments = ("run", "test.yaml", "--set", f"place={tmp_path}")
    assert was_killed(killed_at(2, "after", *arguments, cwd=tmp_path))
    identifier = newest(tmp_path)
    assert was_killed(killed_at(1, "after", "run", "--resume", identifier, cwd=tmp_path))
    resumed = noetl("run", "--resume", identifier, "--json", cwd=tmp_path)
    assert document(resumed)["steps"]["last"]["result"] == 5


BIG = """
    - {step: start, tool: {kind: noop, result: 1}, next: big}
    - {step: big, tool: {kind: python, code: "result = 'x' * 60000"}, next: last}
    - {step: last, tool: {kind: noop, result: "{{ big | length }}"}}
"""


@pytest.mark.parametrize("as_json", [False, True])
def test_a_full_disk_ends_the_run_with_clear_words_and_it_can_be_resumed(tmp_path: Path, as_json: bool) -> None:
    write(tmp_path, BIG)
    full = with_full_disk(3, "run", "test.yaml", *(["--json"] if as_json else []), cwd=tmp_path)
    assert full.returncode == 1
    identifier = newest(tmp_path)
    message = f"{tmp_path}/.noetl/noetl.db: the disk is full: make room, then resume (database or disk is full)"
    assert full.stderr.endswith(f"error: {message}\ngo on with it: noetl run --resume {identifier}\n")
    if as_json:
        assert document(full) == {"execution_id": identifier, "status": "failed", "error": {"kind": "store", "message": message}, "steps": {}}
    resumed = noetl("run", "--resume", identifier, "--json", cwd=tmp_path)
    assert document(resumed)["steps"]["last"]["result"] == 60000


def test_a_disk_that_is_full_from_the_start_begins_nothing(tmp_path: Path) -> None:
    write(tmp_path, "- {step: start, tool: {kind: noop, result: '{{ workload.text }}'}}")
    full = with_full_disk(0, "run", "test.yaml", "--set", f"text={'x' * 60000}", cwd=tmp_path)
    assert (full.returncode, full.stdout) == (1, "")
    assert "the disk is full" in full.stderr
    assert "--resume" not in full.stderr
    assert document(noetl("executions", "list", "--json", cwd=tmp_path)) == []
