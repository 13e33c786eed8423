"""`noetl execute playbook`: on a node, from the wish to the end."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from tests.cli.command import document, noetl, read_until, start, write
from tests.client.standin import END, StandIn, body, event, hang_up, problem, stream
from tests.client.test_calls import ACCEPTED, REPORT
from tests.serving import Node

ECHO = "- {step: start, tool: {kind: noop, result: '{{ workload }}'}}"
BAD = """- {step: start, tool: {kind: python, code: "1/0"}}"""
SLOW = """- {step: start, tool: {kind: python, code: "import time; time.sleep(60)"}}"""


@pytest.fixture(scope="module", autouse=True)
def _registered(node: Node) -> None:
    write(node.folder, ECHO, name="echo", head="workload: {a: {b: 1, c: 2}, d: 3}")
    write(node.folder, BAD, name="bad")
    write(node.folder, SLOW, name="slow")
    for name in ("echo", "bad", "slow"):
        assert node.noetl("register", f"{name}.yaml").returncode == 0


def result(node: Node, *options: str) -> object:
    report = document(node.noetl("execute", "playbook", "echo", "--wait", "--json", *options))
    return report["steps"]["start"]["result"]


def test_the_id_is_printed_and_the_execution_can_be_looked_at(node: Node) -> None:
    found = node.noetl("execute", "playbook", "echo")
    assert re.fullmatch(r"execution \d{18} echo\n", found.stdout)
    identifier = found.stdout.split()[1]
    accepted = document(node.noetl("execute", "playbook", "echo", "--json"))
    assert (accepted["path"], accepted["version"], accepted["status"]) == ("echo", 1, "pending")
    assert node.noetl("executions", "show", identifier).stdout.startswith(f"execution {identifier}  echo\nstatus ")


def test_a_payload_replaces_what_it_names_or_merges_into_it(node: Node, tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text('{"a": {"b": 5}}')
    assert result(node) == {"a": {"b": 1, "c": 2}, "d": 3}
    assert result(node, "--payload", f"@{tmp_path}/p.json") == {"a": {"b": 5}, "d": 3}
    assert result(node, "--payload", '{"a": {"b": 5}}', "--merge") == {"a": {"b": 5, "c": 2}, "d": 3}
    assert result(node, "--set", "a.b=[7]", "--set", "d=x", "--merge") == {"a": {"b": [7], "c": 2}, "d": "x"}
    assert "--payload: not JSON" in node.noetl("execute", "playbook", "echo", "--payload", "{").stderr


def test_a_version_can_be_chosen(node: Node, tmp_path: Path) -> None:
    for number in (1, 2):
        node.noetl("register", write(tmp_path, f"- {{step: start, tool: {{kind: noop, result: {number}}}}}", name="two"), cwd=tmp_path)
    for options, expected in (((), 2), (("--version", "1"), 1)):
        assert document(node.noetl("execute", "playbook", "two", "--wait", "--json", *options))["steps"]["start"]["result"] == expected
    missing = node.noetl("execute", "playbook", "two", "--version", "3")
    assert (missing.returncode, "there is no playbook 'two' in version 3" in missing.stderr) == (2, True)


def test_waiting_prints_the_end_and_exits_as_run_does(node: Node) -> None:
    good = node.noetl("execute", "playbook", "echo", "--wait")
    local = noetl("run", "echo.yaml", "--quiet", cwd=node.folder)
    assert (good.returncode, local.returncode) == (0, 0)
    assert re.match(r"execution \d+ echo\ncompleted\n", good.stdout)
    failed = node.noetl("execute", "playbook", "bad", "--wait")
    assert failed.returncode == 1
    assert failed.stdout.endswith("failed at step 'start': ZeroDivisionError: division by zero\n")


def test_watching_shows_the_events_and_then_the_end(node: Node) -> None:
    found = node.noetl("execute", "playbook", "echo", "--watch")
    assert found.returncode == 0
    lines = found.stdout.splitlines()
    assert re.fullmatch(r"    1  \d\d:\d\d:\d\d\.\d{6}  ExecutionRequested", lines[1])
    events = node.noetl("executions", "events", lines[0].split()[1]).stdout.splitlines()
    assert lines[1 : lines.index("completed")] == events
    as_json = node.noetl("execute", "playbook", "bad", "--watch", "--json")
    assert (as_json.returncode, document(as_json)["status"]) == (1, "failed")
    assert "StepFailed  start" in as_json.stderr


def test_the_same_key_starts_one_execution_only(node: Node) -> None:
    first, second = (node.noetl("execute", "playbook", "echo", "--idempotency-key", "once") for _ in range(2))
    assert first.stdout == second.stdout
    other = node.noetl("execute", "playbook", "echo", "--idempotency-key", "once", "--set", "d=4")
    assert (other.returncode, "was used for another request" in other.stderr) == (2, True)


def test_one_that_is_cancelled_meanwhile_ends_with_1(node: Node) -> None:
    waiting = start("execute", "playbook", "slow", "--wait", "--url", node.url, cwd=node.folder)
    identifier = read_until(waiting, "execution ")[0].split()[1]
    cancelled = node.noetl("executions", "cancel", identifier)
    assert (cancelled.returncode, cancelled.stdout) == (0, f"execution {identifier} cancelled\n")
    rest, _ = waiting.communicate(timeout=30)
    assert (waiting.returncode, rest) == (1, "cancelled: cancelled by the user\n")


def test_ctrl_c_leaves_it_running(node: Node) -> None:
    waiting = start("execute", "playbook", "slow", "--wait", "--url", node.url, cwd=node.folder)
    identifier = read_until(waiting, "execution ")[0].split()[1]
    waiting.send_signal(signal.SIGINT)
    waiting.communicate(timeout=30)
    assert document(node.noetl("executions", "show", identifier, "--json"))["status"] in ("pending", "running")
    assert node.noetl("executions", "cancel", identifier).returncode == 0


def test_a_server_that_is_away_for_a_moment_is_waited_for(server: StandIn, tmp_path: Path) -> None:
    server.answer(body(ACCEPTED, 202), stream(event(1)), problem(503), hang_up(), stream(event(2), END), body(REPORT))
    found = noetl("execute", "playbook", "a/b", "--watch", "--url", server.url, cwd=tmp_path)
    assert (found.returncode, found.stdout.splitlines()[0], found.stdout.splitlines()[-1]) == (0, "execution 12 a/b", "7")
    assert len(re.findall("StepScheduled", found.stdout)) == 2


def test_when_the_answer_is_lost_it_is_said_where_to_look(server: StandIn, tmp_path: Path) -> None:
    server.answer(body(ACCEPTED, 202), problem(500, "a bug"))
    found = noetl("execute", "playbook", "a/b", "--wait", "--url", server.url, cwd=tmp_path)
    assert (found.returncode, found.stdout) == (1, "execution 12 a/b\n")
    assert found.stderr.splitlines() == [
        "it may go on all the same: noetl executions show 12 tells",
        f"error: {server.url} answered 500: a bug",
    ]
