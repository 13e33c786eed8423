"""Tasks, inputs, policy rules, results: docs/reference/language.md, sections 4 and 7."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noetl.engine import messages
from noetl.engine.draft import Draft
from noetl.errors import ToolError
from noetl.events import AttemptLost, OutcomeLate, TaskScheduled
from noetl.testing.rehearsal import Rehearsal, SimulatedCall
from tests.engine.playbooks import playbook


def flaky(failures: int, kind: str = "server_error", **about: Any) -> Any:
    """A tool that fails so many times, then gives its number."""

    def tool(call: SimulatedCall) -> Any:
        if call.number <= failures:
            raise ToolError(f"failure {call.number}", kind=kind, retryable=True, **about)
        return {"number": call.number}

    return tool


def rules(text: str, more: str = "") -> str:
    return playbook(f"""
    - step: start
      tool:
        - name: work
          kind: http
          url: x
          spec: {{policy: {{rules: {text}}}}}
        {more}
    """)


def waits(run: Rehearsal) -> list[float]:
    """Seconds between the calls."""
    times = [call.at for call in run.calls]
    return [(later - earlier).total_seconds() for earlier, later in zip(times, times[1:], strict=False)]


def test_tasks_run_in_order_and_see_the_result_before_and_the_labels() -> None:
    run = Rehearsal(
        playbook("""
        - step: start
          tool:
            - {name: one, kind: noop, result: {n: 1}}
            - {name: two, kind: noop, result: {n: "{{ _prev.n + 1 }}", label: "{{ one.n }}", task: "{{ _task }}"}}
            - {name: three, kind: noop, result: {sum: "{{ one.n + two.n }}"}}
          next: {arcs: [{step: after, args: {two: "{{ start.results.two.n }}", bare: "{{ two.n }}"}}]}
        - {step: after, tool: {kind: noop, result: "{{ args }}"}}
    """)
    ).play()
    assert run.result("start") == {
        "sum": 3,
        "results": {"one": {"n": 1}, "two": {"n": 2, "label": 1, "task": "two"}, "three": {"sum": 3}},
    }
    assert run.result("after") == {"two": 2, "bare": 2}


def test_the_step_result_is_the_last_result_that_is_not_null() -> None:
    run = Rehearsal(
        playbook("""
        - step: start
          tool: [{name: one, kind: noop, result: {n: 1}}, {name: two, kind: noop, result: null}]
    """)
    ).play()
    assert run.result("start")["n"] == 1


def test_the_results_of_the_tasks_are_there_also_when_the_last_one_is_a_list() -> None:
    run = Rehearsal(
        playbook("""
        - step: start
          tool: [{name: one, kind: noop, result: {n: 1}}, {name: two, kind: noop, result: [4, 5]}]
          next: after
        - {step: after, tool: {kind: noop, result: ["{{ start.results.one.n }}", "{{ start[1] }}", "{{ start | length }}", "{{ start }}"]}}
    """)
    ).play()
    assert run.result("after") == [1, 5, 2, [4, 5]]


def test_inputs_bind_from_step_token_and_task_and_a_null_hides_nothing() -> None:
    run = Rehearsal(
        playbook("""
        - {step: start, next: {arcs: [{step: a, args: {x: token, y: token}}]}}
        - step: a
          args: {x: step, y: step, z: step}
          tool: {kind: noop, args: {y: task, z: null, w: "{{ x }}"}, result: "{{ args }}"}
    """)
    ).play()
    assert run.result("a") == {"x": "token", "y": "task", "z": "step", "w": "token"}


def test_input_shows_args_over_the_payload_and_payload_is_data_not_template() -> None:
    run = Rehearsal(
        playbook('- {step: start, args: {a: 1}, tool: {kind: noop, result: "{{ [input.a, input.b, payload.b, workload.b] }}"}}'),
        payload={"a": 0, "b": "{{ 1 + 1 }}"},
    ).play()
    assert run.result("start") == [1, "{{ 1 + 1 }}", "{{ 1 + 1 }}", "{{ 1 + 1 }}"]


def test_no_policy_an_error_fails_the_step() -> None:
    run = Rehearsal(playbook("- {step: start, tool: {kind: http, url: x}}"), {"http": flaky(1)}).play()
    assert run.status == "failed"
    assert len(run.calls) == 1


def test_rules_that_do_not_match_an_error_fail_the_step() -> None:
    run = Rehearsal(rules("[{when: \"{{ outcome.status == 'ok' }}\", then: {do: continue}}]"), {"work": flaky(1)}).play()
    assert run.status == "failed"


def test_a_retry_runs_the_task_again_up_to_its_attempts_and_keeps_the_calls_id() -> None:
    run = Rehearsal(rules("[{when: \"{{ error.kind == 'server_error' }}\", then: {do: retry, attempts: 4}}]"), {"work": flaky(3)}).play()
    assert run.status == "completed"
    assert [call.attempt for call in run.calls] == [1, 2, 3, 4]
    assert len({call.id for call in run.calls}) == 1


def test_attempts_default_to_three() -> None:
    run = Rehearsal(rules('[{when: "{{ error is defined }}", then: {do: retry}}]'), {"work": flaky(9)}).play()
    assert (run.status, len(run.calls)) == ("failed", 3)
    assert run.state.error is not None
    assert run.state.error["message"] == "failure 3"


def test_a_spent_retry_fails_past_else_but_not_past_a_later_guard() -> None:
    spent = '[{when: "{{ error is defined }}", then: {do: retry, attempts: 2}}, %s]'
    assert Rehearsal(rules(spent % "{else: {then: {do: continue}}}"), {"work": flaky(9)}).play().status == "failed"
    guarded = spent % "{when: \"{{ error.kind == 'server_error' }}\", then: {do: continue}}"
    assert Rehearsal(rules(guarded), {"work": flaky(9)}).play().status == "completed"


def test_a_retry_rule_that_polls_and_never_sees_what_it_waits_for_fails() -> None:
    run = Rehearsal(rules('[{when: "{{ result.number < 9 }}", then: {do: retry, attempts: 3}}]'), {"work": flaky(0)}).play()
    assert run.status == "failed"
    assert [call.id for call in run.calls] != [run.calls[0].id] * 3  # a deliberate repeat is a new call
    assert run.state.error is not None
    assert run.state.error["kind"] == "policy"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("delay: 2", [2, 2, 2]),
        ("delay: 2, backoff: fixed", [2, 2, 2]),
        ("delay: 2, backoff: linear", [2, 4, 6]),
        ("delay: 2, backoff: exponential", [2, 4, 8]),
        ("delay: 2, backoff: exponential, max_delay: 5", [2, 4, 5]),
        ('delay: "{{ workload.wait | default(3) }}"', [3, 3, 3]),
        ("", [0, 0, 0]),
    ],
)
def test_the_delay_grows_by_its_backoff_up_to_its_cap(spec: str, expected: list[float]) -> None:
    separator = ", " if spec else ""
    run = Rehearsal(rules(f'[{{when: "{{{{ error is defined }}}}", then: {{do: retry, attempts: 4{separator}{spec}}}}}]'), {"work": flaky(3)}).play()
    assert waits(run) == expected


def test_retry_after_raises_the_delay_up_to_the_cap() -> None:
    text = rules('[{when: "{{ error is defined }}", then: {do: retry, attempts: 2, delay: 1, max_delay: 10}}]')
    assert waits(Rehearsal(text, {"work": flaky(1, retry_after_s=7)}).play()) == [7]
    assert waits(Rehearsal(text, {"work": flaky(1, retry_after_s=70)}).play()) == [10]


@given(st.floats(0, 1, exclude_max=True))
def test_jitter_spreads_the_delay_by_half(chance: float) -> None:
    text = rules('[{when: "{{ error is defined }}", then: {do: retry, attempts: 2, delay: 10, jitter: true}}]')
    (wait,) = waits(Rehearsal(text, {"work": flaky(1)}, chance=chance).play())
    assert wait == pytest.approx(10 * (0.5 + chance), abs=1e-5)


def test_continue_swallows_an_error_and_prev_keeps_the_last_good_result() -> None:
    run = Rehearsal(
        playbook("""
        - step: start
          tool:
            - {name: good, kind: noop, result: {n: 1}}
            - {name: bad, kind: http, url: x, spec: {policy: {rules: [{else: {then: {do: continue}}}]}}}
            - {name: last, kind: noop, result: {prev: "{{ _prev.n }}", bad: "{{ bad is none }}"}}
    """),
        {"bad": flaky(1)},
    ).play()
    assert run.status == "completed"
    assert run.result("start")["prev"] == 1


def test_writes_come_before_the_directive_and_all_values_of_one_set_before_any_write() -> None:
    run = Rehearsal(
        playbook(
            """
        - step: start
          tool:
            - name: swap
              kind: noop
              spec: {policy: {rules: [{else: {then: {do: continue, set: {ctx.a: "{{ ctx.b }}", ctx.b: "{{ ctx.a }}", iter.k: 5, local: 6}}}}]}}
            - {name: see, kind: noop, result: ["{{ ctx.a }}", "{{ ctx.b }}", "{{ iter.k }}", "{{ local }}", "{{ step.local }}"]}
    """,
            "vars: {a: 1, b: 2}",
        )
    ).play()
    assert run.result("start") == [2, 1, 5, 6, 6]


def test_jump_goes_back_and_the_counters_behind_its_target_start_again() -> None:
    run = Rehearsal(
        playbook("""
        - step: start
          tool:
            - {name: page, kind: noop, result: "{{ iter.n | default(0) }}"}
            - name: work
              kind: http
              url: x
              spec:
                policy:
                  rules:
                    - {when: "{{ error is defined }}", then: {do: retry, attempts: 2}}
                    - {when: "{{ (iter.n | default(0)) < 2 }}", then: {do: jump, to: page, set: {iter.n: "{{ (iter.n | default(0)) + 1 }}"}}}
    """),
        {"work": lambda call: (_ for _ in ()).throw(ToolError("odd", kind="connection")) if call.number % 2 else {"n": call.number}},
    ).play()
    assert run.status == "completed"
    assert [call.task for call in run.calls] == ["page", "work", "work"] * 3
    assert len({call.id for call in run.calls if call.task == "work"}) == 3


def test_break_leaves_the_pipeline_with_success_and_fail_with_the_authors_words() -> None:
    text = """
        - step: start
          tool:
            - {{name: one, kind: noop, result: 1, spec: {{policy: {{rules: [{{else: {{then: {directive}}}}}]}}}}}}
            - {{name: two, kind: noop, result: 2}}
    """
    left = Rehearsal(playbook(text.format(directive="{do: break}"))).play()
    assert (left.status, left.result("start")) == ("completed", 1)
    failed = Rehearsal(playbook(text.format(directive="{do: fail}"))).play()
    assert failed.status == "failed"
    assert failed.state.error is not None
    assert failed.state.error["kind"] == "policy"


def test_a_tasks_set_runs_after_it_unless_it_failed_the_step() -> None:
    text = """
        - step: start
          tool:
            - {name: one, kind: noop, result: {n: 3}, set: {x: "{{ result.n }}"}}
            - {name: two, kind: noop, result: "{{ x }}"}
          set: {ctx.x: "{{ x }}"}
    """
    run = Rehearsal(playbook(text)).play()
    assert run.result("start") == 3
    assert run.ctx == {"x": 3}


def test_a_pipeline_that_never_ends_is_stopped_by_the_limit() -> None:
    run = Rehearsal(
        playbook(
            "- {step: start, tool: [{name: a, kind: noop, spec: {policy: {rules: [{else: {then: {do: jump, to: a}}}]}}}]}",
            "executor: {spec: {limits: {max_tasks_per_run: 50}}}",
        )
    ).play()
    assert run.status == "failed"
    assert run.state.error is not None
    assert run.state.error["kind"] == "limit"
    assert len(run.calls) == 50


def test_the_envelope_has_the_outcome_and_its_status_is_never_the_payloads() -> None:
    text = rules(
        '[{else: {then: {do: continue, set: {ctx.seen: ["{{ outcome.status }}", "{{ outcome.data.rows }}", "{{ output.http.status }}",'
        ' "{{ outcome.meta.attempt }}", "{{ outcome.result.status }}", "{{ output.data.data.rows }}"]}}}}]'
    )
    answer = {"status": 200, "data": {"rows": [1], "status": "error"}, "headers": {}}
    assert Rehearsal(text, {"work": lambda call: answer}).play().ctx["seen"] == ["ok", [1], 200, 1, 200, [1]]


def test_a_failed_call_that_got_an_answer_shows_it() -> None:
    text = rules(
        '[{else: {then: {do: continue, set: {ctx.seen: ["{{ outcome.result.status }}", "{{ error.status_code }}", "{{ response is defined }}"]}}}}]'
    )
    run = Rehearsal(text, {"work": flaky(1, result={"status": 503}, extra={"status_code": 503})}).play()
    assert run.ctx["seen"] == [503, 503, False]


def test_a_lost_attempt_runs_again_on_its_own_budget_of_three_and_keeps_the_calls_id() -> None:
    run = Rehearsal(playbook("- {step: start, tool: {kind: noop}}"))
    run.tell(messages.Begin(path="t", net="net"))
    for attempt in range(1, 5):
        assert run.status == "running"
        run.tell(messages.Lost(run=1, index=0, task="start", attempt=attempt, reason="gone"))
    assert run.status == "failed"
    assert run.state.error is not None
    assert run.state.error["kind"] == "worker_lost"
    assert len(run.named(AttemptLost)) == 4


@pytest.mark.parametrize("format_", [2, 3])
def test_what_a_lost_attempt_gives_after_all_is_recorded_once_and_changes_nothing(format_: int) -> None:
    run = Rehearsal(playbook("- {step: start, tool: {kind: python, code: x}, next: end}\n- {step: end, tool: {kind: noop}}"), format_=format_)
    run.tell(messages.Begin(path="test", net="net", payload={}))
    call = {"run": 1, "index": 0, "task": "start"}
    late = messages.Succeeded(**call, attempt=1, started_at=run.now, duration_s=2.0, result="of the first", node="w1")
    run.tell(messages.Lost(**call, attempt=1, reason="its node is gone"))
    before = run.state.runs[1].frames[0].phase
    for _ in range(2):
        run.tell(late)
    run.tell(messages.Failed(**call, attempt=7, started_at=run.now, duration_s=0.0, error={"kind": "python", "message": "of none"}))
    assert run.state.runs[1].frames[0].phase == before == "attempting"
    told = [(event.attempt, event.status, event.node, event.duration_s) for event in run.named(OutcomeLate)]
    assert told == ([(1, "succeeded", "w1", 2.0)] if format_ >= 3 else []), "an older node would not read it"
    run.go_on()
    assert (run.status, run.result("start")) == ("completed", None)


def test_a_task_that_must_not_run_twice_fails_when_it_is_lost() -> None:
    run = Rehearsal(playbook("- {step: start, tool: {kind: noop, spec: {retry_on_loss: false}}}"))
    run.tell(messages.Begin(path="t", net="net"))
    run.tell(messages.Lost(run=1, index=0, task="start", attempt=1, reason="gone"))
    assert run.status == "failed"


def test_late_and_doubled_outcomes_change_nothing() -> None:
    run = Rehearsal(playbook("- {step: start, tool: {kind: noop}, next: b}\n- {step: b, tool: {kind: noop}}"))
    run.tell(messages.Begin(path="t", net="net"))
    done = messages.Succeeded(run=1, index=0, task="start", attempt=1, started_at=run.now, duration_s=0, result=1)
    run.tell(done)
    before = len(run.events)
    run.tell(done)
    run.tell(messages.Lost(run=1, index=0, task="start", attempt=1, reason="late"))
    run.tell(messages.Succeeded(run=2, index=0, task="b", attempt=7, started_at=run.now, duration_s=0))
    assert len(run.events) == before


def test_large_values_that_routing_makes_are_stored_and_read_again() -> None:
    run = Rehearsal(
        playbook("""
        - {step: start, tool: {kind: noop, result: "{{ range(700) | list }}"}, set: {ctx.all: "{{ result }}"}, next: {arcs: [{step: a, args: {all: "{{ ctx.all }}"}}]}}
        - step: a
          loop: {in: "{{ args.all }}", iterator: n, spec: {mode: parallel, max_in_flight: 500}}
          tool: {kind: noop, result: "{{ n }}"}
          next: {arcs: [{step: b, when: "{{ a.results[699] == 699 }}"}]}
        - {step: b, tool: {kind: noop, result: "{{ a.results | sum }}"}}
    """),
        inline_max_bytes=500,
    ).play()
    assert run.result("b") == sum(range(700))
    assert run.loads > 0


def test_retry_timers_are_in_the_log_with_their_due_time() -> None:
    run = Rehearsal(rules('[{when: "{{ error is defined }}", then: {do: retry, attempts: 2, delay: 90, max_delay: 100}}]'), {"work": flaky(1)})
    started = run.now
    run.play()
    (retry,) = [event for event in run.named(TaskScheduled) if event.attempt == 2]
    assert retry.due_at == started + dt.timedelta(seconds=90)


def test_a_number_that_is_none_is_a_template_error_that_says_what_it_is_for() -> None:
    run = Rehearsal(rules('[{when: "{{ error is defined }}", then: {do: retry, delay: "{{ \'soon\' }}"}}]'), {"work": flaky(1)}).play()
    assert run.state.error is not None
    assert "delay must be a number, not 'soon'" in run.state.error["message"]
    assert Draft.number.__doc__
