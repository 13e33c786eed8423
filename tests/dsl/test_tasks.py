"""Tasks: the shapes of `tool`, inputs, settings, policies, writes (sections 3, 4 and 8 of the language)."""

from __future__ import annotations

import pytest

from noetl.dsl.kinds import KINDS, SAME_KINDS
from noetl.dsl.load import load
from noetl.dsl.playbook import Break, Continue, Fail, Jump, Output, Retry, Rule, Set, Write
from tests.dsl.documents import errors_of, fixture_step, framed, loaded, step_of, task_of, warnings_of

STANDARD = "dialects/standard.yaml"
VOCABULARY = "dialects/vocabulary.yaml"


# Shapes (4.1)


@pytest.mark.parametrize(
    ("tool", "labels"),
    [
        ("{kind: noop}", ["a"]),
        ("{kind: noop, name: own}", ["own"]),
        ("{kind: nats, operation: kv_keys, name: object}", ["a"]),
        ("[{name: x, kind: noop}, {kind: noop}, {y: {kind: noop}}]", ["x", "task_1", "y"]),
        ("[{name: x, tool: noop}, {name: y, type: noop}]", ["x", "y"]),
        ("[]", []),
    ],
)
def test_each_shape_of_tool_is_a_list_of_labelled_tasks(tool: str, labels: list[str]) -> None:
    assert [task.label for task in step_of(f"- {{step: a, tool: {tool}}}").tasks] == labels


def test_a_name_that_is_the_tools_own_is_kept_as_its_field() -> None:
    step = step_of("- step: a\n  tool: [{name: put, kind: nats, operation: object_put}, {name: plain, kind: noop}]")
    assert [task.fields for task in step.tasks] == [{"name": "put", "operation": "object_put"}, {}]


def test_fields_in_the_spec_are_lifted_to_the_task() -> None:
    task = fixture_step(VOCABULARY, "sql").tasks[3]
    assert task.fields == {"url": "{{ workload.api }}/b", "method": "POST", "payload": {"rows": "{{ rows }}"}}
    assert task.timeout == 9


def test_a_step_may_have_neither_tool_nor_next() -> None:
    step = step_of("- step: a")
    assert (step.tasks, step.arcs, step.rules) == ((), (), ())


def test_every_kind_and_its_synonyms_load() -> None:
    kinds = {task.kind for task in fixture_step("dialects/kinds.yaml", "start").tasks}
    assert kinds == set(KINDS) - {"workbook"}
    tools = {"playbooks": "path: x", "result": "uri: x", "resolve": "ref: x", "event": "payload: 1", "keychain": "key: x"}
    for synonym, kind in SAME_KINDS.items():
        assert task_of(f"- {{step: a, tool: {{kind: {synonym}, {tools[synonym]}}}}}").kind == kind


# Inputs (4.2)


@pytest.mark.parametrize("word", ["args", "input", "with"])
def test_args_input_and_with_are_one_mapping_on_step_task_and_arc(word: str) -> None:
    step = step_of(f"- step: a\n  {word}: {{x: 1}}\n  tool: {{kind: noop, {word}: {{y: null}}}}\n  next: {{arcs: [{{step: a, {word}: {{z: 2}}}}]}}")
    assert (step.args, step.tasks[0].args, step.arcs[0].args) == ({"x": 1}, {"y": None}, {"z": 2})


def test_args_that_are_no_mapping_are_one_argument_called_data() -> None:
    assert task_of('- {step: a, tool: {kind: python, code: "return data", args: "{{ rows }}"}}').args == {"data": "{{ rows }}"}


def test_the_args_of_a_container_are_a_field_of_the_tool() -> None:
    task = next(task for task in fixture_step("dialects/kinds.yaml", "start").tasks if task.label == "image")
    assert (task.fields["args"], task.args) == (["hello"], {"x": 1})


# Runtime settings (4.1, 6.4, 8)


