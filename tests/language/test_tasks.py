"""Steps, tasks, inputs and policy: docs/reference/language.md, 3 and 4."""

from __future__ import annotations

from typing import Any

import pytest

from noetl.dsl.playbook import Limits
from noetl.errors import ToolError
from noetl.events import StepSkipped
from noetl.testing.rehearsal import SimulatedCall
from tests.language.rehearse import error_of, fails, gone, play, seen, warnings_of

# Steps


def test_a_step_with_neither_tool_nor_next_completes_with_null() -> None:
    run = play("- step: start")
    assert (run.status, run.statuses(), run.result("start"), run.calls) == ("completed", {"start": "completed"}, None, [])


def test_a_step_with_only_next_is_a_router() -> None:
    run = play("- {step: start, next: {arcs: [{step: after}]}}\n- {step: after}")
    assert (run.order, run.calls) == (["start", "after"], [])


@pytest.mark.parametrize(
    ("rules", "status"),
    [
        ("[]", "completed"),
        ("[{when: false, then: {allow: false}}]", "completed"),
        ("[{when: true, then: {allow: false}}, {when: true, then: {allow: true}}]", "skipped"),
        ("[{when: false, then: {allow: false}}, {else: {then: {allow: false}}}]", "skipped"),
        ("[{when: true, then: {allow: true}}, {else: {then: {allow: false}}}]", "completed"),
        ("[{when: '{{ nothing < 1 }}', then: {allow: false}}]", "completed"),
    ],
    ids=["no rule", "none holds", "the first that holds", "else closes", "allowed", "a guard that can't be evaluated is false"],
)
def test_the_first_admission_rule_that_holds_decides(rules: str, status: str) -> None:
    run = play(f"- {{step: start, spec: {{policy: {{admit: {{rules: {rules}}}}}}}}}")
    assert run.statuses() == {"start": status}
    assert len(run.named(StepSkipped)) == (status == "skipped")


def test_admission_sees_the_args_of_the_token_and_the_step_that_sent_it() -> None:
    run = play("""
        - {step: start, tool: {kind: noop, result: {n: 5}}, next: {arcs: [{step: gate, args: {limit: 3}}]}}
        - {step: gate, spec: {policy: {admit: {rules: [{when: "{{ _prev.n > args.limit and limit == 3 }}", then: {allow: true}}, {else: {then: {allow: false}}}]}}}}
    """)
    assert run.statuses() == {"start": "completed", "gate": "completed"}


# Pipelines


def test_a_label_is_the_latest_result_of_its_task_and_null_after_an_error_that_was_swallowed() -> None:
    again = "{when: '{{ (iter.n | default(0)) < 1 }}', then: {do: jump, to: a, set: {iter.n: 1}}}"
    run = play(f"""
        - step: start
          tool:
            - {{name: a, kind: noop, result: "{{{{ iter.n | default(0) }}}}"}}
            - {{name: b, kind: noop, result: ["{{{{ a }}}}"], spec: {{policy: {{rules: [{again}]}}}}}}
            - {{name: c, kind: http, url: x, spec: {{policy: {{rules: [{{else: {{do: continue}}}}]}}}}}}
            - {{name: d, kind: noop, result: {{a: "{{{{ a }}}}", b: "{{{{ b }}}}", c: "{{{{ c is none }}}}", prev: "{{{{ _prev }}}}"}}}}
    """, {"c": gone})  # fmt: skip
    result = run.result("start")
    assert {key: result[key] for key in "abc"} == {"a": 1, "b": [1], "c": True}
    assert result["prev"] == [1], "the last good result"
    assert result["results"] == {"a": 1, "b": [1], "c": None, "d": {"a": 1, "b": [1], "c": True, "prev": [1]}}


def test_the_results_by_label_do_not_hide_results_of_the_tools_own() -> None:
    run = play("- {step: start, tool: [{name: a, kind: noop}, {name: b, kind: noop, result: {results: mine}}]}")
    assert run.result("start") == {"results": "mine"}


