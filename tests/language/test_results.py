"""Envelopes, errors, large results: docs/reference/language.md, 7."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from tests.engine.conftest import Boot
from tests.engine.playbooks import playbook
from tests.language.rehearse import error_of, fails, gone, play

# Envelopes

ANSWER = {"status": 201, "headers": {"x": "1"}, "data": {"rows": [1], "status": "inner"}, "url": "x"}


FIELDS = {"http": "url: x", "python": "code: x", "noop": "result: 1", "postgres": "auth: a, command: x"}
SHOW = 'spec: {policy: {rules: [{else: {do: continue, set: {ctx.seen: "{{ outcome }}"}}}]}}'


@pytest.mark.parametrize(("kind", "data"), [("http", ANSWER["data"]), ("python", ANSWER), ("noop", ANSWER), ("postgres", ANSWER)])
def test_an_envelope_has_status_result_data_error_ref_and_meta(kind: str, data: Any) -> None:
    seen = play(f"- {{step: start, tool: {{kind: {kind}, {FIELDS[kind]}, {SHOW}}}}}", {"start": lambda call: ANSWER}).ctx["seen"]
    helper = {"http": {"http": {"status": 201, "headers": {"x": "1"}}}}.get(kind, {})
    assert set(seen) == {"status", "data", "result", "error", "ref", "meta", *helper}
    assert (seen["status"], seen["result"], seen["data"], seen["error"], seen["ref"]) == ("ok", ANSWER, data, None, None)
    assert {key: seen[key] for key in helper} == helper
    assert set(seen["meta"]) == {"attempt", "duration_s", "started_at"}
    assert seen["meta"]["attempt"] == 1
    assert dt.datetime.fromisoformat(seen["meta"]["started_at"]).tzinfo is not None


def test_a_result_that_says_error_is_a_success() -> None:
    run = play("""
        - step: start
          tool: {kind: python, code: "return {'status': 'error'}"}
          next: {arcs: [{step: bad, when: "{{ outcome.status == 'error' }}"}, {step: good, when: "{{ outcome.data.status == 'error' and start.status == 'error' }}"}]}
        - {step: bad}
        - {step: good}
    """, {"start": lambda call: {"status": "error"}})  # fmt: skip
    assert run.order == ["start", "good"]


def test_the_result_of_a_step_is_the_tools_and_not_the_envelope() -> None:
    run = play("""
        - {step: start, tool: {kind: http, url: x}, set: {ctx.seen: ["{{ result }}", "{{ response }}", "{{ _prev }}"]}, next: {arcs: [{step: after, args: {given: "{{ start }}"}}]}}
        - {step: after, tool: {kind: noop, result: ["{{ start }}", "{{ _prev }}", "{{ result }}", "{{ given }}", "{{ steps.start }}"]}}
    """, {"start": lambda call: ANSWER})  # fmt: skip
    assert run.ctx["seen"] == [ANSWER] * 3
    assert run.result("after") == [ANSWER] * 5


# Errors


def test_an_error_says_where_it_happened_and_whether_a_retry_is_worth_it() -> None:
    run = play(
        "- {step: start, tool: {kind: http, url: x, name: call, spec: {policy: {rules: [{when: error, then: {do: retry, attempts: 2}}]}}}}",
        {"call": fails(9, "rate_limit", retryable=True, extra={"status": 429, "status_code": 429})},
    )
    assert error_of(run) == {
        "kind": "rate_limit",
        "message": "failure 2",
        "retryable": True,
        "status": 429,
        "status_code": 429,
        "step": "start",
        "task": "call",
        "attempt": 2,
    }


def test_the_error_that_rules_see_says_where_it_happened_too() -> None:
    run = play("""
        - step: start
          tool: [{name: a, kind: noop}, {name: call, kind: http, url: x, spec: {policy: {rules: [{else: {do: continue, set: {ctx.error: "{{ error }}"}}}]}}}]
    """, {"call": gone})  # fmt: skip
    about = {"kind": "not_found", "message": "gone", "retryable": False, "step": "start", "task": "call", "attempt": 1}
    assert about.items() <= run.ctx["error"].items()


async def test_each_kind_has_its_helper_after_an_error(boot: Boot) -> None:
    bench = await boot()
    rules = 'spec: {policy: {rules: [{else: {do: continue, set: {"ctx.{{ _task }}": "{{ [outcome.http, outcome.py, outcome.pg, error.kind] }}"}}}]}}'
    state = await bench.run(playbook(f"""
        - step: start
          tool:
            - {{name: code, kind: python, code: "{{}}['x']", {rules}}}
            - {{name: sql, kind: duckdb, command: "select * from nowhere", {rules}}}
            - {{name: call, kind: http, url: "http://127.0.0.1:9/", {rules}}}
    """))  # fmt: skip
    assert state.ctx == {
        "code": [None, {"exception_type": "KeyError"}, None, "python"],
        "sql": [None, None, {"code": "CatalogException", "sqlstate": None}, "database"],
        "call": [{"status": None, "headers": None}, None, None, "connection"],
    }


# Large results


NUMBERS = {
    "noop": '{kind: noop, result: {rows: "{{ range(%d) | list }}", total: 3}}',
    "python": "{kind: python, code: \"return {'rows': list(range(%d)), 'total': 3}\"}",
}


@pytest.mark.parametrize("kind", ["noop", "python"])
async def test_a_result_lies_elsewhere_when_its_json_has_more_than_64_kib(boot: Boot, kind: str) -> None:
    bench = await boot()
    state = await bench.run(playbook(f"""
        - {{step: start, tool: {NUMBERS[kind] % 11_000}, next: {{arcs: [{{step: large}}]}}}}
        - {{step: large, tool: {NUMBERS[kind] % 30_000}, next: {{arcs: [{{step: look}}]}}}}
        - step: look
          tool:
            kind: noop
            result:
              small: ["{{{{ start._ref is defined }}}}", "{{{{ start.rows[10999] }}}}"]
              large: ["{{{{ large._ref[:8] }}}}", "{{{{ large._store }}}}", "{{{{ large._size > 65536 }}}}", "{{{{ large._preview | length > 10 }}}}"]
              read: ["{{{{ large.rows[29999] }}}}", "{{{{ large.total }}}}", "{{{{ large.rows | length }}}}"]
    """))  # fmt: skip
    assert state.results["look"] == {"small": [False, 10999], "large": ["noetl://", "kv", True, True], "read": [29999, 3, 30000]}


@pytest.mark.parametrize("kind", ["noop", "python"])
async def test_with_output_select_the_selected_keys_are_seen_and_nothing_else(boot: Boot, kind: str) -> None:
    bench = await boot()
    state = await bench.run(playbook(f"""
        - step: start
          tool: {NUMBERS[kind] % 500}
          output: {{output_select: [total], store: {{kind: disk}}, inline_max_bytes: 100}}
          next: {{arcs: [{{step: look}}]}}
        - step: look
          tool:
            - {{name: a, kind: noop, result: ["{{{{ start.total }}}}", "{{{{ start.rows is defined }}}}", "{{{{ start | list }}}}"]}}
            - {{name: b, kind: python, args: {{given: "{{{{ start }}}}"}}, code: "result = [given['total'], 'rows' in given, sorted(given)]"}}
            - {{name: c, kind: noop, result: {{a: "{{{{ a }}}}", b: "{{{{ b }}}}"}}}}
    """))  # fmt: skip
    assert state.results["look"]["a"] == [3, False, ["total", "_ref", "_store", "_size", "_preview"]]
    assert state.results["look"]["b"] == [3, False, ["_preview", "_ref", "_size", "_store", "total"]]


@pytest.mark.parametrize(
    ("kind", "count", "output", "store"),
    [
        ("noop", 10, "{store: {kind: auto}}", None),
        ("noop", 30_000, "{store: {kind: auto}}", "kv"),
        ("python", 30_000, "{store: auto}", "kv"),
        ("python", 400_000, "{store: auto}", "disk"),
        ("noop", 300, "{inline_max_bytes: 100}", "kv"),
        ("python", 400_000, "{inline_max_bytes: 100}", "disk"),
        ("noop", 300, "{store: {kind: gcs}, inline_max_bytes: 100}", "gcs"),
        ("python", 30_000, "{store: {kind: s3}}", "s3"),
        ("noop", 300, "{store: {kind: object}, inline_max_bytes: 0}", "object"),
        ("noop", 30_000, "{store: {kind: disk}, inline_max_bytes: 999999}", "disk"),
        ("noop", 30_000, "{store: {kind: inline}}", "kv"),
    ],
)
async def test_the_store_is_the_one_that_was_named_else_one_that_fits_the_size(
    boot: Boot, kind: str, count: int, output: str, store: str | None
) -> None:
    bench = await boot()
    state = await bench.run(playbook(f"""
        - {{step: start, tool: {NUMBERS[kind] % count}, output: {output}, next: {{arcs: [{{step: look}}]}}}}
        - {{step: look, tool: {{kind: noop, result: ["{{{{ start._store }}}}", "{{{{ start.rows | length }}}}"]}}}}
    """))  # fmt: skip
    assert state.results["look"] == [store, count]


async def test_a_size_threshold_sets_the_threshold_only(boot: Boot) -> None:
    bench = await boot()
    state = await bench.run(playbook("""
        - step: start
          loop: {in: [200, 500], iterator: n}
          tool: {kind: noop, result: "{{ range(n) | list }}", output: {output_select: {strategy: size_threshold, threshold_kb: 1}}}
          next: {arcs: [{step: look}]}
        - {step: look, tool: {kind: noop, result: ["{{ start.results[0]._ref is defined }}", "{{ start.results[1]._ref is defined }}", "{{ start.results[1][499] }}"]}}
    """))  # fmt: skip
    assert state.results["look"] == [False, True, 499]


async def test_the_output_of_a_step_is_for_its_last_task(boot: Boot) -> None:
    bench = await boot()
    state = await bench.run(playbook("""
        - step: start
          output: {inline_max_bytes: 10}
          tool: [{name: a, kind: noop, result: "{{ range(50) | list }}"}, {name: b, kind: noop, result: {rows: "{{ range(60) | list }}"}}]
          next: {arcs: [{step: look}]}
        - {step: look, tool: {kind: noop, result: ["{{ start.results.a._ref is defined }}", "{{ start._ref is defined }}", "{{ start.rows | length }}", "{{ start.results.a[49] }}"]}}
    """))  # fmt: skip
    assert state.results["look"] == [False, True, 60, 49]
