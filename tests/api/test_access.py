"""Who may call what. The matrix is made from the OpenAPI document."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from typing import Any

import aiohttp
import pytest

from noetl.api.app import ROUTES
from noetl.api.openapi import document
from noetl.gateway.tokens import new_token
from noetl.settings import ApiSettings
from noetl.store.access import Role, TokenRow
from tests.api.conftest import HELLO, Caller, Serving

ROLES: tuple[Role, ...] = ("viewer", "operator", "editor", "admin")
DOCUMENT: dict[str, Any] = document(ROUTES)
OPERATIONS = [(method.upper(), path, operation) for path, methods in DOCUMENT["paths"].items() for method, operation in methods.items()]
BODIES: dict[str, Any] = {
    "/api/catalog/register": {"content": HELLO},
    "/api/catalog/list": {},
    "/api/execute": {"path": "demo/hello"},
    "/api/run/playbook": {"path": "demo/hello"},
    "/api/credentials": {"name": "n", "type": "bearer", "data": {"token": "t"}},
    "/api/context/render": {"execution_id": "1", "template": "x"},
    "/api/executions/{id}/cancel": {},
    "/api/tokens": {"name": "n"},
}


async def token_for(api: Caller, role: Role, **more: Any) -> Caller:
    store = api.node.parts.store
    assert store is not None
    token, row = new_token(f"the {role}", role, api.node.parts.clock.now(), **more)
    await store.tokens.add(row)
    return api.with_token(token)


def address(path: str) -> str:
    asked = "?execution_id=1" if path == "/api/events" else ""
    return path.replace("{id}", "1").replace("{path}", "demo/hello").replace("{name}", "n").replace("{node}", "n").replace("{hash}", "0" * 64) + asked


@pytest.fixture
async def guarded(serving: Serving) -> Caller:
    return await serving(asks_who=True)


async def test_exactly_these_routes_are_open_to_anybody(guarded: Caller) -> None:
    open_ = {(method, path) for method, path, operation in OPERATIONS if not operation["security"]}
    assert open_ == {("GET", "/health"), ("GET", "/ready"), ("GET", "/api/version"), ("GET", "/api/openapi.json")}
    for method, path, operation in OPERATIONS:
        answer = await guarded.call(method, address(path), BODIES.get(path))
        assert (answer.status == 401) == bool(operation["security"]), (method, path)
        if answer.status == 401:
            assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_every_route_asks_for_its_role_and_lets_in_who_has_it_or_more(guarded: Caller) -> None:
    callers = {role: await token_for(guarded, role) for role in ROLES}
    await callers["admin"].register(HELLO)
    for method, path, operation in OPERATIONS:
        least = operation.get("x-role")
        for role in ROLES:
            answer = await callers[role].call(method, address(path), BODIES.get(path))
            may = least is None or ROLES.index(role) >= ROLES.index(least)
            assert (answer.status != 403) == may, (method, path, role, answer.raw)


async def test_what_is_in_another_domain_is_not_there_and_nothing_goes_into_it(guarded: Caller) -> None:
    admin = await token_for(guarded, "admin")
    await admin.register(HELLO)
    execution_id = (await admin.run("demo/hello"))["execution_id"]
    own = await token_for(guarded, "editor", domains=("demo",))
    other = await token_for(guarded, "editor", domains=("risk",))
    for path in (
        "/api/catalog/playbook/demo/hello",
        "/api/catalog/playbook/demo/hello?versions=true",
        *(f"/api/executions/{execution_id}{part}" for part in ("", "/events", "/ctx")),
        f"/api/events?execution_id={execution_id}",
    ):
        assert (await own.get(path)).status == 200
        assert (await other.get(path)).status == 404
    assert (await other.get("/api/executions")).body["entries"] == []
    assert (await other.get("/api/catalog/playbook")).body["entries"] == []
    assert len((await own.get("/api/executions")).body["entries"]) == 1
    assert (await other.post("/api/execute", {"path": "demo/hello"})).status == 404
    assert (await other.post("/api/catalog/register", {"content": HELLO})).status == 403
    assert (await other.post("/api/catalog/register", {"content": HELLO, "path": "risk/hello"})).status == 201
    assert (await other.post(f"/api/executions/{execution_id}/cancel", {})).status == 404
    for path in ("/api/actors", f"/api/artifacts/{'0' * 64}"):
        assert (await other.get(path)).status == 403
    store = guarded.node.parts.store
    assert store is not None
    denied = [row for row in await store.audit.latest() if row.outcome == "denied"]
    assert [(row.actor, row.action, row.subject) for row in denied] == [("the editor", "catalog.register", "demo/hello")]


async def test_a_token_that_is_forged_expired_or_revoked_is_not_valid(guarded: Caller) -> None:
    now = guarded.node.parts.clock.now()
    good, row = new_token("good", "viewer", now)
    expired, old = new_token("old", "viewer", now - dt.timedelta(hours=2), ttl_s=3600)
    revoked, gone = new_token("gone", "viewer", now)
    store = guarded.node.parts.store
    assert store is not None
    for each in (row, old, gone):
        await store.tokens.add(each)
    await store.tokens.revoke(gone.id, now)
    assert (await guarded.with_token(good).get("/api/nodes")).status == 200
    forged = (
        good[:-1] + ("A" if good[-1] != "A" else "B"),
        "",
        "noetl_",
        good.upper(),
        f"{good} {good}",
        "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9.",
    )
    for token in (expired, revoked, *forged):
        answer = await guarded.with_token(token).get("/api/nodes")
        assert (answer.status, answer.body["detail"]) == (401, "the token is not valid"), token
    basic = await guarded.get("/api/nodes", headers={"Authorization": f"Basic {good}"})
    assert basic.status == 401
    assert all(
        token.encode() not in (guarded.node.parts.directory / name).read_bytes() for token in (good, expired) for name in ("noetl.db", "noetl.db-wal")
    )


async def test_an_admin_makes_tokens_that_hold_until_they_are_revoked_and_gives_away_no_domains_of_others(guarded: Caller) -> None:
    admin = await token_for(guarded, "admin")
    made = await admin.post("/api/tokens", {"name": "Ada", "role": "operator", "domains": ["demo"], "ttl_s": 60})
    assert (made.status, made.body["about"]["domains"], made.body["about"]["created_by"]) == (201, ["demo"], "the admin")
    ada = guarded.with_token(made.body["token"])
    assert (await ada.get("/api/executions")).status == 200
    assert (await ada.post("/api/tokens", {"name": "Eve"})).status == 403
    of_demo = await token_for(guarded, "admin", domains=("demo",))
    for domains in ([], ["*"], ["demo", "risk"]):
        assert (await of_demo.post("/api/tokens", {"name": "Eve", "domains": domains})).status == 403
    assert [entry["name"] for entry in (await of_demo.get("/api/tokens")).body["entries"]] == ["Ada", "the admin"]
    assert len((await admin.get("/api/tokens")).body["entries"]) == 3
    assert (await admin.call("DELETE", f"/api/tokens/{made.body['about']['id']}")).status == 204
    assert (await ada.get("/api/executions")).status == 401
    assert (await admin.call("DELETE", "/api/tokens/nobody")).status == 404
    audit = (await admin.get("/api/audit")).body["entries"]
    assert [(entry["actor"], entry["action"]) for entry in audit] == [("the admin", "token.revoke"), ("the admin", "token.make")]
    assert (await of_demo.get("/api/audit")).status == 403


@pytest.mark.parametrize(
    "path",
    [
        "/x/../api/nodes",
        "/api/nodes/",
        "//api/nodes",
        "/api//nodes",
        "/api/nodes;x=1",
        "/api%2fnodes",
        "/api/nodes%00",
        "/health/../api/nodes",
        "/api/nodes/health",
        "/health/x",
        "/API/NODES",
        "/api/nodes.",
    ],
)
async def test_no_spelling_of_an_address_gets_around_the_token(guarded: Caller, path: str) -> None:
    """Sent byte by byte: a client would tidy it up."""
    status, body = await raw(guarded, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert status in (400, 401, 404), (path, status)
    assert b'"entries"' not in body


@pytest.mark.parametrize(
    "request_text",
    [
        "HEAD /api/nodes HTTP/1.1\r\nHost: localhost\r\n",
        "GET /api/nodes HTTP/1.1\r\nHost: localhost\r\nX-HTTP-Method-Override: POST\r\nX-Original-URL: /health\r\n",
        "GET /api/events?execution_id=1 HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
        "GET http://localhost/api/nodes HTTP/1.1\r\nHost: localhost\r\n",
    ],
)
async def test_no_kind_of_request_gets_around_the_token(guarded: Caller, request_text: str) -> None:
    status, body = await raw(guarded, f"{request_text}\r\n")
    assert status in (400, 401, 404, 405)
    assert b'"entries"' not in body


async def test_a_node_without_login_answers_only_to_names_of_this_machine_and_to_no_page_of_another_origin(api: Caller) -> None:
    """DNS rebinding, and forms on pages of the web."""
    for host in ("localhost", "127.0.0.1:8082", "[::1]:8082"):
        assert (await api.get("/health", headers={"Host": host})).status == 200
    assert (await api.get("/api/nodes", headers={"Host": "evil.example"})).status == 403
    own = f"http://127.0.0.1:{api.url.rpartition(':')[2]}"
    assert (await api.get("/api/nodes", headers={"Origin": own})).status == 200
    assert (await api.get("/api/nodes", headers={"Origin": "http://evil.example"})).status == 403
    form = await api.call("POST", "/api/execute", data=b'{"path": "demo/hello"}', headers={"Content-Type": "text/plain"})
    assert form.status == 415


async def test_a_body_that_is_too_large_or_does_not_end_is_refused(serving: Serving) -> None:
    api = await serving(api=ApiSettings(body_max_bytes=1_000, read_timeout_s=0.2))
    large = await api.post("/api/catalog/register", {"content": "x" * 2_000})
    assert large.status == 413
    head = "POST /api/execute HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    status, body = await raw(api, head)
    assert status == 408
    assert json.loads(body)["detail"] == "the body did not come within 0.2 s"


async def test_more_requests_than_may_be_under_way_are_told_to_come_again(serving: Serving) -> None:
    api = await serving(api=ApiSettings(requests_max=1))
    await api.register(HELLO)
    answers = await asyncio.gather(*(api.post("/api/execute", {"path": "demo/hello"}) for _ in range(10)))
    assert {answer.status for answer in answers} == {202, 429}
    assert all(answer.headers["Retry-After"] == "1" for answer in answers if answer.status == 429)


async def test_a_node_that_drains_takes_nothing_new_and_says_so(api: Caller) -> None:
    await api.register(HELLO)
    serving = api.node.parts.serving
    assert serving is not None
    serving.draining = True
    assert (await api.get("/ready")).status == 503
    refused = await api.post("/api/execute", {"path": "demo/hello"})
    assert (refused.status, refused.headers["Retry-After"]) == (503, "5")
    assert (await api.get("/api/executions")).status == 200


async def test_a_store_that_fails_is_a_503_and_not_a_bug(api: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    from noetl.errors import LogUnavailable

    async def fails(*_: Any) -> TokenRow:
        raise LogUnavailable("the disk is full")

    store = api.node.parts.store
    assert store is not None
    monkeypatch.setattr(store.executions, "list_executions", fails)
    answer = await api.get("/api/executions")
    assert (answer.status, answer.headers["Retry-After"], answer.body["detail"]) == (503, "1", "the disk is full")


async def raw(api: Caller, text: str) -> tuple[int, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(api.url.rpartition(":")[2]))
    try:
        writer.write(text.encode())
        async with asyncio.timeout(10):
            head = await reader.readuntil(b"\r\n\r\n")
            length = next((int(line.partition(b":")[2]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
            return int(head.split()[1]), b"" if text.startswith("HEAD") else await reader.readexactly(length)
    finally:
        writer.close()


async def test_answers_that_have_not_changed_are_not_sent_again_and_large_ones_are_packed(api: Caller) -> None:
    await api.register(HELLO)
    first = await api.get("/api/catalog/playbook/demo/hello")
    again = await api.get("/api/catalog/playbook/demo/hello", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status, again.raw) == (304, b"")
    await api.register(HELLO + "# changed")
    assert (await api.get("/api/catalog/playbook/demo/hello", headers={"If-None-Match": first.headers["ETag"]})).status == 200
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        answer = await Caller(session, api.node).get("/api/openapi.json", headers={"Accept-Encoding": "gzip"})
        tools = await Caller(session, api.node).post("/api/catalog/list", {"resource_type": "tool"}, headers={"Accept-Encoding": "gzip"})
    assert tools.headers["Content-Encoding"] == "gzip"
    assert answer.status == 200


async def test_unknown_keys_of_a_body_are_ignored_and_named(api: Caller) -> None:
    await api.register(HELLO)
    answer = await api.post("/api/execute", {"path": "demo/hello", "paylod": {}, "zeile\n2": 1})
    assert answer.status == 202
    assert answer.headers.getall("Warning") == ['299 - "unknown key paylod was ignored"', '299 - "unknown key zeile?2 was ignored"']