def test_a_pipeline_that_is_left_early_has_the_results_of_its_tasks_too() -> None:
    run = play("""
        - {step: start, tool: [{name: a, kind: noop, result: {n: 1}, spec: {policy: {rules: [{else: {do: break}}]}}}, {name: b, kind: noop}]}
    """)
    assert run.result("start") == {"n": 1, "results": {"a": {"n": 1}}}


def test_one_task_alone_has_no_results_by_label() -> None:
    assert play("- {step: start, tool: {kind: noop, name: own, result: {n: 1}}}").result("start") == {"n": 1}


def test_the_result_of_a_pipeline_is_its_last_result_that_is_not_null_also_after_an_error() -> None:
    run = play("""
        - step: start
          tool: [{name: a, kind: noop, result: {n: 1}}, {name: b, kind: http, url: x, spec: {policy: {rules: [{else: {do: continue}}]}}}]
    """, {"b": gone})  # fmt: skip
    assert run.result("start") == {"n": 1, "results": {"a": {"n": 1}, "b": None}}


# Inputs


def test_a_null_that_is_written_on_a_task_declares_and_any_other_null_hides() -> None:
    run = play("""
        - {step: start, next: {arcs: [{step: a, args: {x: null, y: "{{ nothing }}"}}]}}
        - {step: a, args: {x: 1, y: 1, z: 1, w: 1}, tool: {kind: noop, args: {z: null, w: "{{ nothing }}", v: null}, result: "{{ args }}"}}
    """)
    assert run.result("a") == {"x": None, "y": None, "z": 1, "w": None, "v": None}


def test_names_of_args_may_be_templates() -> None:
    run = play("""
        - {step: start, args: {"{{ workload.key }}": 1}, tool: {kind: noop, args: {"{{ workload.key }}2": 2}, result: "{{ args }}"}}
    """, head="workload: {key: k}")  # fmt: skip
    assert run.result("start") == {"k": 1, "k2": 2}


def test_the_inputs_of_a_task_are_seen_by_its_fields_and_its_rules_and_its_set() -> None:
    run = play("""
        - step: start
          args: {outer: 1}
          tool:
            kind: noop
            args: {limit: "{{ outer + 2 }}", before: "{{ _prev }}", outer: null}
            result: {n: "{{ limit }}"}
            set: {kept: "{{ args.limit + outer }}"}
            spec: {policy: {rules: [{when: "{{ result.n == limit and args.outer == 1 and before is none }}", then: {set: {ctx.seen: "{{ input.limit }}"}}}]}}
          set: {ctx.kept: "{{ kept }}", ctx.gone: "{{ limit is defined }}"}
    """)
    assert run.ctx == {"seen": 3, "kept": 4, "gone": False}


# Policy


def rules(text: str, tools: Any = None, more: str = "") -> Any:
    return play(f"- {{step: start, tool: [{{name: work, kind: http, url: x, spec: {{policy: {{rules: {text}}}}}}}{more}]}}", tools)


def test_an_absent_do_is_continue_and_it_swallows_an_error() -> None:
    run = rules("[{when: true, then: {set: {ctx.seen: 1}}}]", {"work": gone})
    assert (run.status, run.ctx, run.result("start")) == ("completed", {"seen": 1}, None)


def test_rules_that_do_not_match_a_success_let_it_go_on() -> None:
    run = rules("[{when: false, then: {do: fail}}]", {"work": fails(0)}, ", {name: after, kind: noop}")
    assert [call.task for call in run.calls] == ["work", "after"]


def test_the_first_rule_that_matches_wins() -> None:
    run = rules("[{when: false, then: {do: fail}}, {when: true, then: {do: break, set: {ctx.n: 1}}}, {else: {set: {ctx.n: 2}}}]", {"work": fails(0)})
    assert run.ctx == {"n": 1}


