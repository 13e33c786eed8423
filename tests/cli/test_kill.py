"""kill -9 at every append of a playbook, and the resume: the same end, and nothing that was completed runs again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import document, killed_at, newest, noetl, was_killed

PLAYBOOK = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: twelve}
workload: {items: [3, 1, 2]}
workflow:
  - {step: s1, tool: {kind: noop, result: {n: 1}}, set: {ctx.n: "{{ result.n }}"}, next: s2}
  - {step: s2, tool: {kind: noop, result: 2}, next: s3}
  - step: s3
    loop: {in: "{{ workload.items }}", iterator: item}
    tool: {kind: noop, result: "{{ item * 10 }}"}
    set: {ctx.sum: "{{ s3.results | sum }}"}
    next: s4
  - step: s4
    tool:
      - name: flaky
        kind: noop
        result: {attempt: "{{ _attempt }}"}
        spec: {policy: {rules: [{when: "{{ result.attempt < 3 }}", then: {do: retry, attempts: 5}}, {else: {then: {do: continue}}}]}}
    next: s5
  - {step: s5, tool: [{name: a, kind: noop, result: 5}, {name: b, kind: noop, result: {v: "{{ a + 1 }}"}}], next: s6}
  - {step: s6, tool: {kind: noop, result: 6}, next: s7}
  - {step: s7, next: {arcs: [{step: s8, when: "{{ ctx.sum == 60 }}", args: {x: "{{ s5.v }}"}}]}}
  - {step: s8, tool: {kind: noop, result: {x: "{{ x }}"}}, next: s9}
  - {step: s9, tool: {kind: noop, result: 9}, next: s10}
  - {step: s10, tool: {kind: noop, result: 10}, next: s11}
  - {step: s11, tool: {kind: noop, result: 11}, next: s12}
  - {step: s12, tool: {kind: noop, result: {n: "{{ ctx.n }}", sum: "{{ ctx.sum }}"}}}
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "twelve.yaml").write_text(PLAYBOOK)
    return tmp_path


def end_state(report: dict[str, Any]) -> dict[str, Any]:
    """The report without what may differ between runs: its id, and how often a call had to be made."""
    told = {"status", "runs", "result", "error"}
    steps = {
        name: {key: value for key, value in step.items() if key in told and value is not None and not (name == "s4" and key == "result")}
        for name, step in report["steps"].items()
    }
    return {"status": report["status"], "error": report["error"], "steps": steps}


def completed_twice(place: Path, execution: str) -> list[str]:
    """Steps that were scheduled again after they had completed."""
    events = document(noetl("executions", "events", execution, "--json", cwd=place))
    done: set[str] = set()
    again = []
    for event in events:
        if event["name"] == "StepCompleted":
            done.add(event["step"])
        elif event["name"] in ("StepScheduled", "TaskScheduled", "AttemptLost") and event["step"] in done:
            again.append(event["step"])
    return again


def whole_run(place: Path) -> tuple[dict[str, Any], int]:
    """The end state of an undisturbed run, and how many appends it takes."""
    report = document(noetl("run", "twelve.yaml", "--json", cwd=place))
    events = document(noetl("executions", "events", report["execution_id"], "--json", cwd=place))
    return end_state(report), len({event["at"] for event in events})


@pytest.mark.timeout(240)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_run_that_is_killed_at_any_append_ends_the_same_after_a_resume(place: Path, when: str) -> None:
    expected, appends = whole_run(place)
    assert expected["status"] == "completed"
    assert appends >= 18
    for number in range(1, appends + 1):
        killed = killed_at(number, when, "run", "twelve.yaml", cwd=place)
        assert was_killed(killed), killed.stderr
        if when == "before" and number == 1:
            continue  # it was never accepted: there is nothing to resume
        execution = newest(place)
        resumed = noetl("run", "--resume", execution, "--json", cwd=place)
        if when == "after" and number == appends:
            assert "is completed: it can't be resumed" in resumed.stderr
            continue
        assert resumed.returncode == 0, resumed.stderr
        assert end_state(document(resumed)) == expected
        assert completed_twice(place, execution) == []


@pytest.mark.timeout(240)
def test_a_run_that_is_killed_again_and_again_gets_to_its_end(place: Path) -> None:
    expected, appends = whole_run(place)
    killed_at(1, "after", "run", "twelve.yaml", cwd=place)
    execution = newest(place)
    for _ in range(2 * appends):
        process = killed_at(2, "after", "run", "--resume", execution, "--json", cwd=place)
        if not was_killed(process):
            break
    resumed = noetl("run", "--resume", execution, "--json", cwd=place) if was_killed(process) else process
    if resumed.returncode == 0:
        assert end_state(document(resumed)) == expected
    shown = document(noetl("executions", "show", execution, "--json", cwd=place))
    assert end_state(shown) == expected
    assert completed_twice(place, execution) == []
