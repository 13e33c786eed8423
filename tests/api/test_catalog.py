"""Registering playbooks, and looking at them."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.api.conftest import HELLO, Caller

BROKEN = HELLO.replace("kind: noop", "kind: noob").replace("workflow:", "workflw:\n  a: 1\nworkflow:")


async def test_a_playbook_is_registered_once_per_content_and_its_versions_count_up(api: Caller) -> None:
    first = await api.post("/api/catalog/register", {"content": HELLO})
    assert (first.status, first.body["path"], first.body["version"], first.body["new"]) == (201, "demo/hello", 1, True)
    again = await api.post("/api/catalog/register", {"content": HELLO})
    assert (again.status, again.body) == (200, {**first.body, "new": False})
    changed = await api.register(HELLO.replace("Hello", "Hi"))
    assert (changed["version"], changed["new"]) == (2, True)
    back = await api.register(HELLO)
    assert (back["version"], back["hash"], back["new"]) == (3, first.body["hash"], True), "what was registered last is what runs"


async def test_content_may_come_in_base64_and_go_to_another_path(api: Caller) -> None:
    encoded = base64.b64encode(HELLO.encode()).decode()
    answer = await api.post("/api/catalog/register", {"content_base64": encoded, "path": "/risk/score/"})
    assert (answer.status, answer.body["path"]) == (201, "risk/score")
    assert (await api.run("risk/score"))["path"] == "risk/score"


async def test_a_playbook_with_errors_is_refused_with_all_of_them_and_nothing_is_kept(api: Caller) -> None:
    answer = await api.post("/api/catalog/register", {"content": BROKEN})
    assert answer.status == 422
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert [(error["line"], error["message"]) for error in answer.body["errors"]] == [
        (6, "unknown key 'workflw' in the playbook"),
        (9, "unknown tool kind 'noob'"),
    ]
    assert answer.body["errors"][1]["hint"] == "did you mean 'noop'?"
    assert (await api.get("/api/catalog/playbook")).body == {"entries": [], "next": None}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "as 'content' or as 'content_base64'"),
        ({"content": HELLO, "content_base64": "QQ=="}, "not both"),
        ({"content_base64": "%%%"}, "no base64"),
        ({"content": HELLO, "path": "../etc/passwd"}, "no catalog path"),
        ({"content": HELLO, "path": "a//b"}, "no catalog path"),
        ({"content": 7}, "Expected `str | null`, got `int` - at `$.content`"),
    ],
)
async def test_a_request_that_can_not_be_is_refused_with_the_reason(api: Caller, body: dict[str, Any], says: str) -> None:
    answer = await api.post("/api/catalog/register", body)
    assert answer.status == 400
    assert says in answer.body["detail"]


async def test_a_version_is_shown_with_its_text_and_all_versions_are_listed(api: Caller) -> None:
    await api.register(HELLO)
    await api.register(HELLO + "# two\n", labels={"stage": "test"})
    latest = await api.get("/api/catalog/playbook/demo/hello")
    assert latest.body["content"] == HELLO + "# two\n"
    assert (latest.body["version"], latest.body["labels"], latest.body["resource_type"]) == (2, {"team": "red", "stage": "test"}, "playbook")
    assert (await api.get("/api/catalog/playbook/demo/hello?version=1")).body["content"] == HELLO
    versions = await api.get("/api/catalog/playbook/demo/hello?versions=true")
    assert [entry["version"] for entry in versions.body["entries"]] == [2, 1]
    for missing in ("demo/nobody", "demo/hello?version=9"):
        assert (await api.get(f"/api/catalog/playbook/{missing}")).status == 404


async def test_playbooks_are_listed_page_by_page(api: Caller) -> None:
    for name in "cab":
        await api.register(HELLO, path=f"demo/{name}")
    first = (await api.get("/api/catalog/playbook?limit=2")).body
    assert [entry["path"] for entry in first["entries"]] == ["demo/a", "demo/b"]
    rest = (await api.get(f"/api/catalog/playbook?limit=2&after={first['next']}")).body
    assert ([entry["path"] for entry in rest["entries"]], rest["next"]) == (["demo/c"], None)
    listed = (await api.post("/api/catalog/list", {"resource_type": "playbook"})).body
    assert [entry["path"] for entry in listed["entries"]] == ["demo/a", "demo/b", "demo/c"]


async def test_tools_are_listed_with_their_fields(api: Caller) -> None:
    tools = {entry["kind"]: entry for entry in (await api.post("/api/catalog/list", {"resource_type": "tool"})).body["entries"]}
    assert tools["http"]["available"]
    for kind in ("http", "postgres", "duckdb", "python", "playbook", "noop"):
        Draft202012Validator.check_schema(tools[kind]["input"])
        Draft202012Validator.check_schema(tools[kind]["output"])
    Draft202012Validator(tools["http"]["input"]).validate({"url": "http://localhost", "method": "GET"})
    assert not Draft202012Validator(tools["http"]["input"]).is_valid({"method": "GET"}), "a call without a url"
    assert not tools["container"]["available"]


async def test_a_script_that_is_sent_along_runs_without_its_file_and_belongs_to_the_version(api: Caller) -> None:
    text = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: scripted, path: demo/scripted}
workflow:
  - {step: start, tool: {kind: python, script: scripts/answer.py}}
"""
    await api.register(text, files={"scripts/answer.py": 'result = "{{ 6 * 7 }}"'})
    second = await api.register(text, files={"scripts/answer.py": "result = 43"})
    assert (second["version"], second["warnings"]) == (2, [])
    assert (await api.run("demo/scripted", version=1))["result"] == "{{ 6 * 7 }}", "code is no template"
    assert (await api.run("demo/scripted"))["result"] == 43
    missing = await api.register(text.replace("demo/scripted", "demo/missing"))
    assert [warning["message"] for warning in missing["warnings"]] == ["the script scripts/answer.py was not sent with the playbook"]


