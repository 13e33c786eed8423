"""Older spellings, as they run: docs/reference/language.md, 10."""

from __future__ import annotations

from typing import Any

import pytest

from noetl.errors import ToolError
from noetl.events import StepSkipped
from noetl.testing.rehearsal import SimulatedCall
from tests.language.rehearse import error_of, fails, gone, play


def waits(run: Any, step: str = "start") -> list[float]:
    """Seconds between the calls of a step."""
    times = [call.at for call in run.calls if call.step == step]
    return [(later - earlier).total_seconds() for earlier, later in zip(times, times[1:], strict=False)]


# next (10.2)


@pytest.mark.parametrize(
    ("a", "b", "order"), [("true", "false", ["a", "b"]), ("false", "true", ["b"]), ("false", "false", ["c", "d"]), ("true", "true", ["a", "b"])]
)
def test_an_else_of_a_list_fires_if_none_before_it_held(a: str, b: str, order: list[str]) -> None:
    run = play(f"""
        - {{step: start, next: [{{when: {a}, then: [a, b]}}, {{when: {b}, then: b}}, {{else: [c, d]}}]}}
        - {{step: a}}
        - {{step: b}}
        - {{step: c}}
        - {{step: d}}
    """)
    assert run.order[1:] == order


def test_the_args_of_an_item_reach_its_target() -> None:
    run = play("""
        - {step: start, next: [{when: true, then: [{step: a, args: {x: 1}}, b], args: {x: 0, y: 2}}]}
        - {step: a, tool: {kind: noop, result: "{{ args }}"}}
        - {step: b, tool: {kind: noop, result: "{{ args }}"}}
    """)
    assert (run.result("a"), run.result("b")) == ({"x": 1, "y": 2}, {"x": 0, "y": 2})


# case (10.3)


def test_a_failed_call_is_also_done_with_an_error_and_without_a_response() -> None:
    run = play("""
        - step: start
          tool: {kind: http, url: x}
          case:
            - when: "{{ event.name == 'call.done' and response is not defined and error.status == 404 and event.name == 'call.error' }}"
              then: {next: repair}
            - {when: "{{ event.name == 'call.done' }}", then: {next: fine}}
        - {step: repair}
        - {step: fine}
    """, {"start": gone})  # fmt: skip
    assert (run.status, run.order) == ("completed", ["start", "repair"])


@pytest.mark.parametrize(("then", "expected"), [("{next: a}", ["call"]), ("{set: {x: 1}}", ["call", "exit"])])
def test_step_exit_is_not_asked_when_a_rule_has_chosen_next(then: str, expected: list[str]) -> None:
    run = play(f"""
        - step: start
          tool: {{kind: noop, result: {{n: 1}}}}
          case:
            - {{when: "{{{{ event.name == 'call.done' }}}}", then: [{{collect: {{from: "'call'", into: seen}}}}, {then}]}}
            - {{when: "{{{{ event.name == 'step.exit' }}}}", then: {{collect: {{from: "'exit'", into: seen}}}}}}
        - {{step: a}}
    """)
    assert run.ctx["seen"] == expected


def test_a_rule_of_case_without_an_event_answers_the_call_and_the_exit() -> None:
    run = play("- {step: start, tool: {kind: noop}, case: [{else: {collect: {from: event.name, into: seen}}}]}")
    assert run.ctx["seen"] == ["call.done", "step.exit"]


@pytest.mark.parametrize("then", ["{skip: true}", "{next: []}"])
def test_skip_handles_a_failed_call_and_so_does_a_next_that_leads_nowhere(then: str) -> None:
    run = play(f"""
        - {{step: start, tool: {{kind: http, url: x}}, case: [{{when: "{{{{ event.name == 'call.error' }}}}", then: {then}}}], next: a}}
        - {{step: a}}
    """, {"start": gone})  # fmt: skip
    assert (run.status, run.order) == ("completed", ["start"])


def test_skip_after_a_call_ends_the_step_with_its_result_and_without_its_arcs() -> None:
    run = play("- {step: start, tool: {kind: noop, result: 5}, case: [{when: response, then: {skip: true}}], next: a}\n- {step: a}")
    assert (run.status, run.order, run.result("start")) == ("completed", ["start"], 5)


@pytest.mark.parametrize(
    "set_", ["{x: '{{ response.n }}'}", "[{name: x, value: '{{ response.n }}'}]", "{ctx: {x: '{{ response.n }}'}}", "{ctx.x: '{{ response.n }}'}"]
)
def test_the_set_of_a_rule_writes_ctx_however_it_is_written(set_: str) -> None:
    assert play(f"- {{step: start, tool: {{kind: noop, result: {{n: 7}}}}, case: [{{when: response, then: {{set: {set_}}}}}]}}").ctx == {"x": 7}


