"""`noetl executions cancel`: of a run that is alive, of one whose process is gone, of one that has ended."""

from __future__ import annotations

from pathlib import Path

from tests.cli.command import document, ended, newest, noetl, read_until, start, write

SLEEPER = '- {step: start, tool: {kind: python, code: "import time; print(1, flush=True); time.sleep(1000)"}}'


def test_a_live_run_is_cancelled_by_its_own_process(tmp_path: Path) -> None:
    write(tmp_path, SLEEPER)
    process = start("run", "test.yaml", cwd=tmp_path)
    identifier = read_until(process, "[start] 1")[0].split()[1]
    cancelled = noetl("executions", "cancel", identifier, "--reason", "not needed", cwd=tmp_path)
    assert (cancelled.returncode, cancelled.stdout) == (0, f"execution {identifier} cancelled\n")
    status, rest = ended(process)
    assert status == 1
    assert rest.endswith("cancelled: not needed\n")


def test_a_run_whose_process_is_gone_is_ended_here_without_running_anything(tmp_path: Path) -> None:
    write(tmp_path, SLEEPER, name="child")
    write(tmp_path, "- {step: start, tool: {kind: playbook, path: child}}", name="parent")
    process = start("run", "parent.yaml", cwd=tmp_path)
    read_until(process, " start] 1")
    process.kill()
    ended(process)
    identifier = newest(tmp_path)
    shown = noetl("executions", "show", identifier, cwd=tmp_path).stdout
    assert f"process   gone: noetl run --resume {identifier}\n" in shown
    child = shown.partition("child     ")[2].split()[0]
    refused = noetl("executions", "cancel", child, cwd=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr == f"error: execution {child} is a child of {identifier}, whose process is gone: cancel {identifier}\n"
    cancelled = noetl("executions", "cancel", identifier, cwd=tmp_path)
    assert (cancelled.returncode, cancelled.stdout) == (0, f"execution {identifier} cancelled\n"), cancelled.stderr
    for execution in (identifier, child):
        assert document(noetl("executions", "show", execution, "--json", cwd=tmp_path))["status"] == "cancelled"
    assert document(noetl("executions", "logs", child, "--json", cwd=tmp_path))[0]["text"] == "1"
    assert len(document(noetl("executions", "logs", child, "--json", cwd=tmp_path))) == 1, "the code did not run again"


def test_a_child_of_a_live_run_can_be_cancelled_alone(tmp_path: Path) -> None:
    write(tmp_path, SLEEPER, name="child")
    write(tmp_path, "- {step: start, tool: {kind: playbook, path: child}}", name="parent")
    process = start("run", "parent.yaml", cwd=tmp_path)
    identifier = read_until(process, " start] 1")[0].split()[1]
    child = noetl("executions", "show", identifier, cwd=tmp_path).stdout.partition("child     ")[2].split()[0]
    assert noetl("executions", "cancel", child, cwd=tmp_path).stdout == f"execution {child} cancelled\n"
    status, rest = ended(process)
    assert status == 1
    assert child in rest


def test_what_has_ended_can_not_be_cancelled(tmp_path: Path) -> None:
    write(tmp_path, "- {step: start, tool: {kind: noop}}")
    noetl("run", "test.yaml", cwd=tmp_path)
    identifier = newest(tmp_path)
    cancelled = noetl("executions", "cancel", identifier, cwd=tmp_path)
    assert (cancelled.returncode, cancelled.stderr) == (2, f"error: execution {identifier} is completed already\n")
    assert noetl("executions", "cancel", "12", cwd=tmp_path).stderr == "error: there is no execution 12 in this store\n"