async def test_a_sub_playbook_is_found_in_the_catalog(api: Caller) -> None:
    await api.register(HELLO)
    await api.register("""
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: parent, path: demo/parent}
workflow:
  - {step: start, tool: {kind: playbook, path: demo/hello, payload: {name: child}}}
""")
    report = await api.run("demo/parent")
    assert report["result"].startswith("Hello, child!")
    (child,) = report["children"]
    assert (child["path"], child["parent_id"], child["status"]) == ("demo/hello", report["execution_id"], "completed")


SCHEMA = {"type": "object", "required": ["amount"], "properties": {"amount": {"type": "number", "minimum": 0}}}


async def test_a_schema_is_kept_once_per_content_and_shown_by_version(api: Caller) -> None:
    first = await api.post("/api/catalog/schema", {"name": "demo/order", "schema": SCHEMA})
    assert (first.status, first.body["version"], first.body["new"]) == (201, 1, True)
    again = await api.post("/api/catalog/schema", {"name": "/demo/order", "schema": dict(reversed(SCHEMA.items()))})
    assert (again.status, again.body["new"]) == (200, False), "the order of its keys is no difference"
    assert (await api.post("/api/catalog/schema", {"name": "demo/order", "schema": {}})).body["version"] == 2
    assert (await api.get("/api/catalog/schema/demo/order?version=1")).body["schema"] == SCHEMA
    listed = await api.post("/api/catalog/list", {"resource_type": "schema"})
    assert [(entry["name"], entry["version"]) for entry in listed.body["entries"]] == [("demo/order", 2)]
    assert (await api.get("/api/catalog/schema/demo/nothing")).status == 404


async def test_what_is_no_schema_is_refused_with_the_place(api: Caller) -> None:
    answer = await api.post("/api/catalog/schema", {"name": "demo/order", "schema": {"properties": {"amount": {"type": "nummer"}}}})
    assert answer.status == 400
    assert "schema.properties.amount.type: 'nummer' is not valid" in answer.body["detail"]


async def test_a_payload_must_fit_the_schema_that_the_playbook_names(api: Caller) -> None:
    await api.post("/api/catalog/schema", {"name": "demo/order", "schema": SCHEMA})
    await api.register(HELLO.replace("metadata: {", "metadata: {payload_schema: demo/order, "))
    refused = await api.post("/api/execute", {"path": "demo/hello", "payload": {"amount": -1}})
    assert refused.status == 400
    assert refused.body["detail"] == "the payload does not fit the schema 'demo/order', version 1: payload.amount: -1 is less than the minimum of 0"
    assert (await api.post("/api/execute", {"path": "demo/hello", "payload": {"amount": 1}})).status == 202
    await api.register(HELLO.replace("metadata: {", "metadata: {payload_schema: demo/missing, "))
    missing = await api.post("/api/execute", {"path": "demo/hello", "payload": {"amount": 1}})
    assert (missing.status, missing.body["detail"]) == (404, "there is no schema 'demo/missing' in the catalog")