def test_each_retry_rule_counts_its_own_tries() -> None:
    def tool(call: SimulatedCall) -> Any:
        raise ToolError("no", kind="rate_limit" if call.number % 2 else "server_error")

    run = rules(
        "[{when: \"{{ error.kind == 'rate_limit' }}\", then: {do: retry, attempts: 3}},"
        " {when: \"{{ error.kind == 'server_error' }}\", then: {do: retry, attempts: 2}}]",
        {"work": tool},
    )
    assert [call.attempt for call in run.calls] == [1, 2, 3, 4]
    assert error_of(run)["kind"] == "server_error"


def test_attempts_may_be_a_template_and_one_attempt_is_no_retry() -> None:
    assert len(rules('[{when: true, then: {do: retry, attempts: "{{ 1 + 3 }}"}}]', {"work": fails(9)}).calls) == 4
    assert len(rules("[{when: true, then: {do: retry, attempts: 1}}]", {"work": fails(9)}).calls) == 1


def test_a_delay_sees_what_the_rule_has_written() -> None:
    run = rules('[{when: "{{ error is defined }}", then: {do: retry, delay: "{{ ctx.wait }}", set: {ctx.wait: 7}}}]', {"work": fails(1)})
    assert (run.calls[1].at - run.calls[0].at).total_seconds() == 7


def test_the_writes_of_a_rule_whose_attempts_are_spent_are_not_made() -> None:
    run = rules('[{when: true, then: {do: retry, attempts: 2, set: {ctx.n: "{{ (ctx.n | default(0)) + 1 }}"}}}]', {"work": fails(9)})
    assert run.ctx == {"n": 1}


def test_previous_is_the_task_before() -> None:
    again = "{when: '{{ not iter.again }}', then: {do: jump, to: previous, set: {iter.again: true}}}"
    run = rules("[]", {"work": fails(0)}, f", {{name: check, kind: noop, spec: {{policy: {{rules: [{again}]}}}}}}")
    assert [call.task for call in run.calls] == ["work", "check", "work", "check"]


@pytest.mark.parametrize(
    ("tool", "then", "expected"),
    [
        (fails(0), "{do: fail, message: 'only {{ result.number }}'}", ("policy", "only 1", None)),
        (fails(0), "{do: fail}", ("policy", "a rule ended the step", None)),
        (gone, "{do: fail}", ("not_found", "gone", 404)),
        (gone, "{do: fail, message: 'no {{ error.kind }}'}", ("not_found", "no not_found", 404)),
    ],
    ids=["a success", "a success without words", "an error", "an error in the author's words"],
)
def test_fail_leaves_with_the_calls_error_or_else_one_of_kind_policy(tool: Any, then: str, expected: tuple[Any, ...]) -> None:
    error = error_of(rules(f"[{{when: true, then: {then}}}]", {"work": tool}, ", {name: after, kind: noop}"))
    assert (error["kind"], error["message"], error.get("status_code")) == expected


def test_break_after_an_error_is_a_success() -> None:
    run = rules("[{when: true, then: {do: break}}]", {"work": gone}, ", {name: after, kind: noop}")
    assert (run.status, [call.task for call in run.calls]) == ("completed", ["work"])


def test_nested_and_older_spellings_of_writes_are_written() -> None:
    run = rules("[{when: true, then: {set: {ctx: {a: 1, b: 2}}, set_ctx: {c: 3}, set_iter: {d: 4}}}]", {"work": fails(0)}, """
        , {name: look, kind: noop, set: {ctx.iter: "{{ iter.d }}"}}""")  # fmt: skip
    assert run.ctx == {"a": 1, "b": 2, "c": 3, "iter": 4}


