"""Older spellings of a step: flat (10.1), retry (10.4, 10.7), save and sink (10.5), vars (10.6), words (10.9), the workbook (8.10)."""

from __future__ import annotations

import pytest

from noetl.dsl.load import load
from noetl.dsl.playbook import Admission, AdmitRule, Collect, Retry, Rule, Task, Write
from tests.dsl.documents import errors_of, fixture, fixture_step, framed, loaded, step_of, task_of

FLAT = "dialects/flat_steps.yaml"
FAILED = "{{ outcome.status == 'error' }}"


# Flat steps (10.1)


def test_the_readme_snippets_load_as_single_flat_steps() -> None:
    create, upload, buckets = fixture("dialects/flat_readme.yaml").steps
    assert [step.tasks[0].kind for step in (create, upload, buckets)] == ["postgres", "duckdb", "http"]
    assert create.tasks[0].label == "create_table"
    assert set(create.tasks[0].fields) == {"auth", "command"}
    assert set(upload.tasks[0].fields["auth"]) == {"pg_db", "gcs_secret"}
    assert upload.tasks[0].fields["command"].startswith("INSTALL httpfs;")
    assert buckets.tasks[0].fields["headers"]["Authorization"] == "Bearer {{ token(workload.google_auth) }}"


def test_the_keys_of_a_flat_step_that_are_no_step_keys_are_its_tools() -> None:
    step = fixture_step(FLAT, "start")
    task = step.tasks[0]
    assert (task.label, task.kind, task.timeout) == ("start", "http", 15)
    assert task.fields == {"method": "GET", "url": "{{ workload.api }}/cities", "params": {"unit": "{{ vars.unit }}"}}


def test_args_of_a_flat_step_stay_on_the_step() -> None:
    step = fixture_step(FLAT, "score")
    assert (step.args, step.tasks[0].args) == ({"city": "{{ ctx.city }}"}, {})
    assert step.tasks[0].fields["libs"] == {"json": "json"}


def test_the_result_of_a_flat_noop_is_its_field() -> None:
    assert fixture_step(FLAT, "maybe").tasks[0].fields == {"result": {"note": "this is the result field of noop"}}


def test_what_is_rewritten_keeps_the_line_and_column_of_its_source() -> None:
    fetch, save = fixture_step(FLAT, "start").tasks
    score, sink = fixture_step(FLAT, "score").tasks
    assert [(task.line, task.column) for task in (fetch, save, score, sink)] == [(11, 5), (26, 7), (39, 5), (49, 7)]
    assert [rule.line for rule in fetch.rules] == [24, 23]
    assert [(task.line, task.column) for task in fixture_step("dialects/iterator.yaml", "start").tasks] == [(16, 7), (21, 9)]
    result = load(framed("- step: a\n  tool: http\n  endpoint: '{{'"))
    assert [(problem.line, problem.column, problem.path) for problem in result.errors] == [(7, 15, "workflow[0].endpoint")]


@pytest.mark.parametrize(
    "key", ["auth", "params", "url", "query", "script", "table", "key", "path", "name", "return_step", "image", "cmds", "result"]
)
def test_a_tool_field_beside_a_tool_mapping_is_an_error(key: str) -> None:
    assert errors_of(f"- {{step: a, tool: {{kind: noop}}, {key}: x}}") == [f"step 'a': key '{key}' belongs inside 'tool'"]
    assert errors_of(f"- {{step: a, tool: [{{kind: noop}}], {key}: x}}") == [f"step 'a': key '{key}' belongs inside 'tool'"]
    assert errors_of(f"- {{step: a, {key}: x}}") == [f"step 'a': key '{key}' belongs inside 'tool', which is missing"]


# A step's retry (10.4)


@pytest.mark.parametrize(
    ("written", "retry"),
    [
        ("true", Retry(delay=1, backoff="exponential")),
        ("5", Retry(attempts=5, delay=1, backoff="exponential")),
        ("{}", Retry(delay=1, backoff="exponential")),
        ("{max_attempts: 2}", Retry(attempts=2, delay=1, backoff="exponential")),
        (
            "{max_attempts: 4, initial_delay: 0.5, backoff_multiplier: 3.0, max_delay: 20, jitter: true}",
            Retry(attempts=4, delay=0.5, backoff="exponential", factor=3.0, max_delay=20, jitter=True),
        ),
        ("{backoff: fixed, delay: 2}", Retry(delay=2, backoff="fixed")),
        ('{max_attempts: "{{ workload.n }}"}', Retry(attempts="{{ workload.n }}", delay=1, backoff="exponential")),
    ],
)
def test_a_steps_retry_is_a_rule_on_its_task(written: str, retry: Retry) -> None:
    assert task_of(f"- {{step: a, tool: {{kind: noop}}, retry: {written}}}").rules == (Rule((retry,), FAILED, line=5),)


