"""Loops (5.1, 5.3, 5.4) and the older places where they stand (10.8)."""

from __future__ import annotations

import pytest

from noetl.dsl.playbook import Loop
from tests.dsl.documents import errors_of, fixture_step, step_of, warnings_of


def loop_of(loop: str) -> Loop:
    found = step_of(f"- {{step: a, loop: {loop}, tool: {{kind: noop}}}}").loop
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("{in: [1]}", Loop([1], line=5)),
        ('{in: "{{ x }}", iterator: n}', Loop("{{ x }}", "n", line=5)),
        ("{in: [1], mode: parallel}", Loop([1], mode="parallel", line=5)),
        ("{in: [1], spec: {mode: parallel, max_in_flight: 4}}", Loop([1], mode="parallel", max_in_flight=4, line=5)),
        ("{in: [1], mode: async}", Loop([1], mode="parallel", line=5)),
        ("{collection: [1], element: n, concurrency: 3}", Loop([1], "n", max_in_flight=3, line=5)),
        ("{items: [1]}", Loop([1], line=5)),
        ('{in: [1], spec: {max_in_flight: "{{ n }}"}}', Loop([1], max_in_flight="{{ n }}", line=5)),
        ("{in: [1], spec: {policy: {exec: distributed, results: {preserve_order: true}}}}", Loop([1], line=5)),
        ("{in: [1], spec: {policy: {failure: {mode: best_effort}}}}", Loop([1], best_effort=True, line=5)),
    ],
)
def test_each_spelling_of_a_loop(written: str, expected: Loop) -> None:
    assert loop_of(written) == expected


def test_the_failure_policy_of_the_step_is_that_of_its_loop() -> None:
    loop = fixture_step("dialects/standard.yaml", "fetch").loop
    assert loop is not None
    assert (loop.best_effort, loop.mode, loop.max_in_flight, loop.iterator) == (True, "parallel", 2, "region")


def test_a_loop_inside_a_tool_is_the_steps() -> None:
    step = fixture_step("dialects/retry_in_tool.yaml", "start")
    assert step.loop == Loop("{{ workload.users }}", "user", line=16)
    assert "loop" not in step.tasks[0].fields


def test_a_cursor_loop_claims_rows() -> None:
    loop = fixture_step("dialects/cursor.yaml", "start").loop
    assert loop is not None
    assert (loop.mode, loop.items, loop.iterator, loop.max_in_flight) == ("cursor", None, "jobs", "{{ spec.batch }}")
    assert loop.cursor is not None
    assert set(loop.cursor) == {"kind", "auth", "claim"}
    assert loop.frame == {"process": "frame", "max_rows": 5, "row_concurrency": 2, "lease_seconds": 30}


@pytest.mark.parametrize(
    ("loop", "expected"),
    [
        ("{iterator: item}", "step 'a': loop needs 'in' or 'cursor'"),
        ('{in: [1], iterator: "two words"}', "iterator must be a name such as 'item', not 'two words'"),
        ("{in: [1], iterator: class}", "iterator must be a name such as 'item', not 'class'"),
        ("{in: [1], spec: {mode: cursor}}", "a loop with 'cursor' has mode cursor, and only such a loop"),
        ("{in: [1], spec: {frame: {process: all}}}", "process must be row or frame, not 'all'"),
        ("{in: [1], max_in_flight: 0}", "max_in_flight must be a number, at least 1, not '0'"),
    ],
)
def test_a_loop_that_can_not_run_is_an_error(loop: str, expected: str) -> None:
    assert errors_of(f"- {{step: a, loop: {loop}, tool: {{kind: noop}}}}") == [expected]


# Iterator steps (10.8)


def test_an_iterator_step_is_a_loop_over_its_nested_task() -> None:
    step = fixture_step("dialects/iterator.yaml", "start")
    assert step.loop == Loop("{{ workload.cities }}", "city", max_in_flight=2, line=9)
    fetch, sink = step.tasks
    assert (fetch.label, fetch.kind) == ("fetch_city", "http")
    assert fetch.fields == {"url": "https://weather.example/forecast", "params": {"city": "{{ city.name }}"}}
    assert (sink.label, sink.kind) == ("sink", "postgres")
    assert sink.fields == {"auth": "{{ workload.pg_auth }}", "table": "forecasts", "data": "{{ result.data }}"}
    assert [arc.step for arc in step.arcs] == ["second"]


def test_an_iterator_may_be_the_tool_and_its_task_a_tool_or_a_pipeline() -> None:
    second, third = fixture_step("dialects/iterator.yaml", "second"), fixture_step("dialects/iterator.yaml", "third")
    assert second.loop == Loop([1, 2, 3], "number", mode="parallel", line=26)
    assert [(task.label, task.kind) for task in second.tasks] == [("second", "python")]
    assert [task.label for task in third.tasks] == ["first", "twice"]


def test_an_iterator_mapping_is_the_same() -> None:
    step = step_of('- {step: a, tool: {kind: iterator, in: [1], task: {kind: python, code: "return item"}}}')
    assert (step.loop, step.tasks[0].kind) == (Loop([1], line=5), "python")


def test_what_an_iterator_can_not_do_is_told() -> None:
    assert warnings_of("- {step: a, type: iterator, collection: [1], chunk: 5, task: {tool: noop}}") == [
        "'chunk' has no effect: elements are handled one by one"
    ]
    assert errors_of("- {step: a, tool: {kind: iterator, collection: [1], where: x, task: {tool: noop}}}") == [
        "unknown key 'where' in an iterator of step 'a'"
    ]
