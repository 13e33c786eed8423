"""What is allowed but odd (section 11), and what templates read (2.1, 5.2, 9.5)."""

from __future__ import annotations

import pytest

from noetl.dsl.load import load
from tests.dsl.documents import errors_of, framed, messages, warnings_of


def with_root(root: str, steps: str) -> list[str]:
    """The warnings of a playbook with more at its root."""
    return [problem.message for problem in load(framed(steps).replace("workflow:", f"{root}\nworkflow:")).warnings]


def reads(template: str, root: str = "workload: {url: x}") -> list[str]:
    return with_root(root, f'- {{step: start, tool: {{kind: http, url: "{template}"}}}}')


# Steps


def test_a_step_to_which_no_arc_leads_is_never_reached() -> None:
    steps = "- {step: start, next: a}\n- {step: a, next: b}\n- {step: b, next: a}\n- {step: lost, next: lost2}\n- step: lost2"
    assert messages(load(framed(steps)), errors=False) == ["8:5 step 'lost' is never reached", "9:5 step 'lost2' is never reached"]


def test_case_targets_leaves_and_the_final_step_are_reached() -> None:
    steps = "- {step: start, case: [{when: response, then: {next: a}}]}\n- step: a\n- step: end\n- step: last"
    assert with_root("executor: {spec: {final_step: last}}", steps) == []


def test_an_unreachable_step_is_not_told_while_arcs_are_wrong() -> None:
    assert warnings_of("- {step: start, next: nowhere}\n- step: a") == []


# Names


@pytest.mark.parametrize(
    "template",
    [
        "{{ workload.url }}",
        "{{ url }}",
        "{{ workload.anything }}",
        "{{ start.data }}",
        "{{ steps['start'] }}",
        "{{ ctx.get('x') }}",
        "{{ execution_id }} {{ job.uuid }} {{ now() }} {{ env.HOME }} {{ payload }}",
        "{{ _prev }} {{ _task }} {{ _attempt }} {{ loop_index }}",
        "{% for x in range(3) %}{{ x }}{{ loop.index }}{% endfor %}",
    ],
)
def test_names_that_are_defined_are_not_warned_of(template: str) -> None:
    assert reads(template) == []


def test_a_name_that_nothing_defines_is_warned_of_once() -> None:
    assert reads("{{ other.a }} {{ other.b }} {{ other }}") == ["nothing in this playbook defines 'other'"]
    assert reads("{{ ulr }} {{ other }}") == ["nothing in this playbook defines 'other'", "nothing in this playbook defines 'ulr'"]
    result = load(framed('- {step: start, args: {a: "{{ strat.x }}"}}'))
    (problem,) = result.warnings
    assert (problem.path, problem.hint) == ("workflow[0].args.a", "did you mean 'start'?")


@pytest.mark.parametrize(
    "steps",
    [
        '- {step: start, args: {x: 1}, tool: {kind: noop, result: "{{ x }}"}}',
        '- {step: start, next: {arcs: [{step: start, args: {x: 1}, when: "{{ x }}"}]}}',
        '- {step: start, tool: {kind: noop, args: {x: 1}, result: "{{ x }}"}}',
        '- {step: start, tool: [{name: x, kind: noop}, {name: y, kind: noop, result: "{{ x }}"}]}',
        '- {step: start, loop: {in: [1], iterator: x}, tool: {kind: noop, result: "{{ x }}"}}',
        '- {step: start, tool: {kind: noop, set: {x: 1}}, set: {ctx.y: "{{ x }}"}}',
        "- {step: start, case: [{when: result, then: {next: {step: start, args: {x: 1}}}}, {when: x, then: {skip: true}}]}",
    ],
)
def test_args_labels_iterators_and_locals_are_defined(steps: str) -> None:
    assert warnings_of(steps) == []


def test_code_is_not_searched_for_names() -> None:
    assert warnings_of('- {step: start, tool: {kind: python, code: "return {{ unknown }}"}}') == []


@pytest.mark.parametrize("root", ["ctx", "vars"])
def test_a_ctx_key_that_nothing_writes_is_warned_of(root: str) -> None:
    assert reads(f"{{{{ {root}.x }}}}") == [f"nothing writes '{root}.x'"]
    assert reads(f"{{{{ {root}.x }}}}", "vars: {x: 1}") == []


@pytest.mark.parametrize(
    "step",
    [
        "set: {ctx.x: 1}",
        "set: {ctx.x.y: 1}",
        'set: {"ctx.{{ workload }}": 1}',
        "vars: {x: 1}",
        "result: {as: x}",
        "next: {arcs: [{step: start, set: {x: 1}}]}",
        "tool: {kind: noop, set: {ctx.x: 1}}",
        "tool: {kind: noop, spec: {policy: {rules: [{else: {set: {ctx.x: 1}}}]}}}",
        "case: [{when: result, then: {collect: {from: result, into: x}}}]",
    ],
)
def test_every_writer_of_ctx_counts(step: str) -> None:
    assert warnings_of(f'- {{step: start, args: {{a: "{{{{ ctx.x }}}}"}}, {step}}}') == []


def test_a_credential_that_is_not_declared_is_warned_of() -> None:
    assert reads("{{ keychain.api.token }}", "keychain: [{name: apis, kind: bearer}]") == ["credential 'api' is not declared under keychain"]
    assert reads("{{ keychain.api.token }}", "keychain: [{name: api, kind: bearer}]") == []