@pytest.mark.parametrize(("mode", "expected"), [("append", [[1, 2], [1, 2]]), ("extend", [1, 2, 1, 2])])
def test_collect_appends_a_value_or_extends_by_a_list(mode: str, expected: list[Any]) -> None:
    run = play(f"""
        - step: start
          tool: {{kind: noop, result: {{rows: [1, 2]}}}}
          case: [{{when: "{{{{ event.name == 'call.done' }}}}", then: [{{collect: {{from: response.rows, into: all, mode: {mode}}}}}]}}]
          next: [{{when: "{{{{ ctx.all | length < {len(expected)} }}}}", then: start}}]
    """)
    assert run.ctx == {"all": expected}
    assert run.result("start") == {"rows": [1, 2]}, "from leaves the result alone"


def test_collect_with_a_path_takes_from_the_body_or_else_from_the_result_and_is_the_steps_result() -> None:
    text = """
        - step: start
          tool: {{kind: {kind}}}
          case: [{{when: "{{{{ event.name == 'call.done' }}}}", then: {{collect: {{path: page.rows, into: all, strategy: {strategy}}}}}}}]
          next: [{{when: "{{{{ ctx.once is not defined }}}}", then: start, set: {{once: 1}}}}]
    """
    tools = {"start": lambda call: {"status": 200, "page": {"rows": ["outer"]}, "data": {"page": {"rows": [call.number]}}}}
    http = play(text.format(kind="http, url: x", strategy="append"), tools)
    assert (http.ctx["all"], http.result("start")) == ([1, 2], [1, 2])
    assert play(text.format(kind="http, url: x", strategy="replace"), tools).result("start") == [2]
    assert play(text.format(kind="noop", strategy="extend"), tools).result("start") == ["outer", "outer"]


def test_each_iteration_collects_for_itself() -> None:
    run = play("""
        - step: start
          loop: {in: [a, b], iterator: city, spec: {mode: parallel}}
          tool: {kind: http, url: x, params: {page: 1}}
          case:
            - when: "{{ event.name == 'call.done' and response.page < 2 }}"
              then: {collect: {path: rows, into: rows}, retry: {params: {page: 2}}}
            - {when: "{{ event.name == 'call.done' }}", then: {collect: {path: rows, into: rows}}}
    """, {"start": lambda call: {"data": {"page": call.fields["params"]["page"], "rows": [f"{call.index}-{call.fields['params']['page']}"]}}})  # fmt: skip
    assert run.result("start")["results"] == [["0-1", "0-2"], ["1-1", "1-2"]]


def test_what_a_retry_changes_stays_for_later_calls() -> None:
    run = play("""
        - step: start
          tool: {kind: http, url: x, params: {page: 1, size: 5}, headers: {a: "1"}, json: {q: 1}}
          case:
            - {when: "{{ event.name == 'call.done' and _attempt == 1 }}", then: {retry: {params: {page: 2}, headers: {b: "2"}, body: {r: 2}}}}
            - {when: "{{ event.name == 'call.done' and _attempt == 2 }}", then: {retry: {params: {more: 3}}}}
    """, {"start": lambda call: {"status": 200}})  # fmt: skip
    seen = [(call.fields["params"], call.fields["headers"], call.fields["json"]) for call in run.calls]
    assert seen == [
        ({"page": 1, "size": 5}, {"a": "1"}, {"q": 1}),
        ({"page": 2, "size": 5}, {"a": "1", "b": "2"}, {"q": 1, "r": 2}),
        ({"page": 2, "size": 5, "more": 3}, {"a": "1", "b": "2"}, {"q": 1, "r": 2}),
    ]


def test_a_retry_after_errors_without_a_bound_makes_three_calls() -> None:
    run = play("- {step: start, tool: {kind: http, url: x}, case: [{when: error, then: {retry: {initial_delay: 1}}}]}", {"start": fails(9)})
    assert (run.status, waits(run)) == ("failed", [1, 2])


def test_a_sink_sees_the_response_the_result_and_its_data() -> None:
    run = play("""
        - step: start
          tool: {kind: http, url: x}
          case:
            - when: "{{ event.name == 'call.done' }}"
              then:
                sink: {tool: {kind: noop, name: keep, result: ["{{ response.status }}", "{{ result.status }}", "{{ data.rows }}", "{{ rows }}"]}}
    """, {"start": lambda call: {"status": 200, "data": {"rows": [1]}}})  # fmt: skip
    (sink,) = [call for call in run.calls if call.kind == "noop"]
    assert sink.args == {"rows": [1]}
    assert sink.fields["result"][:3] == [200, 200, [1]]
    assert run.result("start") == {"status": 200, "data": {"rows": [1]}}, "the result stays the call's"


def test_a_step_that_a_rule_of_case_fails_can_be_handled_by_its_arcs() -> None:
    run = play("""
        - step: start
          tool: {kind: noop, result: {n: 1}}
          case: [{when: "{{ event.name == 'call.done' }}", then: {fail: true}}]
          next: {arcs: [{step: repair, when: "{{ error.kind == 'policy' }}"}]}
        - {step: repair}
    """)
    assert (run.status, run.statuses()) == ("completed", {"start": "failed", "repair": "completed"})