@pytest.mark.parametrize("written", ["false", "0", "null"])
def test_no_retry_is_no_rule(written: str) -> None:
    assert task_of(f"- {{step: a, tool: {{kind: noop, retry: {written}}}, retry: {written}}}").rules == ()


def test_what_stops_comes_before_what_retries_and_their_guards_are_marked() -> None:
    stop, again = fixture_step(FLAT, "start").tasks[0].rules
    assert stop == Rule((), "{{ status_code == 404 }}", legacy=True, line=24)
    assert (again.when, again.legacy) == ("{{ status_code >= 500 or status_code == 429 }}", True)


def test_a_steps_retry_comes_before_the_rules_of_its_task() -> None:
    task = task_of("- {step: a, tool: {kind: noop, spec: {policy: {rules: [{else: {do: break}}]}}}, retry: 2}")
    assert [rule.when for rule in task.rules] == [FAILED, None]


def test_a_steps_retry_is_not_for_its_sink() -> None:
    score, sink = fixture_step(FLAT, "score").tasks
    assert (len(score.rules), len(sink.rules)) == (1, 0)


def test_on_error_is_the_retry_and_on_success_calls_again() -> None:
    again, paging = fixture_step("dialects/retry_unified.yaml", "second").tasks[0].rules
    assert again == Rule((Retry(attempts=6, delay=0.2, backoff="exponential"),), "{{ status_code >= 500 }}", legacy=True, line=26)
    overrides = {"params": {"cursor": "{{ response.data.cursor }}"}}
    assert paging.actions == (
        Collect("more_items", "append", path="data.items"),
        Retry(attempts=None, backoff="exponential", overrides=overrides, spent="end"),
    )
    assert (paging.when, paging.legacy) == ("{{ response.data.more }}", True)


def test_a_list_under_retry_is_case_after_a_call() -> None:
    step = fixture_step("dialects/retry_unified.yaml", "start")
    failed, more = step.rules
    assert step.tasks[0].rules == ()
    assert failed.when == "{{ event.name == 'call.done' and (error.status in [429, 503]) }}"
    assert failed.actions == (Retry(attempts=4, delay=1, backoff="exponential", factor=2, spent="end"),)
    assert more.actions == (
        Collect("items", "append", path="data.items"),
        Retry(attempts=100, backoff="exponential", overrides={"params": {"page": "{{ response.data.paging.page + 1 }}"}}, spent="end"),
    )


def test_only_the_http_call_of_a_pipeline_is_called_again_after_a_success() -> None:
    retry = "{max_attempts: 2, on_success: {while: response.more, next_call: {params: {page: 2}}}}"
    tasks = step_of(f"- {{step: a, tool: [{{name: x, kind: noop}}, {{name: y, kind: http, url: u}}], retry: {retry}}}").tasks
    assert [[rule.when for rule in task.rules] for task in tasks] == [[FAILED], [FAILED, "response.more"]]


def test_a_list_under_retry_may_hold_other_actions_and_an_else() -> None:
    rules = step_of("- {step: a, tool: noop, retry: [{when: error, then: {fail: no}}, {else: {then: {skip: true}}}]}").rules
    assert [rule.when for rule in rules] == ["{{ event.name == 'call.done' and (error) }}", None]


@pytest.mark.parametrize(
    ("retry", "expected"),
    [
        ("{max_attempts: none}", "max_attempts must be a number, at least 1, not 'none'"),
        ("[{when: null, then: {skip: 1}}]", "skip must be true or false, not '1'"),
        ("{attempst: 3}", "unknown key 'attempst' in retry of step 'a'"),
        ("{backoff: slow}", "backoff must be none, fixed, linear or exponential, not 'slow'"),
        ("{on_success: {max_attempts: 2}}", "on_success needs 'while'"),
        ("{max_attempts: 1, attempts: 2}", "'max_attempts' and 'attempts' are two spellings of one key"),
    ],
)
def test_a_retry_that_makes_no_sense_is_an_error(retry: str, expected: str) -> None:
    assert errors_of(f"- {{step: a, tool: {{kind: noop}}, retry: {retry}}}") == [expected]


# A tool's retry (10.7)


