"""Credentials over the API: kept, used by playbooks, never shown."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web

from tests.api.conftest import Caller

SECRET = "s3cr3t-t0ken-abcdef"


async def test_a_credential_is_kept_listed_and_deleted_and_its_data_never_comes_back(api: Caller) -> None:
    made = await api.post(
        "/api/credentials", {"name": "crm", "type": "bearer", "data": {"token": SECRET}, "description": "the CRM", "hosts": ["crm.example"]}
    )
    assert (made.status, made.body["version"], made.body["fields"], made.body["hosts"]) == (201, 1, ["token"], ["crm.example"])
    again = await api.post("/api/credentials", {"name": "crm", "type": "bearer", "data": {"token": SECRET + "2", "colour": "red"}})
    assert (again.status, again.body["version"]) == (200, 2)
    assert again.body["warnings"], "a field that the kind does not know is kept, with a warning"
    answers = [
        made,
        again,
        await api.get("/api/credentials"),
        await api.get("/api/credentials/crm"),
        await api.post("/api/catalog/list", {"resource_type": "credential"}),
    ]
    assert [entry["name"] for entry in answers[2].body["entries"]] == ["crm"]
    assert not [answer for answer in answers if SECRET.encode() in answer.raw]
    assert (await api.call("DELETE", "/api/credentials/crm")).status == 204
    assert (await api.get("/api/credentials/crm")).status == 404
    assert (await api.call("DELETE", "/api/credentials/crm")).status == 404
    assert SECRET.encode() not in (api.node.parts.directory / "noetl.db").read_bytes() + (api.node.parts.directory / "noetl.db-wal").read_bytes()


@pytest.mark.parametrize(
    "body", [{"name": "", "type": "bearer", "data": {}}, {"name": "a\nb", "type": "bearer", "data": {}}, {"name": "a", "type": "bearer"}]
)
async def test_a_credential_that_can_not_be_is_refused(api: Caller, body: dict[str, Any]) -> None:
    assert (await api.post("/api/credentials", body)).status == 400


async def test_a_playbook_uses_what_was_registered_and_nobody_reads_it(api: Caller, aiohttp_server_url: tuple[str, list[str]]) -> None:
    url, seen = aiohttp_server_url
    await api.post("/api/credentials", {"name": "crm", "type": "bearer", "data": {"token": SECRET}})
    await api.register(f"""
apiVersion: noetl.io/v2
kind: Playbook
metadata: {{name: calls, path: demo/calls}}
workflow:
  - {{step: start, tool: {{kind: http, url: "{url}", auth: crm}}}}
""")
    report = await api.run("demo/calls")
    assert report["status"] == "completed", report["error"]
    assert seen == [f"Bearer {SECRET}"]
    events = await api.get(f"/api/executions/{report['execution_id']}/events")
    context = await api.get(f"/api/executions/{report['execution_id']}/ctx")
    assert "***" in events.raw.decode(), "the server has sent the header back"
    assert not [answer for answer in (events, context) if SECRET.encode() in answer.raw]


@pytest.fixture
async def aiohttp_server_url() -> Any:
    """A server that sends the header back, and what it has got."""
    seen: list[str] = []

    async def echo(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization", ""))
        return web.json_response({"you sent": seen[-1]})

    app = web.Application()
    app.router.add_get("/", echo)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/", seen
    await runner.cleanup()
