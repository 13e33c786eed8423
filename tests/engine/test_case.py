"""The `case` dialect and the other older spellings, as they run: docs/reference/language.md, section 10."""

from __future__ import annotations

from typing import Any

import pytest

from noetl.errors import ToolError
from noetl.testing.rehearsal import Rehearsal, SimulatedCall
from tests.engine.playbooks import playbook


def pages(call: SimulatedCall) -> Any:
    """35 items in pages of ten, as an HTTP service gives them."""
    page = int((call.fields.get("params") or {}).get("page", 1))
    rows = [{"id": number} for number in range(35)][10 * (page - 1) : 10 * page]
    body = {"data": rows, "paging": {"hasMore": 10 * page < 35, "page": page}}
    return {"status": 200, "status_code": 200, "headers": {}, "data": body, "body": body}


PAGING = """
    - step: fetch
      tool: {kind: http, url: "http://x/items", params: {page: 1, pageSize: 10}}
      case:
        - when: "{{ event.name == 'call.done' and response.paging.hasMore == true }}"
          then:
            collect: {path: data, into: pages, strategy: append}
            retry: {params: {page: "{{ (response.paging.page | int) + 1 }}"}%s}
        - when: "{{ event.name == 'call.done' }}"
          then:
            - collect: {path: data, into: pages, strategy: append}
            - next: [{step: check}]
    - {step: check, tool: {kind: noop, result: "{{ fetch | length }}"}}
"""


def test_paging_collects_every_page_and_the_list_is_the_steps_result() -> None:
    run = Rehearsal(playbook(PAGING % ""), {"fetch": pages}).play()
    assert run.status == "completed"
    assert run.result("check") == 35
    assert [item["id"] for item in run.result("fetch")] == list(range(35))
    assert [call.fields["params"] for call in run.calls if call.step == "fetch"] == [{"page": number, "pageSize": 10} for number in (1, 2, 3, 4)]
    assert len({call.id for call in run.calls if call.step == "fetch"}) == 4


def test_a_spent_paging_budget_ends_the_step_normally_and_no_rule_leads_on() -> None:
    run = Rehearsal(playbook(PAGING % ", max_attempts: 2"), {"fetch": pages}).play()
    assert run.status == "completed"
    assert len(run.result("fetch")) == 20
    assert run.runs("check") == 0


def test_the_first_rule_that_matches_runs_and_the_others_are_not_looked_at() -> None:
    run = Rehearsal(
        playbook("""
        - step: start
          tool: {kind: noop, result: {n: 1}}
          case:
            - {when: "{{ event.name == 'call.done' and response.n == 1 }}", then: {next: a}}
            - {when: "{{ event.name == 'call.done' }}", then: {next: b}}
        - {step: a}
        - {step: b}
    """)
    ).play()
    assert run.order == ["start", "a"]


def test_all_targets_of_next_get_a_token() -> None:
    run = Rehearsal(
        playbook("""
        - step: start
          tool: {kind: noop}
          case: [{when: "{{ event.name == 'step.exit' }}", then: {next: [a, {step: b, args: {x: 5}}]}}]
        - {step: a}
        - {step: b, tool: {kind: noop, result: "{{ args.x }}"}}
    """)
    ).play()
    assert run.order == ["start", "a", "b"]
    assert run.result("b") == 5


def test_actions_of_a_mapping_run_in_the_fixed_order_whatever_the_author_wrote() -> None:
    run = Rehearsal(
        playbook("""
        - step: start
          tool: {kind: noop, result: {n: 1}}
          case:
            - when: "{{ event.name == 'call.done' }}"
              then:
                next: [{step: a, args: {seen: "{{ ctx.seen }}"}}]
                sink: {tool: {kind: noop, name: store, result: "{{ ctx.seen }}"}}
                set: {seen: 7}
        - {step: a, tool: {kind: noop, result: "{{ args.seen }}"}}
    """)
    ).play()
    assert run.result("a") == 7
    assert [call.fields.get("result") for call in run.calls] == [{"n": 1}, 7, 7]


def test_a_sink_stores_the_calls_data_and_its_failure_fails_the_step() -> None:
    text = playbook("""
        - step: start
          tool: {kind: http, url: x}
          case:
            - when: "{{ event.name == 'call.done' }}"
              then: {sink: {tool: {kind: postgres, auth: pg, table: t}}, next: a}
        - {step: a}
    """)
    answer = {"status": 200, "data": {"rows": [1]}, "headers": {}}
    run = Rehearsal(text, {"start": lambda call: answer}).play()
    assert run.order == ["start", "a"]
    (sink,) = [call for call in run.calls if call.kind == "postgres"]
    assert sink.fields["data"] == {"rows": [1]}

    def broken(call: SimulatedCall) -> Any:
        raise ToolError("no table", kind="database")

    failed = Rehearsal(text, {"start": lambda call: answer, "postgres": broken}).play()
    assert (failed.status, failed.order) == ("failed", ["start"])