@pytest.mark.parametrize(
    ("written", "rule"),
    [
        ("true", Rule((Retry(),), FAILED, line=5)),
        ("4", Rule((Retry(attempts=4),), FAILED, line=5)),
        ("{max_attempts: 2, backoff: 5}", Rule((Retry(attempts=2, delay=5, backoff="fixed"),), FAILED, line=5)),
        ("{backoff: linear, delay: 2}", Rule((Retry(delay=2, backoff="linear"),), FAILED, line=5)),
        ("{retry_on: [any]}", Rule((Retry(),), FAILED, line=5)),
        (
            "{retry_on: [connection_error, timeout, server_error]}",
            Rule((Retry(),), "{{ outcome.status == 'error' and error.kind in ['connection', 'timeout', 'server_error'] }}", line=5),
        ),
        ("{retry_on: database_error}", Rule((Retry(),), "{{ outcome.status == 'error' and error.kind in ['database'] }}", line=5)),
    ],
)
def test_a_tools_retry_is_its_first_rule(written: str, rule: Rule) -> None:
    task = task_of(f"- {{step: a, tool: {{kind: playbook, path: x, retry: {written}, spec: {{policy: {{rules: [{{else: {{do: fail}}}}]}}}}}}}}")
    assert len(task.rules) == 2
    assert task.rules[0] == rule


# Save and sink (10.5)


def test_save_is_one_more_task_with_its_data_as_rows() -> None:
    sink = fixture_step(FLAT, "start").tasks[1]
    assert (sink.label, sink.kind, sink.args) == ("sink", "postgres", {})
    data = {"id": "{{ result.data.id }}", "name": "{{ result.data.name }}"}
    assert sink.fields == {"auth": "{{ workload.pg_auth }}", "table": "cities", "mode": "upsert", "key": "id", "data": data}


@pytest.mark.parametrize(
    ("step", "fields", "args"),
    [
        ("tool: {kind: noop}, sink: {tool: postgres, table: t}", {"table": "t", "data": "{{ result }}"}, {}),
        ("tool: {kind: http, url: x}, sink: {tool: {kind: postgres, table: t}}", {"table": "t", "data": "{{ result.data }}"}, {}),
        ("tool: {kind: http, url: x}, save: {storage: {type: duckdb, table: t}}", {"table": "t", "data": "{{ result.data }}"}, {}),
        ("tool: {kind: noop}, sink: {tool: python, code: x}", {"code": "x"}, {"data": "{{ result }}"}),
        ("tool: {kind: noop}, sink: {tool: python, code: x, args: {y: 1}}", {"code": "x"}, {"y": 1}),
        ("tool: {kind: noop}, sink: {tool: http, url: x, data: {y: 1}}", {"url": "x", "data": {"y": 1}}, {}),
        ("tool: {kind: noop}, sink: {tool: event, payload: {y: 1}}", {"payload": {"y": 1}}, {}),
        ('tool: {kind: noop}, save: {storage: postgres, table: t, args: "{{ rows }}"}', {"table": "t", "data": "{{ rows }}"}, {}),
    ],
)
def test_a_sink_stores_what_it_is_given_else_the_data_of_the_result(step: str, fields: dict[str, object], args: dict[str, object]) -> None:
    sink = step_of(f"- {{step: a, {step}}}").tasks[1]
    assert (sink.fields, sink.args) == (fields, args)


def test_sinks_have_labels_of_their_own() -> None:
    step = step_of("- {step: a, tool: [{name: sink, kind: noop}], sink: [{tool: event}, {tool: event}], save: {storage: event}}")
    assert [task.label for task in step.tasks] == ["sink", "sink_2", "sink_3", "sink_4"]


def test_a_sink_inside_a_tool_stands_after_its_task() -> None:
    step = step_of("- {step: a, tool: [{name: x, kind: noop, sink: {tool: event}}, {name: y, kind: noop}]}")
    assert [task.label for task in step.tasks] == ["x", "sink", "y"]


@pytest.mark.parametrize(
    ("sink", "expected"),
    [
        ("{table: t}", "step 'a': 'kind' is required"),
        ("{tool: {kind: postgres, table: t}, table: u}", "'table' is given both beside the tool and in it"),
        ("[null]", "sink is empty: it must be a mapping"),
        ("postgres", "sink must be a mapping, not 'postgres'"),
    ],
)
def test_a_sink_without_a_tool_is_an_error(sink: str, expected: str) -> None:
    assert errors_of(f"- {{step: a, tool: {{kind: noop}}, sink: {sink}}}") == [expected]


# vars and names for the result (10.6)


def test_vars_of_a_step_are_written_to_ctx_after_it() -> None:
    assert fixture_step(FLAT, "start").set == (Write("ctx", "city", "{{ result.data.name }}"),)
    assert step_of("- {step: a, set: {x: 1}, vars: {y: 2}}").set == (Write("ctx", "x", 1), Write("ctx", "y", 2))


@pytest.mark.parametrize("key", ["output", "result"])
def test_a_result_may_be_named(key: str) -> None:
    step = step_of(f"- {{step: a, tool: {{kind: noop}}, {key}: {{as: x}}}}")
    assert (step.set, step.output) == ((Write("ctx", "x", "{{ result }}"),), None)


def test_output_may_name_the_result_and_say_how_it_is_kept() -> None:
    step = step_of("- {step: a, tool: {kind: noop}, output: {as: x, store: disk}}")
    assert step.output is not None
    assert (step.output.store, len(step.set)) == ("disk", 1)


