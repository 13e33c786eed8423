"""The names that templates read: docs/reference/language.md, 2.1."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from noetl.engine import messages
from noetl.events import StepRouted, Written
from noetl.testing.rehearsal import Rehearsal
from tests.engine.playbooks import playbook
from tests.language.rehearse import error_of, gone, play, seen

# workload, payload


def test_a_payload_merges_into_the_workload_where_both_are_mappings_and_replaces_everything_else() -> None:
    head = "workload: {deep: {a: 1, inner: {x: 1, y: 2}}, list: [1, 2], text: x, map: {a: 1}}"
    payload = {"deep": {"b": 2, "inner": {"y": 3}}, "list": [3], "map": 5, "new": {"z": 1}}
    (workload,) = seen("workload", head=head, payload=payload)
    assert workload == {"deep": {"a": 1, "b": 2, "inner": {"x": 1, "y": 3}}, "list": [3], "text": "x", "map": 5, "new": {"z": 1}}


def test_a_payload_that_is_not_merged_replaces_whole_top_level_keys() -> None:
    run = Rehearsal(playbook("- {step: start, tool: {kind: noop, result: '{{ workload }}'}}", "workload: {deep: {a: 1}, other: {b: 2}}"))
    run.tell(messages.Begin(path="t", net="net", payload={"deep": {"c": 3}}, merge=False))
    assert run.go_on().result("start") == {"deep": {"c": 3}, "other": {"b": 2}}


def test_defaults_are_rendered_in_the_order_of_what_they_read() -> None:
    head = "workload: {url: '{{ base }}/v1', base: 'http://{{ workload.host }}', host: a, list: ['{{ url }}']}"
    assert seen("workload.url; workload.list", head=head) == ["http://a/v1", ["http://a/v1"]]
    assert seen("url", head=head, payload={"host": "b"}) == ["http://b/v1"]


def test_defaults_that_read_each_other_in_a_circle_fail_the_run() -> None:
    run = play("- {step: start}", head="workload: {a: '{{ b }}', b: '{{ c }}', c: '{{ workload.a }}'}")
    assert error_of(run)["message"] == "workload keys read each other in a circle: a -> b -> c -> a"


def test_a_default_that_can_not_be_rendered_fails_the_run_and_is_named() -> None:
    error = error_of(play("- {step: start}", head="workload: {a: [{b: '{{ 1 / 0 }}'}]}"))
    assert (error["kind"], error["field"]) == ("template", "workload.a[0].b")


def test_the_older_spec_is_rendered_like_the_workload_and_its_keys_are_visible_bare() -> None:
    assert seen("spec.limit; limit; spec.deep.x", head="workload: {n: 4}\nspec: {limit: '{{ n + 1 }}', deep: {x: 1}}") == [5, 5, 1]


def test_the_older_vars_lie_under_the_workload_and_seed_ctx() -> None:
    head = "vars: {a: 1, b: 1, deep: {x: 1}}\nworkload: {b: 2, deep: {y: 2}}"
    assert seen("workload.a; workload.b; ctx.a; ctx.b; ctx.deep", head=head) == [1, 2, 1, 2, {"x": 1, "y": 2}]


# ctx, iter, step


def test_vars_reads_and_writes_ctx() -> None:
    assert seen("vars.x; ctx.x; ctx.y", before="- {step: start, set: {vars.x: 1, ctx: {y: 2}}, next: look}") == [1, 1, 2]


def test_a_write_to_ctx_is_an_event_and_a_dotted_key_writes_inside() -> None:
    run = play("""
        - {step: start, tool: {kind: noop, spec: {policy: {rules: [{else: {set: {ctx.a.b: 1}}}]}}}, set: {ctx.a.c: 2, "ctx.{{ workload.key }}": 3}}
    """, head="workload: {key: made}")  # fmt: skip
    assert run.ctx == {"a": {"b": 1, "c": 2}, "made": 3}
    assert [patch.key for event in run.named(Written) for patch in event.writes] == ["a.b"]
    assert [patch.key for event in run.named(StepRouted) for patch in event.writes] == ["a.c", "made"]


def test_a_step_without_a_loop_has_one_iteration_whose_iter_ends_with_the_step() -> None:
    run = play("""
        - step: start
          tool: {kind: noop, result: ["{{ iter.index }}", "{{ iter.parent }}", "{{ iter.page is defined }}"], spec: {policy: {rules: [{else: {set: {iter.page: 7}}}]}}}
          next: {arcs: [{step: after, when: "{{ iter.page == 7 }}"}]}
        - {step: after, tool: {kind: noop, result: "{{ iter.page is defined }}"}}
    """)
    assert (run.result("start"), run.result("after")) == ([0, None, False], False)


def test_a_write_to_iter_or_step_at_the_end_of_a_step_is_seen_by_its_arcs_and_stays_out_of_ctx() -> None:
    run = play("""
        - {step: start, set: {iter.x: 1, step.y: 2, z: 3}, next: {arcs: [{step: after, when: "{{ iter.x == 1 and y == 2 and step.y == 2 }}"}]}}
        - {step: after}
    """)
    assert (run.order, run.ctx) == (["start", "after"], {"z": 3})


def test_loop_variables_are_item_index_and_loop() -> None:
    run = play("""
        - step: start
          loop: {in: [x, y], iterator: city}
          tool: {kind: noop, result: ["{{ loop.item }}", "{{ loop.index }}", "{{ iter.parent }}", "{{ item is defined }}"]}
    """)
    assert run.result("start")["results"] == [["x", 0, None, False], ["y", 1, None, False]]


# args, input


def test_input_is_args_over_the_payload_and_args_is_not() -> None:
    before = "- {step: start, next: {arcs: [{step: look, args: {x: 1}}]}}"
    assert seen("input.x; input.p; args.x; args.p is defined; x", before=before, payload={"p": 9}) == [1, 9, 1, False, 1]


# What the engine says of a call


def test_prev_is_the_task_before_also_in_rules_and_in_a_second_try() -> None:
    rules = '[{when: "{{ _attempt < 2 }}", then: {do: retry, set: {ctx.first: "{{ _prev }}"}}}, {else: {set: {ctx.last: "{{ _prev }}"}}}]'
    run = play(f"""
        - step: start
          tool:
            - {{name: one, kind: noop, result: one}}
            - {{name: two, kind: noop, result: "{{{{ _prev }}}}-{{{{ _attempt }}}}", spec: {{policy: {{rules: {rules}}}}}}}
            - {{name: three, kind: noop, result: "{{{{ _prev }}}} {{{{ _task }}}}"}}
          set: {{ctx.after: "{{{{ _prev }}}}"}}
    """)
    assert run.ctx == {"first": "one", "last": "one", "after": "one-2 three"}


def test_at_the_start_of_a_step_prev_and_result_are_the_result_of_the_step_that_sent_the_token() -> None:
    before = "- {step: start, tool: {kind: noop, result: {n: 1}}, next: look}"
    assert seen("_prev.n; result.n; response is defined; outcome is defined; error is defined", before=before) == [1, 1, False, False, False]


NAMES = "[{{ result.n }}, {{ response.n }}, {{ error.kind }}, {{ outcome.status }}, {{ output.status }}]"


@pytest.mark.parametrize(
    ("tools", "rule", "arcs"),
    [
        ({}, "[5, 5, , ok, ok]", "[5, 5, , ok, ok]"),
        ({"start": gone}, "[, , not_found, error, error]", "[, , not_found, error, error]"),
    ],
    ids=["success", "failure"],
)
def test_response_is_there_after_a_success_and_error_after_a_failure(tools: Any, rule: str, arcs: str) -> None:
    run = play(f"""
        - step: start
          tool:
            kind: noop
            result: {{n: 5}}
            spec: {{policy: {{rules: [{{when: "{{{{ outcome.status == 'ok' }}}}", then: {{set: {{ctx.rule: "{NAMES}"}}}}}}, {{when: true, then: {{do: fail, set: {{ctx.rule: "{NAMES}"}}}}}}]}}}}
          next: {{arcs: [{{step: after, when: "{{{{ event.name == 'step.exit' }}}}", set: {{ctx.arc: "{NAMES}"}}}}]}}
        - {{step: after}}
    """, tools)  # fmt: skip
    assert run.ctx == {"rule": rule, "arc": arcs}


def test_a_step_that_a_rule_fails_after_a_good_call_is_an_error_for_its_arcs() -> None:
    run = play(f"""
        - step: start
          tool: {{kind: noop, result: {{n: 5}}, spec: {{policy: {{rules: [{{else: {{do: fail, message: too few}}}}]}}}}}}
          next: {{arcs: [{{step: after, when: "{{{{ outcome.status == 'error' }}}}", args: {{names: "{NAMES}", why: "{{{{ error.message }}}}"}}}}]}}
        - {{step: after, tool: {{kind: noop, result: "{{{{ args }}}}"}}}}
    """)
    assert run.result("after") == {"names": "[5, , policy, error, error]", "why": "too few"}


def test_the_error_that_a_rule_swallowed_is_seen_by_the_arcs() -> None:
    run = play("""
        - step: start
          tool: {kind: http, url: x, spec: {policy: {rules: [{else: {do: continue}}]}}}
          next: {arcs: [{step: bad, when: "{{ outcome.status == 'error' }}", args: {why: "{{ error.kind }}"}}, {step: good}]}
        - {step: bad, tool: {kind: noop, result: "{{ why }}"}}
        - {step: good}
    """, {"http": gone})  # fmt: skip
    assert (run.statuses()["start"], run.result("bad")) == ("completed", "not_found")


def test_the_event_has_a_name_a_step_a_status_and_a_payload() -> None:
    run = play("""
        - {step: start, tool: {kind: noop, result: {n: 5}}, set: {ctx.done: "{{ event }}"}, next: bad}
        - {step: bad, tool: {kind: http, url: x}, next: {arcs: [{step: after, when: "{{ event.status == 'failed' }}", set: {ctx.failed: "{{ [event.step, event.payload.status] }}"}}]}}
        - {step: after}
    """, {"http": gone})  # fmt: skip
    assert run.ctx["done"] == {"name": "step.done", "step": "start", "status": "completed", "payload": {"n": 5}}
    assert run.ctx["failed"] == ["bad", 404]


# The run


def test_the_id_of_the_execution_is_text_of_digits_and_the_job_has_it_too() -> None:
    identifier, number, job = seen("execution_id; execution_id | int; job")
    assert (identifier, number, job["execution_id"]) == ("42", 42, "42")
    assert len(job["uuid"]) == 36


def test_now_is_iso_text_and_in_routing_the_time_of_the_event() -> None:
    run = play("- {step: start, set: {ctx.at: '{{ now() }}'}}")
    assert dt.datetime.fromisoformat(run.ctx["at"]) == run.now


# Bare names


ORDER = "- {step: x, tool: {kind: noop, result: step}, next: {arcs: [{step: look%s}]}}"


@pytest.mark.parametrize(
    ("head", "arc", "step", "expected"),
    [
        ("spec: {x: spec}", "", "", ["step", "spec", None]),
        ("workload: {x: workload}\nspec: {x: spec}", "", "", ["step", "spec", "workload"]),
        ("workload: {x: workload}", ", args: {x: arg}", "", ["arg", None, "workload"]),
        ("", ", args: {x: arg}", "loop: {in: [item], iterator: x}", ["item", None, None]),
    ],
    ids=["a step before spec", "a step before the workload", "args before a step", "the iterator before args"],
)
def test_a_bare_name_is_looked_up_in_order(head: str, arc: str, step: str, expected: list[Any]) -> None:
    found = seen("x; spec.x; workload.x", before=ORDER % arc, head=f"executor: {{spec: {{entry_step: x}}}}\n{head}", step=step)
    assert (found["results"][0] if isinstance(found, dict) else found) == expected


def test_locals_and_labels_come_before_everything_else() -> None:
    run = play("""
        - step: start
          args: {a: arg, b: arg}
          loop: {in: [item], iterator: a}
          tool:
            - {name: b, kind: noop, result: label, set: {a: local, result: mine}}
            - {name: look, kind: noop, result: ["{{ a }}", "{{ b }}", "{{ result }}", "{{ args.a }}"]}
    """, head="workload: {a: workload}")  # fmt: skip
    assert run.result("start")["results"] == [["local", "label", "mine", "arg"]]


def test_args_come_before_the_engines_names_and_those_before_steps_and_the_workload() -> None:
    head = "workload: {execution_id: mine, result: mine, who: me}"
    assert seen("execution_id; workload.execution_id; result; who", head=head, step="args: {result: arg}") == ["42", "mine", "arg", "me"]


def test_a_default_may_be_called_like_a_name_of_the_engine_and_read_it() -> None:
    head = "workload: {execution_id: '{{ execution_id }}', twice: '{{ execution_id }}{{ workload.execution_id }}'}"
    assert seen("workload", head=head) == [{"execution_id": "42", "twice": "4242"}]


def test_keys_of_ctx_are_not_visible_bare() -> None:
    assert seen("x; ctx.x", before="- {step: start, set: {ctx.x: 1}, next: look}") == [None, 1]


def test_a_step_with_a_name_of_the_engine_or_with_slashes_is_reached_through_steps() -> None:
    before = "- {step: error, tool: {kind: noop, result: 5}, next: a/b-c}\n- {step: a/b-c, tool: {kind: noop, result: 6}, next: look}"
    assert seen("error is defined; steps['error']; steps.error; steps['a/b-c']; steps.look is defined", before=before) == [False, 5, 5, 6, False]


def test_a_step_called_like_a_workload_key_hides_it_only_after_it_has_run() -> None:
    before = '- {step: start, set: {ctx.before: "{{ file }}"}, next: file}\n- {step: file, tool: {kind: noop, result: [1]}, next: look}'
    assert seen("ctx.before; file; workload.file", before=before, head="workload: {file: path}") == ["path", [1], "path"]


@pytest.mark.parametrize("secret", ["keychain.api.token", "token('api')", "keychain['api']"])
@pytest.mark.parametrize(
    "place",
    ["set: {ctx.x: '{{ SECRET }}'}", "args: {x: '{{ SECRET }}'}", "next: {arcs: [{step: b, args: {x: '{{ SECRET }}'}}]}"],
    ids=["set", "args", "arc"],
)
def test_a_secret_that_is_read_outside_of_a_task_is_an_error_and_never_empty(secret: str, place: str) -> None:
    step = "- {step: start, tool: {kind: noop}, " + place.replace("'", '"').replace("SECRET", secret) + "}\n- {step: b}"
    error = error_of(play(step, head="keychain: [{name: api, kind: bearer, token: x}]"))
    assert error["kind"] == "template"
    assert "can be read in the fields and args of a task only" in error["message"]