def test_a_guard_of_a_rule_that_can_not_be_evaluated_is_false_and_a_warning() -> None:
    run = rules('[{when: "{{ nothing < 1 }}", then: {do: fail}}]', {"work": fails(0)})
    assert run.status == "completed"
    assert warnings_of(run) == ["the guard of rule 1 is false, for it can't be evaluated: 'nothing' is undefined: in {{ nothing < 1 }}"]


def test_the_set_of_a_task_runs_after_an_error_that_was_swallowed_and_not_after_one_that_fails_the_step() -> None:
    text = """
        - step: start
          tool: {{kind: http, url: x, set: {{ctx.seen: "{{{{ result is none }}}}", local: 1}}, spec: {{policy: {{rules: [{{else: {{do: {do}}}}}]}}}}}}
          next: {{arcs: [{{step: after, when: "{{{{ event.name == 'step.exit' }}}}", set: {{ctx.local: "{{{{ local }}}}"}}}}]}}
        - {{step: after}}
    """

    def tool(call: SimulatedCall) -> Any:
        raise ToolError("gone", kind="not_found")

    assert play(text.format(do="continue"), {"start": tool}).ctx == {"seen": True, "local": 1}
    assert play(text.format(do="fail"), {"start": tool}).ctx == {"local": None}


@pytest.mark.parametrize(("then", "seconds"), [("delay: 90", 60), ("delay: 40, backoff: linear", 40), ("delay: 90, max_delay: 100", 90)])
def test_a_wait_is_a_minute_at_most_unless_the_author_says_so(then: str, seconds: float) -> None:
    run = rules(f"[{{when: error, then: {{do: retry, attempts: 2, {then}}}}}]", {"work": fails(1)})
    assert (run.calls[1].at - run.calls[0].at).total_seconds() == seconds


def test_the_limits_have_defaults() -> None:
    assert Limits() == Limits(max_step_runs=100_000, max_tasks_per_run=100_000, max_depth=16)


# Errors of templates


@pytest.mark.parametrize(
    ("step", "field"),
    [
        ("args: {x: '{{ 1 / 0 }}'}, tool: {kind: noop}", "args.x"),
        ("tool: {kind: noop, args: {x: {y: '{{ 1 / 0 }}'}}}", "args.x.y"),
        ("tool: {kind: http, url: x, headers: {a: ['{{ 1 / 0 }}']}}", "headers.a[0]"),
        ("set: {ctx.x: '{{ 1 / 0 }}'}", "set.ctx.x"),
        ("tool: {kind: noop, set: {x: '{{ 1 / 0 }}'}}", "set.step.x"),
        ("next: {arcs: [{step: start, args: {x: '{{ 1 / 0 }}'}}]}", "args.x"),
        ("loop: {in: '{{ 1 / 0 }}'}, tool: {kind: noop}", "loop.in"),
        ("spec: {timeout: '{{ 1 / 0 }}'}", "timeout"),
        ("tool: {kind: noop, spec: {policy: {rules: [{else: {set: {iter.x: '{{ 1 / 0 }}'}}}]}}}", "set.iter.x"),
        ("tool: {kind: noop, spec: {policy: {rules: [{else: {do: fail, message: '{{ 1 / 0 }}'}}]}}}", "message"),
        ("tool: {kind: noop, spec: {policy: {rules: [{else: {do: retry, delay: '{{ 1 / 0 }}'}}]}}}", "delay"),
    ],
)
def test_a_template_that_can_not_be_rendered_fails_the_step_and_names_field_and_expression(step: str, field: str) -> None:
    error = error_of(play(f"- {{step: start, {step}}}"))
    assert (error["kind"], error["field"], error["step"]) == ("template", field, "start")
    assert error["message"] == f"{field}: ZeroDivisionError: division by zero: in {{{{ 1 / 0 }}}}"


def test_templates_stand_in_any_field() -> None:
    (value,) = seen("input.text", step="args: {text: '{% if workload.n > 1 %}many{% else %}one{% endif %}'}", head="workload: {n: 2}")
    assert value == "many"
