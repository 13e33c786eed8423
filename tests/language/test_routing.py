"""Arcs, joins, events, failure and the end: docs/reference/language.md, 6."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from noetl.events import ExecutionStopping, StepScheduled
from noetl.testing.rehearsal import SimulatedCall
from tests.language.rehearse import error_of, fails, gone, play, warnings_of

# Arcs


def test_the_set_of_a_step_that_failed_does_not_run() -> None:
    run = play("""
        - {step: start, tool: {kind: http, url: x}, set: {ctx.x: 1}, next: {arcs: [{step: after, when: "{{ error is defined }}", set: {ctx.y: 2}}]}}
        - {step: after}
    """, {"http": gone})  # fmt: skip
    assert run.ctx == {"y": 2}


def test_wishes_for_a_cluster_change_nothing_on_one_node() -> None:
    spec = "{resources: {gpu: 9}, requires: {gpu: 1, region: mars}, pool: nowhere, priority: 9, duration_hint_s: 1}"
    assert play(f"- {{step: start, spec: {spec}, tool: {{kind: noop, result: 1}}}}").result("start") == 1


def test_a_step_without_arcs_is_not_a_step_whose_arcs_did_not_match() -> None:
    run = play("- {step: start, next: [last]}\n- {step: last}", head="executor: {spec: {no_next_is_error: true}}")
    assert (run.status, run.order) == ("completed", ["start", "last"])


def test_a_failure_for_want_of_a_match_can_be_handled_like_any_other() -> None:
    run = play("""
        - step: start
          tool: {kind: noop, result: {n: 5}}
          next: {spec: {on_no_match: fail}, arcs: [{step: low, when: "{{ start.n < 3 }}"}, {step: odd, when: "{{ error.kind == 'policy' }}"}]}
        - {step: low}
        - {step: odd}
    """)
    assert (run.status, run.order, run.statuses()["start"]) == ("completed", ["start", "odd"], "failed")


@pytest.mark.parametrize(("code", "order"), [(0, ["start", "good"]), (7, ["start", "bad"])])
def test_guards_of_a_shell_step_see_its_output_bare(code: int, order: list[str]) -> None:
    run = play("""
        - step: start
          tool: {kind: shell, cmds: [make]}
          next: {arcs: [{step: good, cond: "{{ exit_code == 0 and 'done' in stdout and not stderr }}"}, {step: bad, cond: "{{ exit_code != 0 }}"}]}
        - {step: good}
        - {step: bad}
    """, {"shell": lambda call: {"status": "x", "exit_code": code, "stdout": "done", "stderr": ""}})  # fmt: skip
    assert run.order == order


@pytest.mark.parametrize(
    "guard",
    [
        "workload.limit == 5",
        "limit == 5",
        "ctx.seen == 1",
        "iter.index == 0",
        "args.given == 'x' and given == 'x' and input.given == 'x'",
        "event.step == 'look'",
        "outcome.status == 'ok' and outcome.data.n == 7",
        "look.n == 7 and result.n == 7 and response.n == 7 and _prev.n == 7",
        "steps.look.n == 7 and steps['first'].n == 1",
        "first.n == 1",
        "payload.limit is not defined",
        "execution_id == '42' and now() | length > 20",
        "look.results.work.n == 7 and work.n == 7 and local == 3",
    ],
)
def test_a_guard_sees_every_scope_the_event_and_the_results_so_far(guard: str) -> None:
    run = play(f"""
        - {{step: first, tool: {{kind: noop, result: {{n: 1}}}}, set: {{ctx.seen: 1}}, next: {{arcs: [{{step: look, args: {{given: x}}}}]}}}}
        - step: look
          tool: [{{name: before, kind: noop}}, {{name: work, kind: noop, result: {{n: 7}}, set: {{local: 3}}}}]
          next: {{arcs: [{{step: yes, when: "{{{{ {guard} }}}}"}}, {{step: no}}]}}
        - {{step: yes}}
        - {{step: no}}
    """, head="workload: {limit: 5}")  # fmt: skip
    assert run.order == ["first", "look", "yes"]


def test_two_arcs_between_the_same_steps_share_a_place() -> None:
    run = play("""
        - {step: start, next: {spec: {mode: inclusive}, arcs: [{step: j, args: {n: 1}}, {step: j, args: {n: 2}}, {step: other}]}}
        - {step: other, next: {arcs: [{step: j, args: {m: 3}}]}}
        - {step: j, spec: {join: all}, tool: {kind: noop}}
    """)
    assert run.status == "failed", "the second token of start waits for one from other that never comes"
    assert [call.args for call in run.calls] == [{"n": 1, "m": 3}]


def test_a_step_whose_arcs_did_not_match_is_no_leaf() -> None:
    run = play("- {step: start, next: {arcs: [{step: a, when: false}]}}\n- {step: a}\n- {step: end}")
    assert (run.status, run.order) == ("completed", ["start"])


def test_a_step_with_an_empty_next_is_no_leaf() -> None:
    assert play("- {step: start, next: []}\n- {step: end}").order == ["start"]


def test_end_is_a_step_like_any_other() -> None:
    run = play("""
        - {step: start, next: {arcs: [{step: end}]}}
        - {step: end, set: {ctx.n: "{{ (ctx.n | default(0)) + 1 }}"}, next: {arcs: [{step: end, when: "{{ ctx.n < 3 }}"}, {step: beyond}]}}
        - {step: beyond, next: []}
    """)
    assert run.order == ["start", "end", "end", "end", "beyond"]


# Joins


def test_an_auto_join_waits_for_what_can_still_come_and_for_nothing_else() -> None:
    text = """
        - {step: start, next: {spec: {mode: inclusive}, arcs: [{step: a}, {step: b}, {step: slow}]}}
        - {step: a, tool: {kind: noop}, next: {arcs: [{step: j}]}}
        - {step: b, tool: {kind: noop}, next: {arcs: [{step: c}]}}
        - {step: c, tool: {kind: noop}, next: {arcs: [{step: j}]}}
        - {step: slow, tool: {kind: noop}}
        - {step: j, tool: {kind: noop}}
    """
    picks = iter([0, 0, 1, 1, 0])  # `slow`, the run before that of `c`, ends last
    run = play(text, choose=lambda count: next(picks))
    assert [call.step for call in run.calls] == ["a", "b", "c", "j", "slow"]
    assert run.runs("j") == 1


def test_guards_do_not_count_for_what_can_reach_a_join() -> None:
    run = play("""
        - {step: start, next: {spec: {mode: inclusive}, arcs: [{step: a}, {step: b}]}}
        - {step: a, next: {arcs: [{step: j}]}}
        - {step: b, tool: {kind: noop}, next: {arcs: [{step: j, when: "{{ false }}"}, {step: other}]}}
        - {step: other}
        - {step: j}
    """)
    assert run.order == ["start", "a", "b", "other", "j"]


def test_a_token_behind_the_join_does_not_hold_it_up() -> None:
    run = play("""
        - {step: start, next: {arcs: [{step: j}]}}
        - {step: j, set: {ctx.n: "{{ (ctx.n | default(0)) + 1 }}"}, next: {spec: {mode: inclusive}, arcs: [{step: work, when: "{{ ctx.n < 3 }}"}, {step: log}]}}
        - {step: work, tool: {kind: noop}, next: {arcs: [{step: j}]}}
        - {step: log, tool: {kind: noop}}
    """)
    assert (run.status, run.runs("j"), run.runs("work"), run.runs("log")) == ("completed", 3, 2, 3)


def test_a_join_takes_the_oldest_token_of_each_place_and_later_arcs_win() -> None:
    run = play("""
        - {step: start, next: {spec: {mode: inclusive}, arcs: [{step: b}, {step: a}]}}
        - {step: b, tool: {kind: noop}, next: {spec: {mode: inclusive}, arcs: [{step: j, args: {who: b, first: b1}}, {step: j, args: {first: b2}}]}}
        - {step: a, tool: {kind: noop}, next: {spec: {mode: inclusive}, arcs: [{step: j, args: {who: a}}, {step: j}]}}
        - {step: j, spec: {join: all}, tool: {kind: noop}}
    """, choose=lambda count: count - 1)  # fmt: skip
    fired = [event.args for event in run.named(StepScheduled) if event.step == "j"]
    assert fired == [{"who": "a", "first": "b1"}, {"first": "b2"}], "a ended first, and its arcs are written last"


def test_a_join_of_n_that_is_left_with_fewer_fails_the_run() -> None:
    run = play("- {step: start, next: [a, b, c]}\n- {step: a, next: j}\n- {step: b, next: j}\n- {step: c, next: j}\n- {step: j, spec: {join: 2}}")
    assert run.runs("j") == 1
    assert error_of(run)["message"] == "join 'j' never completed: no token from a, b"


def test_a_join_of_more_than_lead_to_it_says_so() -> None:
    error = error_of(play("- {step: start, next: [j]}\n- {step: j, spec: {join: 2}}"))
    assert error["message"] == "join 'j' never completed: it takes 2, and only 1 can come"


def test_the_result_of_a_step_is_that_of_its_latest_run() -> None:
    run = play("""
        - {step: start, next: {arcs: [{step: work}]}}
        - {step: work, tool: {kind: noop, result: "{{ (ctx.n | default(0)) + 1 }}"}, set: {ctx.n: "{{ result }}"}, next: {arcs: [{step: work, when: "{{ ctx.n < 3 }}"}, {step: look}]}}
        - {step: look, tool: {kind: noop, result: "{{ work }}"}}
    """)
    assert (run.result("look"), run.runs("work")) == (3, 3)


def test_a_token_that_waits_for_admission_is_no_rest_while_a_timer_is_pending() -> None:
    run = play("""
        - {step: start, next: {spec: {mode: inclusive}, arcs: [{step: gate}, {step: opener}]}}
        - step: gate
          spec: {policy: {admit: {rules: [{when: "{{ ctx.open }}", then: {allow: true}}, {else: {then: {allow: false}}}], on_deny: wait}}}
        - {step: opener, tool: {kind: http, url: x, spec: {policy: {rules: [{when: error, then: {do: retry, delay: 30}}]}}}, set: {ctx.open: true}}
    """, {"opener": fails(2)})  # fmt: skip
    assert (run.status, run.order) == ("completed", ["start", "opener", "gate"])


# Events


SPELLINGS = ("step.enter", "call.done", "call.error", "step.exit", "step.done", "step.failed", "loop.done")


def spellings(loop: str, tools: Any = None) -> set[str]:
    """The names to which `event.name` is equal on the arcs of a step."""
    checks = ", ".join(f"\"{{{{ '{name}' if event.name == '{name}' and not event.name != '{name}' }}}}\"" for name in SPELLINGS)
    arc = f"{{step: after, when: event, set: {{ctx.names: [{checks}]}}}}"
    run = play(f"- {{step: start, {loop}tool: {{kind: http, url: x}}, next: {{arcs: [{arc}]}}}}\n- step: after", tools)
    return set(run.ctx["names"]) - {None}


@pytest.mark.parametrize(
    ("loop", "tools", "expected"),
    [
        ("", {"start": lambda call: {}}, {"step.done", "step.exit", "call.done"}),
        ("loop: {in: [1]}, ", {"start": lambda call: {}}, {"loop.done", "step.done", "step.exit", "call.done"}),
        ("", {"start": gone}, {"step.failed", "call.error", "step.exit"}),
        ("loop: {in: [1]}, ", {"start": gone}, {"step.failed", "call.error", "step.exit"}),
    ],
    ids=["success", "loop", "failure", "loop that failed"],
)
def test_each_boundary_is_equal_to_its_names_and_to_no_others(loop: str, tools: Any, expected: set[str]) -> None:
    assert spellings(loop, tools) == expected


@pytest.mark.parametrize(
    ("tool", "expected"),
    [(lambda call: {}, ["step.enter", "call.done", "step.exit"]), (gone, ["step.enter", "call.done call.error"])],
    ids=["success", "failure"],
)
def test_each_boundary_of_case_is_equal_to_its_names(tool: Any, expected: list[str]) -> None:
    names = " ".join(f"{{{{ '{name}' if event.name == '{name}' }}}}" for name in ("step.enter", "call.done", "call.error", "step.exit"))
    rule = f'{{when: event, then: {{collect: {{from: "{names}", into: seen}}}}}}'
    run = play(f"- {{step: start, tool: {{kind: http, url: x}}, case: [{rule}]}}", {"start": tool})
    assert [" ".join(seen.split()) for seen in run.ctx["seen"]] == expected


# Failure


@pytest.mark.parametrize(
    ("executor", "seconds"),
    [("", 5), ("executor: {spec: {policy: {cancel_grace_s: 0.5}}}", 0.5), ("executor: {spec: {policy: {cancel_grace_s: 0}}}", 0)],
)
def test_the_grace_after_a_failure_is_five_seconds_unless_the_author_says_so(executor: str, seconds: float) -> None:
    steps = "- {step: start, next: [bad, slow]}\n- {step: bad, tool: {kind: http, url: x}}\n- {step: slow, tool: {kind: noop}}"
    run = play(steps, {"http": gone}, head=executor)
    (stopping,) = run.named(ExecutionStopping)
    assert stopping.until == run.now + dt.timedelta(seconds=seconds)


def test_a_guard_that_speaks_of_another_steps_failure_does_not_handle_this_one() -> None:
    run = play("""
        - {step: first, tool: {kind: noop, result: {status: 404}}, next: {arcs: [{step: call}]}}
        - {step: call, tool: {kind: http, url: x}, next: {arcs: [{step: repair, when: "{{ first.status == 404 }}"}]}}
        - {step: repair}
    """, {"http": gone})  # fmt: skip
    assert (run.status, run.order) == ("failed", ["first", "call"])


def test_the_result_of_a_failed_step_is_what_the_other_side_answered_with_the_error() -> None:
    run = play("""
        - {step: start, tool: {kind: http, url: x}, next: {arcs: [{step: look, when: error}]}}
        - {step: look, tool: {kind: noop, result: ["{{ start.status }}", "{{ start.status_code }}", "{{ start.why }}", "{{ start.error.kind }}", "{{ _prev.why }}"]}}
    """, {"http": gone})  # fmt: skip
    assert run.result("look") == [404, 404, "gone", "not_found", "gone"]


def test_every_arc_that_speaks_of_the_failure_is_taken_where_the_mode_is_inclusive() -> None:
    run = play("""
        - step: start
          tool: {kind: http, url: x}
          next: {spec: {mode: inclusive}, arcs: [{step: a, when: "{{ error.kind == 'not_found' }}"}, {step: plain}, {step: b, when: "{{ event.name == 'step.failed' }}"}]}
        - {step: a}
        - {step: b}
        - {step: plain}
    """, {"http": gone})  # fmt: skip
    assert (run.status, run.order) == ("completed", ["start", "a", "b"])


def test_a_guard_that_can_not_be_evaluated_after_a_failure_does_not_handle_it() -> None:
    run = play('- {step: start, tool: {kind: http, url: x}, next: {arcs: [{step: a, when: "{{ error.count < 3 }}"}]}}\n- {step: a}', {"http": gone})
    assert run.status == "failed"
    assert len(warnings_of(run)) == 1


def test_a_failed_final_step_fails_the_run() -> None:
    def tool(call: SimulatedCall) -> Any:
        return gone(call) if call.step == "last" else {}

    run = play("- {step: start}\n- {step: last, tool: {kind: http, url: x}}", {"http": tool}, head="executor: {spec: {final_step: last}}")
    assert error_of(run)["step"] == "last"