def test_settings_of_a_task_come_from_the_innermost_layer() -> None:
    call, store, more = fixture_step(STANDARD, "fetch").tasks
    assert (call.timeout, call.fields["timeout"]) == (45, {"connect": 2, "read": 10})
    assert (store.timeout, store.memory_bytes, store.retry_on_loss) == (20, 268435456, False)
    assert (more.timeout, more.memory_bytes, more.retry_on_loss) == (45, None, True)
    plan = fixture_step(STANDARD, "plan")
    assert (plan.tasks[0].timeout, plan.timeout) == (120, 60)


def test_rules_of_a_layer_replace_those_of_the_layers_around_it() -> None:
    text = framed(
        """
        - step: a
          spec: {memory_bytes: 1, retry_on_loss: false, policy: {rules: [{else: {do: break}}]}}
          loop: {in: [1], spec: {policy: {rules: [{else: {do: fail}}]}}}
          tool:
            - {name: inherits, kind: noop}
            - {name: own, kind: noop, spec: {memory_bytes: 2, policy: {rules: []}}}
        """
    )
    inherits, own = loaded(text).steps[0].tasks
    assert [rule.actions for rule in inherits.rules] == [(Fail(),)]
    assert (inherits.memory_bytes, inherits.retry_on_loss, own.memory_bytes, own.rules) == (1, False, 2, ())


@pytest.mark.parametrize(
    ("timeout", "seconds"),
    [("30", 30), ("0.5", 0.5), ('"7"', 7), ('"{{ workload.t }}"', "{{ workload.t }}")],
)
def test_a_timeout_is_seconds_or_a_template(timeout: str, seconds: object) -> None:
    assert task_of(f"- {{step: a, tool: {{kind: noop, timeout: {timeout}}}}}").timeout == seconds
    assert task_of(f"- {{step: a, tool: {{kind: noop, timeout_seconds: {timeout}}}}}").timeout == seconds


# Policy (4.3)


def rule_of(rule: str) -> Rule:
    step = step_of(f"- step: a\n  tool: [{{name: first, kind: noop}}, {{name: second, kind: noop, spec: {{policy: {{rules: [{rule}]}}}}}}]")
    return step.tasks[1].rules[0]


@pytest.mark.parametrize(
    ("then", "actions"),
    [
        ("{}", (Continue(),)),
        ("{do: continue}", (Continue(),)),
        ("{do: retry}", (Retry(),)),
        (
            "{do: retry, attempts: 5, delay: 0.5, backoff: linear, max_delay: 9, jitter: true}",
            (Retry(attempts=5, delay=0.5, backoff="linear", max_delay=9, jitter=True),),
        ),
        ('{do: retry, delay: "{{ workload.d }}"}', (Retry(delay="{{ workload.d }}"),)),
        ("{do: jump, to: first}", (Jump("first"),)),
        ("{do: jump, to: second}", (Jump("second"),)),
        ("{do: jump, to: previous}", (Jump("first"),)),
        ("{do: break}", (Break(),)),
        ("{do: fail, message: no}", (Fail("no"),)),
        ("{do: break, set: {x: 1}}", (Set((Write("step", "x", 1),)), Break())),
    ],
)
def test_each_directive_of_a_rule(then: str, actions: tuple[object, ...]) -> None:
    assert rule_of(f'{{when: "{{{{ true }}}}", then: {then}}}').actions == actions


@pytest.mark.parametrize(
    ("written", "write"),
    [
        ("set: {x: 1}", Write("step", "x", 1)),
        ("set: {step.x: 1}", Write("step", "x", 1)),
        ("set: {ctx.x: 1}", Write("ctx", "x", 1)),
        ("set: {vars.x: 1}", Write("ctx", "x", 1)),
        ("set: {iter.x: 1}", Write("iter", "x", 1)),
        ("set: {ctx: {x: 1}}", Write("ctx", "x", 1)),
        ("set: {iter: {x: {y: 1}}}", Write("iter", "x", {"y": 1})),
        ("set: {ctx.deep.x: 1}", Write("ctx", "deep.x", 1)),
        ("set_ctx: {x: 1}", Write("ctx", "x", 1)),
        ("set_iter: {x: 1}", Write("iter", "x", 1)),
    ],
)
def test_each_spelling_of_a_write_in_a_rule(written: str, write: Write) -> None:
    assert rule_of(f"{{else: {{{written}}}}}").actions == (Set((write,)), Continue())