def test_a_sink_under_step_exit_is_followed_by_the_steps_own_next() -> None:
    run = Rehearsal(
        playbook("""
        - step: start
          tool: {kind: noop, result: {n: 1}}
          case: [{when: "{{ event.name == 'step.exit' }}", then: {sink: {tool: {kind: noop}}}}]
          next: [{step: a}]
        - {step: a}
    """)
    ).play()
    assert run.order == ["start", "a"]
    assert len(run.calls) == 2


def test_a_failed_call_that_no_rule_answers_fails_the_step_and_one_with_next_is_handled() -> None:
    text = """
        - step: start
          tool: {kind: http, url: x}
          case:
            - {when: "{{ event.name == 'call.error' and error.status == %s }}", then: {next: repair}}
        - {step: repair}
    """

    def tool(call: SimulatedCall) -> Any:
        raise ToolError("gone", kind="not_found", extra={"status": 404, "status_code": 404})

    assert Rehearsal(playbook(text % 500), {"start": tool}).play().status == "failed"
    run = Rehearsal(playbook(text % 404), {"start": tool}).play()
    assert (run.status, run.order) == ("completed", ["start", "repair"])


def test_a_retry_of_case_after_errors_counts_the_first_call_and_fails_when_spent() -> None:
    text = playbook("""
        - step: start
          tool: {kind: http, url: x}
          case:
            - when: "{{ event.name == 'call.error' and error.status in [500, 503] }}"
              then: {retry: {max_attempts: 3, initial_delay: 1, backoff_multiplier: 3}}
            - {when: "{{ event.name == 'call.done' }}", then: {next: a}}
        - {step: a}
    """)

    def failing(times: int) -> Any:
        def tool(call: SimulatedCall) -> Any:
            if call.number <= times:
                raise ToolError("busy", kind="server_error", extra={"status": 503})
            return {"status": 200}

        return {"start": tool}

    run = Rehearsal(text, failing(2)).play()
    assert run.order == ["start", "a"]
    times = [call.at for call in run.calls if call.step == "start"]
    assert [(b - a).total_seconds() for a, b in zip(times, times[1:], strict=False)] == [1, 3]
    assert Rehearsal(text, failing(3)).play().status == "failed"


def test_result_replaces_the_steps_result_and_call_calls_again_with_what_changed() -> None:
    run = Rehearsal(
        playbook("""
        - step: start
          tool: {kind: http, url: x, params: {page: 1}}
          case:
            - when: "{{ event.name == 'call.done' and response.page < 3 }}"
              then: {call: {params: {page: "{{ response.page + 1 }}"}}}
            - {when: "{{ event.name == 'call.done' }}", then: {result: {from: response.page}}}
          next: a
        - {step: a}
    """),
        {"start": lambda call: {"page": call.fields["params"]["page"]}},
    ).play()
    assert run.result("start") == 3
    assert run.order == ["start", "a"]


def test_step_enter_rules_run_before_the_first_call() -> None:
    run = Rehearsal(
        playbook("""
        - step: start
          tool: {kind: noop, result: "{{ ctx.ready }}"}
          case: [{when: "{{ event.name == 'step.enter' }}", then: {set: {ready: true}}}]
    """)
    ).play()
    assert run.result("start") is True


def test_skip_at_step_enter_ends_the_step_without_a_call_and_without_its_arcs() -> None:
    run = Rehearsal(
        playbook("""
        - step: start
          tool: {kind: noop}
          case: [{when: "{{ event.name == 'step.enter' }}", then: {skip: true}}]
          next: a
        - {step: a}
    """)
    ).play()
    assert (run.status, run.order, run.calls) == ("completed", ["start"], [])


def test_fail_fails_the_step_in_the_authors_words() -> None:
    run = Rehearsal(
        playbook("""
        - step: start
          tool: {kind: noop, result: {n: 1}}
          case: [{when: "{{ event.name == 'call.done' and response.n < 5 }}", then: {fail: "only {{ response.n }}"}}]
    """)
    ).play()
    assert run.state.error is not None
    assert run.state.error["message"] == "only 1"


def test_loop_rules_run_for_each_iteration_and_loop_done_once() -> None:
    run = Rehearsal(
        playbook("""
        - step: start
          loop: {in: [1, 2, 3], iterator: n}
          tool: {kind: noop, result: "{{ n }}"}
          case:
            - {when: "{{ event.name == 'call.done' }}", then: {collect: {from: response, into: all, mode: append}}}
            - {when: "{{ event.name == 'loop.done' }}", then: {set: {done: "{{ ctx.all | sum }}"}, next: a}}
        - {step: a}
    """)
    ).play()
    assert run.ctx == {"all": [1, 2, 3], "done": 6}
    assert run.order == ["start", "a"]


