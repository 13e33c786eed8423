"""Loops: docs/reference/language.md, 5."""

from __future__ import annotations

from typing import Any

import pytest

from noetl.errors import ToolError
from noetl.testing.rehearsal import SimulatedCall
from tests.language.rehearse import error_of, play


def test_in_is_rendered_once_when_the_step_fires() -> None:
    run = play("""
        - {step: start, set: {ctx.items: [1, 2]}, next: {arcs: [{step: each}]}}
        - step: each
          loop: {in: "{{ ctx.items }}"}
          tool: {kind: noop, result: "{{ item }}", spec: {policy: {rules: [{else: {set: {ctx.items: "{{ ctx.items + [9] }}"}}}]}}}
    """)
    assert run.result("each")["results"] == [1, 2]
    assert run.ctx["items"] == [1, 2, 9, 9]


@pytest.mark.parametrize(
    ("written", "items"),
    [
        ("[1, '{{ 1 + 1 }}']", [1, 2]),
        ('"{{ none }}"', []),
        ('"{{ nowhere.at.all }}"', []),
        ("{a: 1, b: 2}", [{"key": "a", "value": 1}, {"key": "b", "value": 2}]),
        ("'{{ workload.json }}'", [1, {"a": 2}]),
        ("'  [1, 2]'", [1, 2]),
        ("'{\"a\": 1}'", ['{"a": 1}']),
        ("two words", ["two words"]),
        ('""', [""]),
        ("7", [7]),
        ("1.5", [1.5]),
        ("false", [False]),
        ("[[1, 2], []]", [[1, 2], []]),
        ('"{{ range(3) }}"', [0, 1, 2]),
    ],
)
def test_what_in_may_be(written: str, items: list[Any]) -> None:
    head = "workload: {json: '[1, {\"a\": 2}]'}"
    run = play(f"- {{step: start, loop: {{in: {written}}}, tool: {{kind: noop, result: ['{{{{ item }}}}']}}}}", head=head)
    assert run.result("start")["results"] == [[item] for item in items]


def test_every_element_runs_the_whole_pipeline() -> None:
    run = play("""
        - step: start
          loop: {in: [1, 2], iterator: n}
          tool:
            - {name: a, kind: noop, result: "{{ n * 10 }}"}
            - {name: b, kind: noop, result: "{{ _prev + n }}"}
    """)
    assert run.result("start")["results"] == [11, 22]
    assert [(call.task, call.index) for call in run.calls] == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]


def test_the_result_of_an_iteration_is_its_last_result_without_those_by_label() -> None:
    run = play("""
        - {step: start, loop: {in: [1]}, tool: [{name: a, kind: noop, result: {n: 1}}, {name: b, kind: noop, result: {m: 2}}, {name: c, kind: noop, result: null}]}
    """)
    assert run.result("start")["results"] == [{"m": 2}]


def test_at_the_start_of_an_iteration_prev_is_the_result_of_the_step_that_sent_the_token() -> None:
    run = play("""
        - {step: start, tool: {kind: noop, result: {n: 5}}, next: {arcs: [{step: each}]}}
        - {step: each, loop: {in: [1, 2]}, tool: [{name: a, kind: noop, result: "{{ [_prev.n, result.n] }}"}, {name: b, kind: noop}]}
    """)
    assert [call.fields.get("result") for call in run.calls if call.task == "a"] == [[5, 5], [5, 5]]


def test_the_set_and_the_arcs_of_a_loop_step_run_once_when_it_is_done() -> None:
    run = play("""
        - step: start
          loop: {in: [1, 2, 3]}
          tool: {kind: noop, result: "{{ item }}"}
          set: {ctx.runs: "{{ (ctx.runs | default(0)) + 1 }}", ctx.sum: "{{ result.results | sum }}"}
          next: {arcs: [{step: after, when: "{{ event.name == 'loop.done' and start.count == 3 and ctx.sum == 6 }}"}]}
        - {step: after}
    """)
    assert (run.ctx, run.runs("after")) == ({"runs": 1, "sum": 6}, 1)


def third_fails(call: SimulatedCall) -> Any:
    if call.index == 2:
        raise ToolError("no third", kind="client_error")
    return call.index


def test_a_loop_that_failed_still_has_what_was_done_as_its_result() -> None:
    run = play("""
        - step: start
          loop: {in: [a, b, c, d]}
          tool: {kind: noop}
          next: {arcs: [{step: rescue, when: "{{ event.name == 'step.failed' }}", args: {done: "{{ start.results }}", stats: "{{ start.stats }}", at: "{{ error.iteration }}"}}]}
        - {step: rescue, tool: {kind: noop, result: "{{ args }}"}}
    """, {"start": third_fails})  # fmt: skip
    assert run.status == "completed"
    rescued = run.result("rescue")
    assert rescued["done"][:2] == [0, 1]
    assert not any(rescued["done"][2:])
    assert (rescued["stats"], rescued["at"]) == ({"total": 4, "success": 2, "failed": 1}, 2)


def test_a_failed_iteration_may_be_answered_by_its_own_rules() -> None:
    run = play("""
        - {step: start, loop: {in: [a, b, c, d]}, tool: {kind: noop, spec: {policy: {rules: [{when: "{{ error is defined }}", then: {do: continue}}]}}}}
    """, {"start": third_fails})  # fmt: skip
    assert run.result("start")["results"] == [0, 1, None, 3]
    assert run.result("start")["stats"] == {"total": 4, "success": 4, "failed": 0}


@pytest.mark.parametrize(("loop", "status"), [("best_effort", "completed"), ("fail_fast", "failed")])
def test_the_loops_own_failure_mode_wins_over_the_steps(loop: str, status: str) -> None:
    other = {"best_effort": "fail_fast", "fail_fast": "best_effort"}[loop]
    run = play(f"""
        - step: start
          spec: {{policy: {{failure: {{mode: {other}}}}}}}
          loop: {{in: [a, b, c, d], spec: {{policy: {{failure: {{mode: {loop}}}}}}}}}
          tool: {{kind: noop}}
    """, {"start": third_fails})  # fmt: skip
    assert run.status == status


def test_a_loop_that_fails_in_parallel_names_the_first_failure() -> None:
    def tool(call: SimulatedCall) -> Any:
        raise ToolError(f"no {call.index}", kind="client_error")

    steps = "- {step: start, loop: {in: [a, b, c], mode: parallel}, tool: {kind: noop}}"
    error = error_of(play(steps, {"start": tool}, choose=lambda count: count - 1))
    assert (error["message"], error["iteration"]) == ("no 2", 2)


def test_a_cursor_loop_has_no_backend_and_says_so() -> None:
    error = error_of(play("- {step: start, loop: {cursor: {kind: postgres, auth: pg, claim: select 1}}, tool: {kind: noop}}"))
    assert (error["kind"], error["step"]) == ("unsupported", "start")


def test_a_loop_without_a_tool_completes_at_once() -> None:
    run = play("- {step: start, loop: {in: [1, 2]}, next: {arcs: [{step: after}]}}\n- {step: after}")
    assert (run.status, run.order, run.calls) == ("completed", ["start", "after"], [])
