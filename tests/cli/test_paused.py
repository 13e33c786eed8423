"""A process that is paused, for minutes or for ever, and comes back."""

from __future__ import annotations

import signal
import sqlite3
from contextlib import closing
from pathlib import Path

from tests.cli.command import document, ended, noetl, read_until, start, write

WAITING = """
    - step: start
      tool:
        kind: python
        args: {place: "{{ workload.place }}"}
        code: |
          import pathlib, time
          print("up", flush=True)
          while not pathlib.Path(place, "go").exists():
              time.sleep(0.02)
          result = 1
      next: last
    - {step: last, tool: {kind: noop, result: "{{ start + 1 }}"}}
"""


def test_a_paused_process_keeps_its_run_and_goes_on_when_it_wakes(tmp_path: Path) -> None:
    write(tmp_path, WAITING)
    process = start("run", "test.yaml", "--set", f"place={tmp_path}", cwd=tmp_path)
    identifier = read_until(process, "[start] up")[0].split()[1]
    process.send_signal(signal.SIGSTOP)
    refused = noetl("run", "--resume", identifier, cwd=tmp_path)
    assert refused.returncode == 2
    assert f"execution {identifier} is running in run-" in refused.stderr
    assert f"(pid {process.pid} on " in refused.stderr
    (tmp_path / "go").touch()
    process.send_signal(signal.SIGCONT)
    status, rest = ended(process)
    assert (status, rest.endswith("completed\n\n2\n")) == (0, True)


def test_a_paused_process_that_was_taken_for_dead_finds_itself_fenced_and_writes_nothing(tmp_path: Path) -> None:
    """Its machine is taken for one that was booted again, which is what a container that was frozen and moved looks like."""
    write(tmp_path, WAITING)
    process = start("run", "test.yaml", "--set", f"place={tmp_path}", cwd=tmp_path)
    identifier = read_until(process, "[start] up")[0].split()[1]
    process.send_signal(signal.SIGSTOP)
    with closing(sqlite3.connect(tmp_path / ".noetl" / "noetl.db")) as connection:
        connection.execute("update shards set boot = 'the one before'")
        connection.commit()
    (tmp_path / "go").touch()
    taken = noetl("run", "--resume", identifier, "--json", cwd=tmp_path)
    assert document(taken)["steps"]["last"]["result"] == 2
    before = noetl("executions", "events", identifier, cwd=tmp_path).stdout
    process.send_signal(signal.SIGCONT)
    status, rest = ended(process)
    assert status == 1
    assert rest.endswith("error: another process has taken the execution over\n")
    assert noetl("executions", "events", identifier, cwd=tmp_path).stdout == before