@pytest.mark.parametrize(
    "closing",
    ["{else: {then: {do: break}}}", "{else: {do: break}}", "{else: , then: {do: break}}", "{else: true, then: {do: break}}", "{then: {do: break}}"],
)
def test_each_spelling_of_the_closing_rule(closing: str) -> None:
    rule = rule_of(closing)
    assert (rule.when, rule.actions) == (None, (Break(),))


@pytest.mark.parametrize(("when", "guard"), [('"{{ x }}"', "{{ x }}"), ("result.ok", "result.ok"), ("true", True), ("1", 1)])
def test_a_guard_is_an_expression_a_template_a_bool_or_a_number(when: str, guard: object) -> None:
    assert rule_of(f"{{when: {when}, then: {{}}}}").when == guard


def test_a_rule_knows_its_line() -> None:
    assert [rule.line for rule in fixture_step(STANDARD, "fetch").tasks[0].rules] == [110, 112, 114]


def test_the_set_of_a_task_writes_pipeline_locals() -> None:
    assert task_of("- {step: a, tool: {kind: noop, set: {x: 1, ctx.y: 2}}}").set == (Write("step", "x", 1), Write("ctx", "y", 2))


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("{when: true, then: {}, else: {}}", "a rule has 'when' or 'else', not both"),
        ("{when: true}", "a rule needs 'then'"),
        ("{else: maybe, then: {}}", "else must be a mapping, not 'maybe'"),
        ("{when: true, then: {do: jump, to: third}}", "jump target 'third' is not a task of step 'a'"),
        ("{when: true, then: {do: retry, attempts: 0}}", "attempts must be a number, at least 1, not '0'"),
        ("{when: true, then: {set: {workload.x: 1}}}", "'workload' can't be written"),
    ],
)
def test_a_rule_that_makes_no_sense_is_an_error(rule: str, expected: str) -> None:
    (message,) = errors_of(f"- {{step: a, tool: {{kind: noop, spec: {{policy: {{rules: [{rule}]}}}}}}}}")
    assert message == expected


def test_what_has_no_effect_in_a_rule_is_warned_of() -> None:
    rules = "[{when: true, then: {attempts: 3}}, {else: {}}, {when: true, then: {}}]"
    assert warnings_of(f"- {{step: a, tool: {{kind: noop, spec: {{policy: {{rules: {rules}}}}}}}}}") == [
        "'attempts' has no effect without 'do: retry'",
        "this rule is never read: the one before it has no guard",
    ]


# Fields (8)


def test_a_table_write_has_its_rows_in_the_field_data() -> None:
    writes = [
        "{kind: postgres, table: t, args: {id: 1}}",
        "{kind: postgres, table: t, input: {id: 1}}",
        "{kind: postgres, table: t, data: {id: 1}}",
    ]
    for tool in writes:
        task = task_of(f"- {{step: a, tool: {tool}}}")
        assert (task.fields, task.args) == ({"table": "t", "data": {"id": 1}}, {})
    task = task_of("- {step: a, tool: {kind: postgres, table: t, command: select 1, args: {id: 1}}}")
    assert (task.fields, task.args) == ({"table": "t", "command": "select 1"}, {"id": 1})