# retry of a step (10.4)


def test_guards_of_a_steps_retry_see_the_older_names() -> None:
    guard = "success == false and status_code == 503 and error == 'failure 1' and attempt == 1 and result.why == 'busy' and data.why == 'busy'"
    tool = fails(1, extra={"status_code": 503}, result={"why": "busy"})
    run = play(f'- {{step: start, tool: http, url: x, retry: {{max_attempts: 2, retry_when: "{{{{ {guard} }}}}"}}}}', {"start": tool})
    assert (run.status, len(run.calls)) == ("completed", 2)


def test_on_success_calls_again_while_it_holds_and_on_error_tries_again() -> None:
    def tool(call: SimulatedCall) -> Any:
        if call.number == 2:
            raise ToolError("busy", kind="server_error", extra={"status_code": 503})
        page = call.fields["params"]["page"]
        return {"status": 200, "data": {"page": page, "more": page < 3, "rows": [page]}}

    run = play("""
        - step: start
          tool: http
          url: x
          params: {page: 1}
          retry:
            on_error: {max_attempts: 3, initial_delay: 1, when: "{{ status_code == 503 }}"}
            on_success:
              while: "{{ response.data.more }}"
              next_call: {params: {page: "{{ response.data.page + 1 }}"}}
              collect: {path: rows, into: all}
    """, {"start": tool})  # fmt: skip
    assert run.status == "completed", run.state.error
    assert [call.fields["params"]["page"] for call in run.calls] == [1, 2, 2, 3]


def test_a_list_under_retry_is_case_after_a_call() -> None:
    run = play("""
        - step: start
          tool: http
          url: x
          retry:
            - {when: "{{ error.status == 503 }}", then: {max_attempts: 4, initial_delay: 2, backoff_multiplier: 1}}
    """, {"start": fails(3, extra={"status": 503})})  # fmt: skip
    assert (run.status, waits(run)) == ("completed", [2, 2, 2])


# save, sink (10.5)


def test_a_save_runs_after_the_pipeline_and_the_result_stays_that_of_the_pipeline() -> None:
    run = play("""
        - step: start
          tool: [{name: a, kind: noop, result: {n: 1}}, {name: b, kind: noop, result: {n: 2}}]
          save: {storage: postgres, auth: pg, table: t, data: {n: "{{ result.n }}", a: "{{ a.n }}"}}
          next: after
        - {step: after, tool: {kind: noop, result: "{{ start.n }}"}}
    """, {"postgres": lambda call: {"status": "success"}})  # fmt: skip
    assert [call.kind for call in run.calls] == ["noop", "noop", "postgres", "noop"]
    assert run.calls[2].fields["data"] == {"n": 2, "a": 1}
    assert run.result("start") == {"n": 2, "results": {"a": {"n": 1}, "b": {"n": 2}}}
    assert run.result("after") == 2


def test_a_save_that_fails_fails_the_step() -> None:
    run = play("- {step: start, tool: {kind: noop}, save: {storage: postgres, auth: pg, table: t}, next: a}\n- {step: a}", {"postgres": gone})
    assert (error_of(run)["kind"], run.order) == ("not_found", ["start"])


# retry in a tool, enabled (10.7, 10.9)


def test_a_tools_retry_is_asked_before_its_rules() -> None:
    text = """
        - step: start
          tool:
            kind: http
            url: x
            retry: {max_attempts: 3, retry_on: [connection_error], backoff: linear, delay: 2}
            spec: {policy: {rules: [{when: "{{ error.kind == 'auth' }}", then: {do: continue}}]}}
    """
    assert waits(play(text, {"start": fails(2, "connection")})) == [2, 4]
    assert play(text, {"start": fails(2, "auth")}).status == "completed"
    assert play(text, {"start": fails(2, "timeout")}).status == "failed"


@pytest.mark.parametrize(
    ("enabled", "status"), [("false", "skipped"), ("true", "completed"), ('"{{ workload.on }}"', "skipped"), ("'{{ not workload.on }}'", "completed")]
)
def test_a_step_that_is_not_enabled_is_skipped(enabled: str, status: str) -> None:
    run = play(f"- {{step: start, enabled: {enabled}, tool: {{kind: noop}}}}", head="workload: {on: false}")
    assert run.statuses() == {"start": status}
    assert len(run.named(StepSkipped)) == (status == "skipped")


def test_an_iterator_step_saves_each_of_its_results() -> None:
    run = play("""
        - step: start
          type: iterator
          collection: [1, 2]
          element: n
          mode: parallel
          concurrency: 1
          task: {tool: noop, result: {n: "{{ n }}"}, save: {storage: {type: postgres, auth: pg, table: t}, data: {id: "{{ result.n }}"}}}
    """, {"postgres": lambda call: {}})  # fmt: skip
    assert [call.fields["data"] for call in run.calls if call.kind == "postgres"] == [{"id": 1}, {"id": 2}]
    assert run.result("start")["results"] == [{"n": 1}, {"n": 2}]