# Words (10.9)


@pytest.mark.parametrize(
    ("written", "admission"),
    [
        ("false", Admission((AdmitRule(allow=False),))),
        ("true", None),
        ('"{{ x }}"', Admission((AdmitRule(allow=True, when="{{ x }}"), AdmitRule(allow=False)))),
    ],
)
def test_enabled_is_an_admission_rule(written: str, admission: Admission | None) -> None:
    assert step_of(f"- {{step: a, enabled: {written}}}").admission == admission


# The workbook (8.10)


def calls() -> tuple[Task, ...]:
    start, named = fixture("dialects/workbook.yaml").steps
    return (*start.tasks, *named.tasks)


def test_a_workbook_task_stands_where_it_is_called() -> None:
    score, sink, first, greet = calls()
    assert [(task.label, task.kind, task.workbook) for task in (score, first, greet)] == [
        ("start", "python", "score"),
        ("first", "python", "greet"),
        ("greet", "python", "greet"),
    ]
    assert (sink.label, sink.fields) == ("sink", {"table": "scores", "auth": "{{ workload.pg_auth }}", "data": "{{ result }}"})
    assert (score.expects, score.returns, score.timeout, score.memory_bytes) == (("user",), ("score",), 30, 1000000)


def test_declared_args_are_defaults_under_those_of_the_step_and_the_call() -> None:
    score, _, first, greet = calls()
    assert fixture_step("dialects/workbook.yaml", "start").args == {"user": "ann", "factor": 9}
    assert score.args == {}
    assert (first.args, first.defaults) == ({"name": "Bo"}, {"name": "world"})
    assert (greet.args, greet.defaults) == ({"name": None}, {"name": "world"})


@pytest.mark.parametrize(
    ("call", "args"),
    [
        ("tool: {kind: workbook, name: x}", {}),
        ("tool: {kind: workbook, name: x, args: null}", {}),
        ('tool: {kind: workbook, name: x, args: "{{ rows }}"}', {"data": "{{ rows }}"}),
        ("tool: {kind: workbook, name: x, args: {a: 2, c: 3}}", {"a": 2, "c": 3}),
        ("tool: {kind: workbook, name: x, args: {a: null, b: 4}}", {"a": None, "b": 4}),
    ],
)
def test_the_args_of_a_call_are_its_own_and_the_declared_ones_its_defaults(call: str, args: dict[str, object]) -> None:
    workbook = "workbook: [{name: x, args: {a: 1, b: null}, tool: {kind: noop}}]\nworkflow:"
    task = loaded(framed(f"- {{step: s, {call}}}").replace("workflow:", workbook)).steps[0].tasks[0]
    assert (task.args, task.defaults) == (args, {"a": 1, "b": None})


def test_settings_of_a_call_win_over_those_of_the_workbook_task() -> None:
    _, _, first, greet = calls()
    assert (first.timeout, greet.timeout) == (3, None)


@pytest.mark.parametrize(
    "workbook", ["[{name: x, tool: {kind: noop}}]", "{x: {tool: {kind: noop}}}", "{tasks: {x: {tool: noop}}}", "{x: {kind: noop}}"]
)
def test_each_shape_of_the_workbook(workbook: str) -> None:
    text = framed("- {step: a, tool: {kind: workbook, name: x}}").replace("workflow:", f"workbook: {workbook}\nworkflow:")
    assert [(task.kind, task.workbook) for task in loaded(text).steps[0].tasks] == [("noop", "x")]


def test_a_sink_may_be_a_task_of_the_workbook() -> None:
    workbook = "workbook: [{name: store, tool: {kind: postgres, table: t}}]\nworkflow:"
    text = framed("- {step: a, tool: {kind: noop}, sink: {tool: workbook, task: store}}").replace("workflow:", workbook)
    sink = loaded(text).steps[0].tasks[1]
    assert (sink.label, sink.kind, sink.workbook, sink.fields) == ("sink", "postgres", "store", {"table": "t", "data": "{{ result }}"})


@pytest.mark.parametrize(
    ("workbook", "expected"),
    [
        ("[{name: x, tool: {kind: http}}]", "http needs 'url'"),
        ("[{name: x}]", "workbook task 'x': 'kind' is required"),
        ("[{name: x, tool: {kind: workbook, name: x}}]", "a workbook task can't call the workbook"),
        ("[{name: x, tool: {kind: noop}, kind: noop}]", "'kind' is given both beside the tool and in it"),
    ],
)
def test_a_workbook_task_that_nobody_calls_is_checked_too(workbook: str, expected: str) -> None:
    text = framed("- step: a").replace("workflow:", f"workbook: {workbook}\nworkflow:")
    assert [problem.message for problem in load(text).errors] == [expected]
