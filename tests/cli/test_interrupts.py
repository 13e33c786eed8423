"""Ctrl-C, twice, and SIGTERM: how a run ends, and that nothing is left running."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

from tests.cli.command import ended, listed, noetl, read_until, start, write

SLEEPER = """
    - {step: start, tool: {kind: noop}, next: [sleep, quick]}
    - {step: sleep, tool: {kind: python, code: "import os, time; print('pid', os.getpid(), flush=True); time.sleep(1000)"}}
    - {step: quick, tool: {kind: noop}}
"""


def is_gone(pid: int) -> bool:
    """Whether a process ends within some seconds."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.01)
    return False


def pid_of(lines: list[str]) -> int:
    """The process of the author's code."""
    return int(next(line for line in lines if "pid " in line).rpartition(" ")[2])


def test_ctrl_c_cancels_the_run_and_ends_what_it_runs(tmp_path: Path) -> None:
    write(tmp_path, SLEEPER)
    process = start("run", "test.yaml", cwd=tmp_path)
    pid = pid_of(read_until(process, "pid "))
    process.send_signal(signal.SIGINT)
    status, rest = ended(process)
    assert status == 1
    assert "cancelling (Ctrl-C again kills)\n" in rest
    assert "cancelled sleep" in rest
    assert rest.endswith("cancelled: interrupted by the user\n")
    assert is_gone(pid)
    assert [execution["status"] for execution in listed(tmp_path)] == ["cancelled"]


def test_a_cancelled_run_is_one_json_object_too(tmp_path: Path) -> None:
    write(tmp_path, SLEEPER)
    process = start("run", "test.yaml", "--json", cwd=tmp_path)
    read_until(process, "pid ")
    process.send_signal(signal.SIGINT)
    status, rest = ended(process)
    report = json.loads(next(line for line in rest.splitlines() if line.startswith("{")))
    assert status == 1
    assert (report["status"], report["error"]) == ("cancelled", {"kind": "cancelled", "message": "interrupted by the user"})
    assert (report["steps"]["sleep"]["status"], report["steps"]["start"]["status"]) == ("cancelled", "completed")


STUBBORN = """
    - step: start
      tool:
        kind: python
        code: |
          import os, signal, time
          signal.signal(signal.SIGTERM, signal.SIG_IGN)
          print('pid', os.getpid(), flush=True)
          time.sleep(1000)
"""


def test_a_second_ctrl_c_kills_at_once_what_does_not_stop(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    write(tmp_path, STUBBORN)
    for options in ([], ["--store", "memory"]):
        process = start("run", "test.yaml", *options, cwd=tmp_path, env={"TMPDIR": str(tmp_path / "tmp")})
        pid = pid_of(read_until(process, "pid "))
        process.send_signal(signal.SIGINT)
        read_until(process, "cancelling")
        process.send_signal(signal.SIGINT)
        status, rest = ended(process)
        assert status == 130
        assert ("--resume" in rest) == (not options)
        assert is_gone(pid)
    (execution,) = listed(tmp_path)
    assert execution["status"] == "running"
    assert noetl("executions", "cancel", execution["execution_id"], cwd=tmp_path).returncode == 0


def test_sigterm_leaves_the_run_to_be_resumed(tmp_path: Path) -> None:
    write(tmp_path, SLEEPER)
    process = start("run", "test.yaml", cwd=tmp_path)
    lines = read_until(process, "pid ", "completed quick")
    process.send_signal(signal.SIGTERM)
    status, rest = ended(process)
    identifier = lines[0].split()[1]
    assert status == 128 + signal.SIGTERM
    assert f"go on with it: noetl run --resume {identifier}\n" in rest
    assert is_gone(pid_of(lines))
    again = start("run", "--resume", identifier, cwd=tmp_path)
    lines = read_until(again, "pid ")
    assert lines[0] == f"execution {identifier} test"
    assert "resumed: 0 failed steps tried again, 1 lost attempt run again" in lines
    again.send_signal(signal.SIGINT)
    assert ended(again)[0] == 1


def test_a_killed_run_takes_the_authors_processes_with_it(tmp_path: Path) -> None:
    write(tmp_path, SLEEPER)
    process = start("run", "test.yaml", cwd=tmp_path)
    pid = pid_of(read_until(process, "pid "))
    process.kill()
    ended(process)
    assert is_gone(pid)


@pytest.mark.parametrize("delay_s", [0.1, 0.13, 0.16, 0.2])
def test_ctrl_c_at_any_time_leaves_no_run_behind(tmp_path: Path, delay_s: float) -> None:
    """While it boots, too: wherever the signal hits, nothing goes on. Before the first line of ours runs, Python itself ends."""
    write(tmp_path, SLEEPER)
    process = start("run", "test.yaml", cwd=tmp_path)
    time.sleep(delay_s)
    process.send_signal(signal.SIGINT)
    assert ended(process)[0] in (1, -signal.SIGINT)
    assert [execution["status"] for execution in listed(tmp_path)] in ([], ["cancelled"])
