"""`noetl executions`: what can be seen of executions."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import get_args

import pytest

from noetl.engine.client import ExecutionReport, ExecutionView
from noetl.events import AnyEvent, FrameEvent, StepEvent
from tests.cli.command import document, ended, listed, newest, noetl, read_until, start, write

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "events.md"

WORK = """
    - step: start
      loop: {in: [1, 2], iterator: n}
      tool: {kind: python, args: {n: "{{ n }}"}, code: "print('n is', n); result = n"}
      next: child
    - {step: child, tool: {kind: playbook, path: child}, next: bad}
    - {step: bad, tool: {kind: python, code: "import sys; print('oh', file=sys.stderr); 1/0"}}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which a playbook has failed, and another has completed after it."""
    folder = tmp_path_factory.mktemp("executions")
    write(folder, "- {step: start, tool: {kind: noop, result: 7}}", name="child")
    write(folder, WORK, name="work")
    noetl("run", "work.yaml", cwd=folder)
    noetl("run", "child.yaml", cwd=folder)
    return folder


def work_id(place: Path) -> str:
    identifier: str = listed(place, "--path", "work")[0]["execution_id"]
    return identifier


def test_the_list_has_the_newest_first_and_no_children(place: Path) -> None:
    found = listed(place)
    assert [(execution["path"], execution["status"]) for execution in found] == [("child", "completed"), ("work", "failed")]
    assert set(found[0]) == set(ExecutionView.__struct_fields__)
    assert re.fullmatch(r"\d{18,19}", found[0]["execution_id"])
    times = [dt.datetime.fromisoformat(found[0][name]) for name in ("requested_at", "started_at", "ended_at")]
    assert times == sorted(times)
    assert times[0].tzinfo is not None


def test_the_list_can_be_narrowed(place: Path) -> None:
    assert [execution["path"] for execution in listed(place, "--status", "failed")] == ["work"]
    assert [execution["path"] for execution in listed(place, "--path", "child")] == ["child"]
    assert len(listed(place, "--limit", "1")) == 1
    assert listed(place, "--status", "waiting") == []
    refused = noetl("executions", "list", "--status", "rejcted", cwd=place)
    assert refused.returncode == 2
    assert "'pending', 'running', 'waiting', 'completed', 'failed', 'cancelled'" in refused.stderr


def test_the_list_is_lines_for_people(place: Path) -> None:
    lines = noetl("executions", "list", cwd=place).stdout.splitlines()
    assert re.fullmatch(r"\d+  completed  \d{4}-\d\d-\d\d \d\d:\d\d:\d\d +\d+\.\d\d s  child", lines[0])


def test_a_store_that_nobody_has_made_yet_has_no_executions(tmp_path: Path) -> None:
    assert listed(tmp_path) == []
    assert noetl("executions", "list", cwd=tmp_path).stdout == ""
    assert noetl("executions", "prune", "--older-than", "1d", cwd=tmp_path).stdout == "deleted 0 executions, 0 artifacts\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["show", "events", "logs", "cancel"])
def test_what_is_not_there_is_said(place: Path, tmp_path: Path, command: str) -> None:
    missing = noetl("executions", command, "12", cwd=place)
    assert (missing.returncode, missing.stdout, missing.stderr) == (2, "", "error: there is no execution 12 in this store\n")
    no_store = noetl("executions", command, "12", cwd=tmp_path)
    assert no_store.returncode == 2
    assert no_store.stderr.startswith(f"error: there is no store {tmp_path}/.noetl/noetl.db: nothing was run here yet")
    no_id = noetl("executions", command, "twelve", cwd=place)
    assert no_id.returncode == 2
    assert "'twelve' is no execution id: it is a number" in no_id.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_was_named_must_be_there(tmp_path: Path) -> None:
    found = noetl("executions", "list", "--store", "none.db", cwd=tmp_path)
    assert (found.returncode, found.stdout) == (2, "")
    assert f"there is no store {tmp_path}/none.db" in found.stderr
    assert "is gone with its process" in noetl("executions", "list", "--store", "memory", cwd=tmp_path).stderr


def test_show_is_the_report_of_the_run(place: Path) -> None:
    report = document(noetl("executions", "show", work_id(place), "--json", cwd=place))
    assert list(report) == list(ExecutionReport.__struct_fields__)
    assert (report["status"], report["error"]["step"], report["requested_by"]) == ("failed", "bad", "noetl run")
    assert [(child["path"], child["parent_id"]) for child in report["children"]] == [("child", work_id(place))]
    assert report["steps"]["start"]["result"]["results"] == [1, 2]
    assert report["steps"]["child"]["result"] == 7


def test_show_tells_people_the_steps_their_outcomes_and_the_children(place: Path) -> None:
    text = noetl("executions", "show", work_id(place), cwd=place).stdout
    assert f"execution {work_id(place)}  work\nstatus    failed: ZeroDivisionError: division by zero\n" in text
    assert re.search(r"^  completed start  \d+\.\d\d s\n +\{", text, re.MULTILINE)
    assert re.search(r"^  failed    bad  \d+\.\d\d s\n +python: ZeroDivisionError: division by zero$", text, re.MULTILINE)
    assert re.search(r"^child     \d+  completed  child$", text, re.MULTILINE)


def test_logs_are_what_the_code_has_printed(place: Path) -> None:
    assert noetl("executions", "logs", work_id(place), cwd=place).stdout == "[start] n is 1\n[start] n is 2\n[bad] oh\n"
    assert noetl("executions", "logs", work_id(place), "bad", cwd=place).stdout == "[bad] oh\n"
    lines = document(noetl("executions", "logs", work_id(place), "--json", cwd=place))
    assert [(line["step"], line["iteration"], line["attempt"], line["stream"], line["text"]) for line in lines] == [
        ("start", 0, 1, "stdout", "n is 1"),
        ("start", 1, 1, "stdout", "n is 2"),
        ("bad", 0, 1, "stderr", "oh"),
    ]


def test_events_are_numbered_named_and_placed(place: Path) -> None:
    events = document(noetl("executions", "events", work_id(place), "--json", cwd=place))
    assert all(list(event) == ["seq", "at", "name", "step", "iteration", "attempt", "data"] for event in events)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert [event["name"] for event in events][:3] == ["ExecutionRequested", "ExecutionStarted", "StepScheduled"]
    assert events[-1]["name"] == "ExecutionFailed"
    succeeded = [event for event in events if event["name"] == "AttemptSucceeded" and event["step"] == "start"]
    assert [(event["iteration"], event["attempt"], event["data"]["result"]) for event in succeeded] == [(0, 1, 1), (1, 1, 2)]
    assert [event["iteration"] for event in events if event["step"] == "bad"] == [None] * len([event for event in events if event["step"] == "bad"])
    child = next(event for event in events if event["name"] == "ChildStarted")["data"]["child"]
    assert isinstance(child, str)
    requested = document(noetl("executions", "events", child, "--json", cwd=place))[0]
    assert requested["data"]["parent"]["execution_id"] == work_id(place)
    lines = noetl("executions", "events", work_id(place), cwd=place).stdout.splitlines()
    assert re.fullmatch(r" +1  \d\d:\d\d:\d\d\.\d{6}  ExecutionRequested", lines[0])
    assert any(re.fullmatch(r" +\d+  [\d:.]+  AttemptSucceeded  start\[1\]  attempt 1", line) for line in lines)


def test_a_log_that_was_tampered_with_is_not_shown(place: Path, tmp_path: Path) -> None:
    import sqlite3

    write(tmp_path, "- {step: start, tool: {kind: noop, result: honest}}")
    noetl("run", "test.yaml", cwd=tmp_path)
    connection = sqlite3.connect(tmp_path / ".noetl" / "noetl.db")
    connection.execute("update events set body = replace(body, cast('honest' as blob), cast('forged' as blob)) where version = 2")
    connection.execute("update events set body = cast(body as blob)")
    connection.commit()
    connection.close()
    for command in ("events", "show"):
        found = noetl("executions", command, newest(tmp_path), "--json", cwd=tmp_path)
        assert (found.returncode, found.stdout) == (1, "")
        assert "version 2 does not hold what was written: its hash does not match" in found.stderr


def test_an_execution_whose_process_is_gone_is_marked_for_people_and_running_for_programs(tmp_path: Path) -> None:
    write(tmp_path, '- {step: start, tool: {kind: python, code: "import time; print(1, flush=True); time.sleep(1000)"}}')
    process = start("run", "test.yaml", cwd=tmp_path)
    identifier = read_until(process, "[start] 1")[0].split()[1]
    alive = noetl("executions", "show", identifier, cwd=tmp_path).stdout
    assert re.search(rf"^process   run-\w+ \(pid {process.pid} on .*\)$", alive, re.MULTILINE)
    assert "gone" not in noetl("executions", "list", cwd=tmp_path).stdout
    process.kill()
    ended(process)
    assert noetl("executions", "list", cwd=tmp_path).stdout.endswith("test  (its process is gone)\n")
    assert f"process   gone: noetl run --resume {identifier}\n" in noetl("executions", "show", identifier, cwd=tmp_path).stdout
    assert listed(tmp_path)[0]["status"] == "running"


def documented() -> dict[str, list[str]]:
    """Event -> the fields of its data, as the page says."""
    rows = re.findall(r"^\| `([A-Z]\w+)` \|.*\|([^|]*)\|$", PAGE.read_text(), re.MULTILINE)
    return {name: re.findall(r"`(\w+)`", fields) for name, fields in rows}


def test_the_page_lists_every_event_with_its_data() -> None:
    found = {event.__name__: [name for name in event.__struct_fields__ if name not in ("step", "index", "attempt")] for event in get_args(AnyEvent)}
    assert documented() == found
    assert issubclass(FrameEvent, StepEvent)