@pytest.mark.parametrize(
    ("tool", "field"),
    [
        ("{kind: http, endpoint: x}", {"url": "x"}),
        ("{kind: http, url: x, credential: c}", {"url": "x", "auth": "c"}),
        ("{kind: http, url: x, credentials: {a: {key: c}}}", {"url": "x", "auth": {"a": {"key": "c"}}}),
        ("{kind: postgres, query: q}", {"command": "q"}),
        ("{kind: postgres, commands: [q]}", {"command": ["q"]}),
        ("{kind: snowflake, statement: q}", {"command": "q"}),
        ("{kind: duckdb, query: q}", {"query": "q"}),
        ("{kind: duckdb, commands: q}", {"command": "q"}),
        ("{kind: resolve, ref: r}", {"result_ref": "r"}),
        ("{kind: playbook, path: p, task: label}", {"path": "p"}),
    ],
)
def test_older_names_of_fields_become_the_canonical_ones(tool: str, field: dict[str, object]) -> None:
    assert task_of(f"- {{step: a, tool: {tool}}}").fields == field


@pytest.mark.parametrize(
    ("auth", "expected"),
    [
        ("", {}),
        ("auth: pg, ", {"auth": {"key": "pg"}}),
        ("auth: {source: credential, key: pg}, ", {"auth": {"source": "credential", "key": "pg"}}),
        ("auth: {db: {key: pg}}, ", {"db": {"key": "pg"}}),
    ],
)
def test_a_gcs_credential_is_an_entry_of_auth(auth: str, expected: dict[str, object]) -> None:
    task = task_of(f"- {{step: a, tool: {{kind: duckdb, {auth}command: select 1, gcs_credential: g}}}}")
    hmac = {"source": "credential", "type": "hmac", "key": "g"}
    assert task.fields["auth"] == {**expected, "gcs_credential": hmac}


def test_a_reference_may_be_among_the_args_of_an_artifact() -> None:
    assert errors_of("- {step: a, tool: {kind: artifact, action: get, args: {result_ref: x}}}") == []
    assert errors_of("- {step: a, tool: {kind: artifact, action: put, data: x}}") == []
    assert errors_of("- {step: a, tool: {kind: artifact, action: get}}") == ["artifact needs 'result_ref' or 'uri'"]


@pytest.mark.parametrize(("name", "needs"), [(name, kind.needs) for name, kind in KINDS.items() if kind.needs])
def test_a_kind_without_what_it_needs_is_an_error(name: str, needs: tuple[tuple[str, ...], ...]) -> None:
    messages = errors_of(f"- {{step: a, tool: {{kind: {name}}}}}")
    assert len(messages) == len(needs)
    assert all(message.startswith(f"{name} needs '") for message in messages)


@pytest.mark.parametrize(
    ("tool", "expected"),
    [
        ("{kind: http, url: x, body: 1, form: 2}", "http takes only one of 'json', 'payload', 'body', 'data' or 'form'; 'body' is given too"),
        ("{kind: python, code: x, script: {uri: y}}", "python takes only one of 'code' or 'script'; 'code' is given too"),
        ("{kind: http, url: x, endpoint: y}", "'url' is given twice: 'endpoint' is another spelling of it"),
        ("{kind: http, url: x, auth: [y]}", "auth must be the name of a credential or a mapping, not a list"),
        ("{kind: http, url: x, method: [GET]}", "method must be GET, POST, PUT, PATCH, DELETE, HEAD or OPTIONS, not a list"),
        ("{kind: noop, timeout: {connect: 1}}", "timeout must be a number, at least 0, not a mapping"),
    ],
)
def test_fields_that_contradict_each_other_are_errors(tool: str, expected: str) -> None:
    assert errors_of(f"- {{step: a, tool: {tool}}}") == [expected]


@pytest.mark.parametrize(
    ("tool", "expected"),
    [
        ("{kind: http, url: x, parms: {}}", "http has no field 'parms'"),
        ("{kind: http, url: x, method: GTE}", "method must be GET, POST, PUT, PATCH, DELETE, HEAD or OPTIONS, not 'GTE'"),
        ("{kind: nats, operation: kv_pat}", "operation must be kv_put"),
        ("{kind: python, code: x, iterator: {items: [1]}}", "'iterator': a python task has no iterator of its own"),
    ],
)
def test_odd_fields_are_warned_of(tool: str, expected: str) -> None:
    (message,) = warnings_of(f"- {{step: a, tool: {tool}}}")
    assert message.startswith(expected)


