"""Loops: docs/reference/language.md, section 5."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noetl.engine.firing import elements
from noetl.errors import ToolError
from noetl.testing.rehearsal import Rehearsal, SimulatedCall
from tests.engine.playbooks import playbook


def loop(spec: str, tool: str = '{kind: noop, result: "{{ item }}"}', more: str = "") -> str:
    return playbook(f"""
    - step: start
      loop: {spec}
      tool: {tool}
      {more}
    """)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([1, 2], [1, 2]),
        (None, []),
        ('[1, "a"]', [1, "a"]),
        ("text", ["text"]),
        ("[not json", ["[not json"]),
        ({"a": 1}, [{"key": "a", "value": 1}]),
        (5, [5]),
        (True, [True]),
    ],
)
def test_what_in_goes_over(value: Any, expected: list[Any]) -> None:
    assert elements(value) == expected


def test_the_result_has_the_list_the_count_and_the_statistics() -> None:
    run = Rehearsal(loop("{in: [a, b], iterator: item}")).play()
    assert run.result("start") == {"results": ["a", "b"], "data": ["a", "b"], "count": 2, "stats": {"total": 2, "success": 2, "failed": 0}}


def test_an_empty_loop_completes_at_once() -> None:
    run = Rehearsal(loop('{in: "{{ nothing }}"}')).play()
    assert (run.status, run.result("start")["count"], run.calls) == ("completed", 0, [])


def test_the_loop_variables_are_there() -> None:
    tool = '{kind: noop, result: ["{{ city }}", "{{ iter.city }}", "{{ iter.index }}", "{{ loop_index }}", "{{ loop.first }}", "{{ loop.last }}", "{{ loop.length }}"]}'
    run = Rehearsal(loop("{in: [x, y], iterator: city}", tool)).play()
    assert run.result("start")["results"] == [["x", "x", 0, 0, True, False, 2], ["y", "y", 1, 1, False, True, 2]]


def test_sequential_starts_the_next_after_the_previous_and_parallel_fills_its_window() -> None:
    sequential = Rehearsal(loop("{in: [1, 2, 3, 4], spec: {mode: sequential}}"))
    sequential.play(most=10)
    assert [call.index for call in sequential.calls] == [0, 1, 2, 3]
    parallel = Rehearsal(loop("{in: [1, 2, 3, 4, 5], spec: {mode: parallel, max_in_flight: 3}}"), choose=lambda count: count - 1).play()
    assert [call.index for call in parallel.calls] == [2, 3, 4, 1, 0]


def test_max_in_flight_may_be_a_template_and_is_eight_by_default() -> None:
    seen = []
    run = Rehearsal(loop('{in: "{{ range(20) | list }}", spec: {mode: parallel}}'), choose=lambda count: seen.append(count) or 0).play()
    assert run.status == "completed"
    assert max(seen) == 8
    seen.clear()
    Rehearsal(
        loop('{in: "{{ range(20) | list }}", spec: {mode: parallel, max_in_flight: "{{ 1 + 1 }}"}}'), choose=lambda count: seen.append(count) or 0
    ).play()
    assert max(seen) == 2


@given(st.lists(st.integers(-(2**63), 2**64 - 1), max_size=30), st.integers(1, 6), st.randoms(use_true_random=False))
def test_results_of_a_parallel_loop_are_always_in_element_order(items: list[int], window: int, random: Any) -> None:
    text = loop(f'{{in: "{{{{ workload.items }}}}", spec: {{mode: parallel, max_in_flight: {window}}}}}')
    run = Rehearsal(text, payload={"items": items}, choose=random.randrange).play()
    assert run.result("start")["results"] == items


def fails_at(*indexes: int) -> Any:
    def tool(call: SimulatedCall) -> Any:
        if call.index in indexes:
            raise ToolError(f"no {call.index}", kind="client_error")
        return call.index

    return {"start": tool}


def test_fail_fast_starts_nothing_new_lets_the_running_ones_finish_and_fails() -> None:
    run = Rehearsal(loop("{in: [0, 1, 2, 3, 4, 5], spec: {mode: parallel, max_in_flight: 3}}"), fails_at(0)).play()
    assert run.status == "failed"
    assert [call.index for call in run.calls] == [0, 1, 2]
    assert run.state.error is not None
    assert run.state.error["iteration"] == 0
    assert run.state.error["stats"] == {"total": 6, "success": 2, "failed": 1}


def test_best_effort_runs_all_and_succeeds_with_null_for_what_failed() -> None:
    run = Rehearsal(loop("{in: [0, 1, 2, 3]}", more="spec: {policy: {failure: {mode: best_effort}}}"), fails_at(1, 3)).play()
    assert run.status == "completed"
    assert run.result("start")["results"] == [0, None, 2, None]
    assert run.result("start")["stats"] == {"total": 4, "success": 2, "failed": 2}


def test_iterations_never_see_each_others_iter_and_locals() -> None:
    tool = """
        [{name: a, kind: noop, result: "{{ [iter.mine is defined, mine is defined] }}", set: {mine: 1},
          spec: {policy: {rules: [{else: {then: {do: continue, set: {iter.mine: "{{ item }}"}}}}]}}},
         {name: b, kind: noop, result: {before: "{{ a }}", mine: "{{ iter.mine }}"}}]"""
    run = Rehearsal(loop("{in: [x, y], spec: {mode: parallel}}", tool.replace("\n", " "))).play()
    assert [(result["before"], result["mine"]) for result in run.result("start")["results"]] == [([False, False], "x"), ([False, False], "y")]


def test_ctx_writes_of_a_parallel_loop_are_applied_one_at_a_time() -> None:
    tool = '{kind: noop, spec: {policy: {rules: [{else: {then: {do: continue, set: {ctx.n: "{{ (ctx.n | default(0)) + 1 }}"}}}}]}}}'
    run = Rehearsal(loop('{in: "{{ range(50) | list }}", spec: {mode: parallel}}', tool), choose=lambda count: count - 1).play()
    assert run.ctx["n"] == 50


def test_a_retry_is_counted_for_each_iteration() -> None:
    calls: dict[int, int] = {}

    def tool(call: SimulatedCall) -> Any:
        calls[call.index] = calls.get(call.index, 0) + 1
        if calls[call.index] < 3:
            raise ToolError("again", kind="connection")
        return call.index

    text = loop(
        "{in: [0, 1, 2], spec: {mode: parallel}}",
        '{kind: noop, spec: {policy: {rules: [{when: "{{ error is defined }}", then: {do: retry, attempts: 3}}]}}}',
    )
    run = Rehearsal(text, {"start": tool}).play()
    assert run.status == "completed"
    assert calls == {0: 3, 1: 3, 2: 3}


def test_a_loop_of_thousands_keeps_only_its_window_in_the_state() -> None:
    run = Rehearsal(loop('{in: "{{ range(2000) | list }}", spec: {mode: parallel, max_in_flight: 4}}'))
    most = 0

    def watch(count: int) -> int:
        nonlocal most
        most = max(most, *(len(live.frames) for live in run.state.runs.values()))
        return 0

    run._choose = watch
    run.play()
    assert run.status == "completed"
    assert most <= 4


def test_a_template_error_in_in_fails_the_step() -> None:
    run = Rehearsal(loop('{in: "{{ nothing + 1 }}"}')).play()
    assert run.status == "failed"
    assert run.state.error is not None
    assert run.state.error["kind"] == "template"
