"""Tasks of the workbook that assert: docs/reference/language.md, 8.10."""

from __future__ import annotations

import pytest

from tests.engine.conftest import Boot
from tests.engine.playbooks import playbook

TOOL = "{kind: python, code: \"open(workload['folder'] + '/ran', 'a').write('x'); return {'score': points}\", args: {workload: '{{ workload }}'}}"
ASSERT = "assert: {expects: [points], returns: [score]}"


def book(tool: str = TOOL, more: str = ASSERT) -> str:
    return f"workbook: [{{name: score, tool: {tool}, {more}}}]"


@pytest.mark.parametrize("args", ["", ", args: {points: null}", ", args: {other: 1}"])
async def test_a_workbook_task_without_what_it_expects_fails_before_it_runs(boot: Boot, args: str) -> None:
    bench = await boot()
    state = await bench.run(playbook(f"- {{step: start, tool: {{kind: workbook, name: score{args}}}}}", book()), {"folder": str(bench.folder)})
    assert state.error is not None
    assert (state.error["kind"], state.error["message"]) == ("config", "workbook task 'score' expects points")
    assert not (bench.folder / "ran").exists()


async def test_what_a_workbook_task_expects_may_come_from_step_arc_call_or_default(boot: Boot) -> None:
    bench = await boot()
    workbook = "workbook: [{name: score, args: {d: 4}, tool: {kind: noop, result: {sum: '{{ a + b + c + d }}'}}, assert: {expects: [a, b, c, d], returns: [sum]}}]"
    steps = "- {step: x, next: [{step: start, args: {b: 2}}]}\n- {step: start, args: {a: 1}, tool: {kind: workbook, name: score, args: {c: 3}}}"
    state = await bench.run(playbook(steps, "executor: {spec: {entry_step: x}}\n" + workbook))
    assert state.results["start"] == {"sum": 10}


@pytest.mark.parametrize("result", ["{other: 1}", "[1]", "null", "text"])
async def test_a_workbook_task_that_does_not_return_what_it_says_fails_afterwards(boot: Boot, result: str) -> None:
    bench = await boot()
    state = await bench.run(
        playbook("- {step: start, tool: {kind: workbook, name: score, args: {points: 1}}}", book(f"{{kind: noop, result: {result}}}"))
    )
    assert state.error is not None
    assert (state.error["kind"], state.error["message"]) == ("config", "workbook task 'score' did not return score")


async def test_what_a_workbook_task_returns_may_lie_in_the_artifact_store(boot: Boot) -> None:
    bench = await boot()
    tool = "{kind: python, code: \"return {'rows': list(range(100000))}\", assert: {returns: [rows]}}"
    state = await bench.run(playbook("- {step: start, tool: {kind: workbook, name: score}}", f"workbook: [{{name: score, tool: {tool}}}]"))
    assert state.status == "completed"


@pytest.mark.parametrize(
    "workbook",
    [
        book("{kind: noop}"),
        book(f"{{kind: noop, {ASSERT}}}", "desc: x"),
        f"workbook: {{score: {{tool: noop, {ASSERT}}}}}",
        f"workbook: {{score: {{kind: noop, {ASSERT}}}}}",
    ],
    ids=["on the task", "in its tool", "on a flat task", "on a task without tool"],
)
async def test_an_assert_may_stand_on_the_task_or_in_its_tool(boot: Boot, workbook: str) -> None:
    bench = await boot()
    state = await bench.run(playbook("- {step: start, tool: {kind: workbook, name: score}}", workbook))
    assert state.error is not None
    assert state.error["message"] == "workbook task 'score' expects points"


async def test_a_failed_assert_is_an_error_like_any_other(boot: Boot) -> None:
    bench = await boot()
    state = await bench.run(playbook("""
        - step: start
          tool: {kind: workbook, name: score}
          next: {arcs: [{step: repair, when: "{{ error.kind == 'config' }}"}]}
        - {step: repair, tool: {kind: noop, result: done}}
    """, book()))  # fmt: skip
    assert (state.status, state.results["repair"]) == ("completed", "done")