# Steps (3)


def test_a_canonical_step_has_all_its_parts() -> None:
    step = fixture_step(STANDARD, "plan")
    assert (step.desc, step.args, step.pool, step.priority) == (
        "Decide what to fetch",
        {"since": "{{ ctx.since | default('1970-01-01') }}"},
        "light",
        9,
    )
    assert (step.timeout, step.resources, step.requires, step.duration_hint_s) == (60, {"shop_quota": 1}, {"region": "eu"}, 0.5)
    assert (step.set, step.line, step.column) == ((Write("ctx", "since", "{{ now() }}"),), 49, 5)


def test_desc_and_description_are_the_same() -> None:
    assert step_of("- {step: a, desc: x}").desc == step_of("- {step: a, description: x}").desc == "x"
    assert warnings_of("- {step: a, desc: x, description: y}") == ["'desc' and 'description' are two spellings of one key"]


def test_an_empty_text_is_as_good_as_none() -> None:
    assert step_of("- {step: a, desc: '', tool: {kind: noop, name: ''}}").tasks[0].label == "a"
    assert errors_of("- {step: ''}") == ["'step' is required"]


@pytest.mark.parametrize("name", ["test/vars_simple", "a-b", "1", "häuser", "true"])
def test_a_step_name_is_any_text_without_spaces(name: str) -> None:
    assert step_of(f"- step: {name}").name == name


@pytest.mark.parametrize(("join", "expected"), [("auto", "auto"), ("all", "all"), ("any", "any"), ("2", 2)])
def test_each_kind_of_join(join: str, expected: object) -> None:
    assert step_of(f"- {{step: a, spec: {{join: {join}}}}}").join == expected


def test_admission_rules_are_read_in_order() -> None:
    admission = fixture_step(STANDARD, "plan").admission
    assert admission is not None
    assert admission.wait
    assert [(rule.allow, rule.when) for rule in admission.rules] == [(True, "{{ workload.regions | length > 0 }}"), (False, None)]


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("{output_select: [a, b], store: {kind: kv}, inline_max_bytes: 9}", Output(("a", "b"), "kv", 9)),
        ("{store: disk}", Output(None, "disk", None)),
        ("{output_select: {strategy: size_threshold, threshold_kb: 2}}", Output(None, "auto", 2048)),
    ],
)
def test_output_says_how_a_large_result_is_kept(output: str, expected: Output) -> None:
    assert step_of(f"- {{step: a, output: {output}}}").output == expected
    assert task_of(f"- {{step: a, tool: {{kind: noop, output: {output}}}}}").output == expected


def test_a_task_may_have_output_select_without_output() -> None:
    assert task_of("- {step: a, tool: {kind: noop, output_select: [a]}}").output == Output(("a",))


@pytest.mark.parametrize(
    ("step", "hint"),
    [
        ("when: x", "write a guard on the arcs that lead here, or spec: {policy: {admit: ...}}"),
        ("kind: noop", "write tool: {kind: ...}"),
        ("pipe: []", "write a list of tasks under 'tool'"),
        ("spec: {next_mode: all}", "write next: {spec: {mode: ...}}"),
        ("tool: {kind: noop, eval: []}", "write spec: {policy: {rules: [...]}}"),
        ("tool: {kind: noop, expr: x}", "write 'when' in a rule of spec: {policy: {rules: [...]}}"),
    ],
)
def test_words_of_other_versions_are_refused_with_what_replaces_them(step: str, hint: str) -> None:
    (problem,) = load(framed(f"- {{step: a, {step}}}")).errors
    assert problem.hint == hint


@pytest.mark.parametrize("key", ["before", "after", "finally", "choose", "while", "until"])
def test_placeholders_of_upstream_are_unknown_keys(key: str) -> None:
    assert errors_of(f"- {{step: a, {key}: x}}") == [f"unknown key '{key}' in step 'a'"]
