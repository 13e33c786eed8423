"""`case` rules (10.3)."""

from __future__ import annotations

import pytest

from noetl.dsl.playbook import AnyAction, Collect, Emit, Fail, Result, Retry, Set, Sink, Skip, Target, Write
from tests.dsl.documents import errors_of, fixture_step, step_of, warnings_of

PAGES = "dialects/case_pagination.yaml"
ACTIONS = "dialects/case_actions.yaml"
ON_ERROR = "event.name == 'call.error'"
ON_DONE = "event.name == 'call.done'"


def actions_of(then: str, when: str = ON_DONE, tool: str = "{kind: http, url: x}") -> tuple[AnyAction, ...]:
    return step_of(f'- {{step: a, tool: {tool}, case: [{{when: "{when}", then: {then}}}]}}\n- {{step: b}}').rules[0].actions


@pytest.mark.parametrize(
    ("then", "expected"),
    [
        ("{next: b}", Emit((Target("b"),))),
        ("{next: [a, b]}", Emit((Target("a"), Target("b")))),
        ("{next: {step: b, args: {x: 1}}}", Emit((Target("b", {"x": 1}),))),
        ("{next: [{step: b, with: {x: 1}}]}", Emit((Target("b", {"x": 1}),))),
        ("{step: b}", Emit((Target("b"),))),
        ("[{step: b, args: {x: 1}}]", Emit((Target("b", {"x": 1}),))),
        ("{set: {x: 1}}", Set((Write("ctx", "x", 1),))),
        ("{set: [{name: x, value: 1}]}", Set((Write("ctx", "x", 1),))),
        ("{set: {ctx: {x: 1}}}", Set((Write("ctx", "x", 1),))),
        ("{set: {iter.x: 1}}", Set((Write("iter", "x", 1),))),
        ("{result: {from: ctx.pages}}", Result("{{ ctx.pages }}")),
        ('{result: {from: "{{ ctx.pages }}"}}', Result("{{ ctx.pages }}")),
        ("{result: {from: a, of: b}}", Result({"from": "a", "of": "b"})),
        ('{result: "{{ response.data }}"}', Result("{{ response.data }}")),
        ("{result: plain text}", Result("plain text")),
        ("{collect: {from: response.items, into: x}}", Collect("x", "append", "{{ response.items }}")),
        ("{collect: {from: response.items, into: x, mode: extend}}", Collect("x", "extend", "{{ response.items }}")),
        ("{collect: {path: data.items, into: x, strategy: replace}}", Collect("x", "replace", path="data.items")),
        ("{fail: true}", Fail()),
        ("{fail: no luck}", Fail("no luck")),
        ("{fail: {message: no luck}}", Fail("no luck")),
        ("{skip: true}", Skip()),
        ("{call: {params: {page: 2}}}", Retry(attempts=None, overrides={"params": {"page": 2}}, spent="end")),
        ("{retry: true}", Retry(attempts=None, backoff="exponential", spent="end")),
        ("{retry: 4}", Retry(attempts=4, backoff="exponential", spent="end")),
    ],
)
def test_each_action(then: str, expected: AnyAction) -> None:
    assert actions_of(then) == (expected,)


@pytest.mark.parametrize("then", ["{fail: false}", "{skip: false}", "{retry: false}", "{}", "{next: null}"])
def test_an_action_that_is_off_is_none(then: str) -> None:
    assert actions_of(then) == ()


def test_actions_of_a_mapping_run_in_a_fixed_order() -> None:
    then = "{skip: true, fail: x, next: b, retry: 2, result: 1, sink: {tool: event}, collect: {path: p, into: x}, set: {x: 1}}"
    assert [type(action) for action in actions_of(then)] == [Set, Collect, Sink, Result, Retry, Emit, Fail, Skip]


def test_actions_of_a_list_run_in_its_order() -> None:
    rule = fixture_step(PAGES, "fetch_all").rules[2]
    assert [type(action) for action in rule.actions] == [Collect, Result, Emit]


@pytest.mark.parametrize("event", [ON_ERROR, ON_DONE])
def test_whether_a_retry_is_bounded_is_left_to_the_outcome_unless_it_says_so(event: str) -> None:
    (action,) = fixture_step(PAGES, "fetch_all").rules[0].actions
    assert action == Retry(attempts=5, delay=0.1, backoff="exponential", factor=2.0, max_delay=2, jitter=True, spent="end")
    assert actions_of("{retry: {}}", event) == (Retry(attempts=None, backoff="exponential", spent="end"),)


def test_a_retry_may_change_the_call() -> None:
    collect, retry = fixture_step(PAGES, "fetch_all").rules[1].actions
    assert collect == Collect("pages", "append", path="data")
    assert retry == Retry(attempts=None, backoff="exponential", overrides={"params": {"page": "{{ (response.paging.page | int) + 1 }}"}}, spent="end")