@pytest.mark.parametrize("guard", ["keychain.api.token == 'x'", "{{ token('api') }}"])
@pytest.mark.parametrize(
    "step",
    [
        'next: {{arcs: [{{step: start, when: "{guard}"}}]}}',
        'next: [{{when: "{guard}", then: start}}]',
        'case: [{{when: "{guard}", then: {{skip: true}}}}]',
        'tool: {{kind: noop, spec: {{policy: {{rules: [{{when: "{guard}", then: {{}}}}]}}}}}}',
        'spec: {{policy: {{admit: {{rules: [{{when: "{guard}", then: {{allow: true}}}}]}}}}}}',
        'tool: {{kind: noop}}, retry: {{stop_when: "{guard}"}}',
    ],
)
def test_a_guard_that_reads_a_secret_is_an_error(guard: str, step: str) -> None:
    secret = "token" if guard.startswith("{{") else "keychain"
    assert errors_of(f"- {{step: start, {step.format(guard=guard)}}}") == [f"a guard can't read a secret: '{secret}'"]


@pytest.mark.parametrize("name", ["execution_id", "result", "payload"])
def test_a_workload_key_with_a_name_of_the_engine_is_warned_of(name: str) -> None:
    assert with_root(f"workload: {{{name}: 1}}", "- step: start") == [f"'{name}' is also a name of the engine, which wins"]


def test_a_step_with_a_name_of_the_engine_is_warned_of() -> None:
    (problem,) = load(framed("- {step: error}")).warnings
    assert (problem.message, problem.hint) == ("'error' is also a name of the engine, which wins", "read its result as steps['error']")


# Guards


def test_an_event_that_is_never_emitted_is_warned_of() -> None:
    rules = "[{when: \"{{ event.name == 'call.don' }}\", then: {skip: true}}, {when: \"event.name != 'step.exit'\", then: {skip: true}}]"
    (problem,) = load(framed(f"- {{step: start, case: {rules}}}")).warnings
    assert (problem.message, problem.hint) == ("event 'call.don' is never emitted", "did you mean 'call.done'?")


# Loops (5.2)


@pytest.mark.parametrize(
    ("mode", "write", "warned"),
    [
        ("parallel", "{ctx.n: '{{ ctx.n + 1 }}'}", True),
        ("parallel", "{ctx.n: '{{ vars.n + 1 }}'}", True),
        ("sequential", "{ctx.n: '{{ ctx.n + 1 }}'}", False),
        ("parallel", "{ctx.n: '{{ result }}'}", False),
        ("parallel", "{iter.n: '{{ iter.n + 1 }}'}", False),
    ],
)
def test_parallel_iterations_that_read_and_write_one_key_are_warned_of(mode: str, write: str, warned: bool) -> None:
    warnings = warnings_of(f"- {{step: start, loop: {{in: [1], mode: {mode}}}, tool: {{kind: noop, set: {write}}}}}")
    assert warnings == (["step 'start': parallel iterations read and write ctx.n, and may lose updates"] if warned else [])


def test_the_set_of_a_loop_step_runs_once_and_loses_nothing() -> None:
    assert warnings_of("- {step: start, loop: {in: [1], mode: parallel}, tool: {kind: noop}, set: {ctx.n: '{{ ctx.n + 1 }}'}}") == []


# Code


def test_python_that_does_not_compile_is_warned_of_at_its_line() -> None:
    steps = """
    - step: start
      tool:
        kind: python
        code: |
          x = 1

          def main(:
              pass
    """
    assert messages(load(framed(steps)), errors=False) == ["11:1 python: invalid syntax"]


@pytest.mark.parametrize("code", ["return 1", "def main(): return 1", "x = await y", "'\\\\d'", "{{ not python", "\\x00"])
def test_code_that_may_be_python_is_not_warned_of(code: str) -> None:
    warnings = [message for message in warnings_of(f'- {{step: start, tool: {{kind: python, code: "{code}"}}}}') if message.startswith("python")]
    assert warnings == (["python: source code string cannot contain null bytes"] if code == "\\x00" else [])


@pytest.mark.parametrize("tool", ["{kind: python, code: \"x = f'{{a}'\"}", "{kind: shell, cmds: [\"docker ps --format '{{.Names}}'\"]}"])
def test_braces_in_code_that_are_no_template_are_only_warned_of(tool: str) -> None:
    result = load(framed(f"- {{step: start, tool: {tool}}}"))
    assert result.valid
    assert [problem.message.partition(":")[0] for problem in result.warnings] == ["template"]


# Templates (2.2, 11)


@pytest.mark.parametrize(
    "step",
    [
        "args: {x: '{{ a'}",
        "desc: '{{ a', args: {x: '{% if %}'}",
        "tool: {kind: noop, result: [{deep: '{{ a | nofilter }}'}]}",
        "tool: {kind: http, url: x, headers: {'{{ a': 1}}",
        "loop: {in: '{{ ]'}",
        "next: {arcs: [{step: start, when: 'a =='}]}",
        "tool: {kind: noop, set: {x: '{{ 1 +'}}",
        "set: {'ctx.{{': 1}",
        "tool: {kind: noop, timeout: '{{ x'}",
        "case: [{when: x, then: {result: {from: 'a b'}}}]",
    ],
)
def test_a_template_that_does_not_parse_is_an_error_in_any_field(step: str) -> None:
    (message,) = errors_of(f"- {{step: start, {step}}}")
    assert message.startswith("template: ")


def test_a_template_error_has_the_line_inside_its_text() -> None:
    steps = """
    - step: start
      tool:
        kind: postgres
        command: |
          select 1;
          select {{ a b }}
        auth: >
          {{ b c }}
        key: "{{ d
          e }}"
    """
    assert [(problem.line, problem.column) for problem in load(framed(steps)).errors] == [(10, 1), (12, 1), (13, 12)]