def test_equal_targets_of_iterations_are_emitted_once_when_the_loop_is_done() -> None:
    run = Rehearsal(
        playbook("""
        - step: start
          loop: {in: [1, 2, 3], iterator: n}
          tool: {kind: noop}
          case: [{when: "{{ event.name == 'call.done' }}", then: {next: a}}]
        - {step: a}
    """)
    ).play()
    assert run.order == ["start", "a"]


@pytest.mark.parametrize(
    ("retry", "failures", "status", "waits"),
    [
        ("true", 2, "completed", [1, 2]),
        ("2", 2, "failed", [1]),
        ("{max_attempts: 4, initial_delay: 2, backoff_multiplier: 1}", 3, "completed", [2, 2, 2]),
        ('{max_attempts: 4, initial_delay: 1, retry_when: "{{ status_code == 503 }}"}', 2, "completed", [1, 2]),
        ('{max_attempts: 4, retry_when: "{{ status_code == 500 }}"}', 1, "failed", []),
        ("{max_attempts: 4, retry_when: \"{{ 'busy' in error }}\"}", 1, "completed", [1]),
        ('{max_attempts: 4, stop_when: "{{ attempt >= 2 }}"}', 3, "failed", [1]),
    ],
)
def test_a_steps_retry_becomes_rules(retry: str, failures: int, status: str, waits: list[float]) -> None:
    def tool(call: SimulatedCall) -> Any:
        if call.number <= failures:
            raise ToolError("busy", kind="server_error", extra={"status_code": 503, "status": 503})
        return {"status": 200}

    run = Rehearsal(playbook(f"- {{step: start, tool: http, url: x, retry: {retry}}}"), {"start": tool}).play()
    assert run.status == status
    times = [call.at for call in run.calls]
    assert [(b - a).total_seconds() for a, b in zip(times, times[1:], strict=False)] == waits


def test_vars_and_as_store_in_ctx() -> None:
    run = Rehearsal(
        playbook("""
        - {step: start, tool: {kind: noop, result: {y: 3}}, vars: {x: "{{ result.y }}"}, next: a}
        - {step: a, tool: {kind: noop, result: {z: 4}}, output: {as: whole}}
    """)
    ).play()
    assert run.ctx == {"x": 3, "whole": {"z": 4}}


def test_older_next_lists_fan_out_and_an_else_makes_them_exclusive() -> None:
    fan = Rehearsal(
        playbook("""
        - {step: start, next: [{when: "{{ true }}", then: a}, {when: "{{ true }}", then: [b, {step: c, args: {x: 1}}]}]}
        - {step: a}
        - {step: b}
        - {step: c}
    """)
    ).play()
    assert fan.order == ["start", "a", "b", "c"]
    ladder = Rehearsal(
        playbook("""
        - {step: start, next: [{when: "{{ false }}", then: a}, {when: "{{ true }}", then: b}, {else: c}]}
        - {step: a}
        - {step: b}
        - {step: c}
    """)
    ).play()
    assert ladder.order == ["start", "b"]


def test_an_iterator_step_is_a_loop_over_its_nested_task() -> None:
    run = Rehearsal(
        playbook("""
        - step: start
          tool: iterator
          collection: "{{ [1, 2, 3] }}"
          element: n
          mode: sequential
          task: {tool: noop, result: "{{ n * n }}"}
    """)
    ).play()
    assert run.result("start")["results"] == [1, 4, 9]


@pytest.mark.parametrize(
    ("steps", "sum_"),
    [
        ("- {step: start, tool: workbook, name: add}", 3),
        ("- {step: start, tool: workbook, name: add, args: {a: 5}}", 7),
        ("- {step: start, tool: {kind: workbook, name: add, args: {a: 5}}}", 7),
        ("- {step: start, tool: {kind: workbook, name: add, args: {a: null, b: 4}}}", 5),
        ("- {step: x, next: [{step: start, args: {a: 10}}]}\n- {step: start, tool: {kind: workbook, name: add}}", 12),
    ],
)
def test_a_workbook_tasks_declared_args_are_for_what_nobody_gives(steps: str, sum_: int) -> None:
    workbook = 'workbook: [{name: add, args: {a: 1, b: 2}, tool: {kind: noop, result: "{{ a + b }}"}}]'
    head = "executor: {spec: {entry_step: x}}\n" if "step: x" in steps else ""
    assert Rehearsal(playbook(steps, head + workbook)).play().result("start") == sum_