@pytest.mark.parametrize("body", ["json", "payload", "body", "data", "form"])
def test_body_is_whichever_body_the_task_has(body: str) -> None:
    (action,) = actions_of("{retry: {body: {page: 2}, headers: {a: b}, endpoint: y}}", tool=f"{{kind: http, url: x, {body}: {{page: 1}}}}")
    assert isinstance(action, Retry)
    assert action.overrides == {body: {"page": 2}, "headers": {"a": "b"}, "url": "y"}


def test_other_fields_of_the_next_call_are_those_of_the_http_task_of_a_pipeline() -> None:
    (action,) = actions_of("{call: {body: 1}}", tool="[{kind: noop}, {kind: http, url: x, json: {}}, {kind: python, code: y}]")
    assert isinstance(action, Retry)
    assert action.overrides == {"json": 1}
    assert fixture_step(PAGES, "post_pages").rules[0].actions == (
        Collect("found", "extend", "{{ response.data.items }}"),
        Retry(attempts=None, overrides={"payload": {"offset": "{{ response.data.next }}"}}, spent="end"),
    )


def test_a_sink_is_a_task_and_says_nothing_of_what_it_stores_unless_the_author_does() -> None:
    rule = fixture_step(ACTIONS, "start").rules[2]
    write, sink, emit = rule.actions
    assert write == Set((Write("ctx", "last_city", "{{ city.name }}"),))
    assert isinstance(sink, Sink)
    data = {"city": "{{ city.name }}", "temperature": "{{ response.data.temperature }}"}
    assert (sink.task.kind, sink.task.fields) == ("postgres", {"auth": "{{ workload.pg_auth }}", "table": "weather", "data": data})
    assert emit == Emit((Target("report"),))
    (open_,) = actions_of("{sink: {tool: {kind: postgres}, table: t}}")
    assert isinstance(open_, Sink)
    assert (open_.task.fields, open_.task.args) == ({"table": "t"}, {})


def test_the_sinks_of_a_step_have_different_labels() -> None:
    step = step_of("- {step: a, case: [{when: x, then: [{sink: {tool: event}}, {sink: {tool: event}}]}, {when: y, then: {sink: {tool: event}}}]}")
    assert [action.task.label for rule in step.rules for action in rule.actions if isinstance(action, Sink)] == ["sink", "sink_2", "sink_3"]


@pytest.mark.parametrize(
    "closing", ["{else: {then: {next: b}}}", "{else: {next: b}}", "{else: , then: {next: b}}", "{else: [{next: b}]}", "{then: {next: b}}"]
)
def test_a_rule_without_a_guard_closes_the_list(closing: str) -> None:
    (rule,) = step_of(f"- {{step: a, case: [{closing}]}}\n- step: b").rules
    assert (rule.when, rule.actions) == (None, (Emit((Target("b"),)),))


def test_one_rule_needs_no_list() -> None:
    assert len(step_of("- {step: a, case: {when: x, then: {skip: true}}}").rules) == 1


def test_a_rule_has_its_guard_and_its_line() -> None:
    assert [(rule.when, rule.line) for rule in fixture_step(ACTIONS, "start").rules[:2]] == [
        ("{{ event.name == 'step.enter' }}", 16),
        ("{{ event.name == 'call.error' }}", 19),
    ]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("{when: x}", "a rule needs 'then'"),
        ("{when: x, then: b}", "then must be a mapping, not 'b'"),
        ("{when: x, then: {nxt: b}}", "unknown key 'nxt' in a case rule of step 'a'"),
        ("{when: x, then: {next: c}}", "next step 'c' is not defined"),
        ("{when: x, then: {collect: {from: y}}}", "collect needs 'into'"),
        ("{when: x, then: {collect: {into: y}}}", "collect needs one of 'from' or 'path'"),
        ("{when: x, then: {retry: {parms: {}}}}", "unknown key 'parms' in retry of step 'a'"),
        ("{when: x, then: {sink: {tool: postgress}}}", "unknown tool kind 'postgress'"),
        ("{when: x, then: {set: [{name: y}]}}", "'value' is required"),
        ("{when: x, then: {retry: [1]}}", "retry must be true, a number of attempts or a mapping, not a list"),
        ("{when: x, then: {skip: maybe}}", "skip must be true or false, not 'maybe'"),
        ("{when: x, then: {step: b, next: b}}", "unknown key 'next' in a case rule of step 'a'"),
    ],
)
def test_a_rule_that_makes_no_sense_is_an_error(rule: str, expected: str) -> None:
    assert errors_of(f"- {{step: a, tool: {{kind: noop}}, case: [{rule}]}}\n- step: b") == [expected]


def test_a_rule_after_else_is_warned_of() -> None:
    assert warnings_of("- {step: a, case: [{else: {skip: true}}, {when: result, then: {skip: true}}]}") == [
        "this rule is never read: the one before it has no guard"
    ]
