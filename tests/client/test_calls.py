"""What is sent, and what is made of the answer: the same for both forms of the client."""

from __future__ import annotations

import datetime as dt
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from noetl.client import AsyncClient, SyncClient
from noetl.client import __all__ as exported
from noetl.engine import client as api
from noetl.engine.client import Client
from tests.client.conftest import Connect
from tests.client.standin import StandIn, body, event

AT = dt.datetime(2026, 11, 24, tzinfo=dt.UTC)
REGISTERED = api.Registered(path="a/b", version=1, hash="h", new=True)
ENTRY = {"path": "a/b", "version": 1, "hash": "h", "labels": {}, "registered_at": AT, "registered_by": "me"}
PLAYBOOK = api.PlaybookContent(**ENTRY, content="text", files={"a.py": "1"})
ACCEPTED = api.Accepted(execution_id="12", status="pending", path="a/b", version=1)
VIEW: dict[str, Any] = {
    "execution_id": "12",
    "path": "a/b",
    "version": 1,
    "status": "completed",
    "requested_at": AT,
    "started_at": AT,
    "ended_at": AT,
    "requested_by": "me",
    "labels": {},
    "parent_id": None,
    "error": None,
}
REPORT = api.ExecutionReport(**VIEW, result=7, steps={"start": api.StepView(status="completed", runs=1, result=7)})
CREDENTIAL = api.CredentialView(
    name="pg/main", type="postgres", version=1, fields=("host",), domains=(), hosts=(), description="", created_at=AT, updated_at=AT, updated_by="me"
)
EVENTS = api.EventList(execution_id="12", entries=(msgspec.json.decode(event(1).split("data: ")[1], type=api.EventView),))
Ask = Callable[[Any], Awaitable[Any]]

CALLS: dict[str, tuple[Ask, Any, str, dict[str, str], Any]] = {
    "register": (
        lambda it: it.register(api.Registration(content="text", files={"a.py": "1"})),
        REGISTERED,
        "POST /api/catalog/register",
        {},
        {"content": "text", "files": {"a.py": "1"}},
    ),
    "playbooks": (
        lambda it: it.playbooks(limit=2, after="a"),
        api.PlaybookList(entries=(api.PlaybookEntry(**ENTRY),)),
        "GET /api/catalog/playbook",
        {"limit": "2", "after": "a"},
        None,
    ),
    "versions": (lambda it: it.versions("a/b"), api.PlaybookList(entries=()), "GET /api/catalog/playbook/a/b", {"versions": "true"}, None),
    "playbook": (lambda it: it.playbook("a/b"), PLAYBOOK, "GET /api/catalog/playbook/a/b", {}, None),
    "playbook of odd name": (lambda it: it.playbook("/a b/ü?#", 3), PLAYBOOK, "GET /api/catalog/playbook/a%20b/%C3%BC%3F%23", {"version": "3"}, None),
    "tools": (
        lambda it: it.tools(),
        api.ToolList(entries=(api.ToolEntry(kind="noop", available=True, description="", input={}, output={}),)),
        "POST /api/catalog/list",
        {},
        {"resource_type": "tool", "limit": 1000, "after": None},
    ),
    "execute": (
        lambda it: it.execute(api.ExecuteRequest(path="a/b", payload={"x": {"y": 1}}, merge=True, idempotency_key="k")),
        ACCEPTED,
        "POST /api/execute",
        {},
        {"path": "a/b", "payload": {"x": {"y": 1}}, "merge": True, "idempotency_key": "k"},
    ),
    "executions": (
        lambda it: it.executions(api.ExecutionFilter(status="failed", label="team=a&b", since=AT, limit=5)),
        api.ExecutionList(entries=(api.ExecutionView(**VIEW),), next="11"),
        "GET /api/executions",
        {"status": "failed", "label": "team=a&b", "since": "2026-11-24T00:00:00Z", "limit": "5"},
        None,
    ),
    "execution": (lambda it: it.execution("12"), REPORT, "GET /api/executions/12", {}, None),
    "cancel": (
        lambda it: it.cancel("12", "enough"),
        api.Cancelled(execution_id="12", status="running"),
        "POST /api/executions/12/cancel",
        {},
        {"reason": "enough"},
    ),
    "context": (
        lambda it: it.context("12"),
        api.ExecutionContext(execution_id="12", workload={"a": 1}, ctx={}, steps={}),
        "GET /api/executions/12/ctx",
        {},
        None,
    ),
    "events": (lambda it: it.events("12", after=3, limit=9), EVENTS, "GET /api/executions/12/events", {"after": "3", "limit": "9"}, None),
    "render": (
        lambda it: it.render(api.RenderRequest(execution_id="12", template="{{ a }}")),
        api.Rendered(rendered=[1, None]),
        "POST /api/context/render",
        {},
        {"execution_id": "12", "template": "{{ a }}"},
    ),
    "put_credential": (
        lambda it: it.put_credential(api.CredentialRequest(name="pg/main", type="postgres", data={"host": "h"})),
        CREDENTIAL,
        "POST /api/credentials",
        {},
        {"name": "pg/main", "type": "postgres", "data": {"host": "h"}},
    ),
    "credentials": (lambda it: it.credentials(), api.CredentialList(entries=(CREDENTIAL,)), "GET /api/credentials", {}, None),
    "credential": (lambda it: it.credential("pg/main"), CREDENTIAL, "GET /api/credentials/pg%2Fmain", {}, None),
    "pools": (lambda it: it.pools(), api.PoolList(entries=()), "GET /api/worker/pools", {}, None),
    "nodes": (lambda it: it.nodes(), api.NodeList(entries=()), "GET /api/nodes", {}, None),
    "drain_node": (lambda it: it.drain_node("w/1"), api.Draining("w/1"), "POST /api/nodes/w%2F1/drain", {}, None),
}


@pytest.mark.parametrize("name", CALLS)
async def test_a_call_is_sent_and_its_answer_read(client: Client, server: StandIn, name: str) -> None:
    ask, expected, line, query, sent = CALLS[name]
    server.answer(body(expected))
    assert await ask(client) == expected
    asked = server.last
    assert (f"{asked.method} {asked.path}", asked.query, asked.body) == (line, query, sent)
    assert asked.headers["accept"] == "application/json"
    assert ("content-type" in asked.headers) == (sent is not None)


async def test_a_deletion_answers_nothing(client: Client, server: StandIn) -> None:
    server.answer(body(None, 204))
    assert await client.delete_credential("pg") is None  # type: ignore[func-returns-value]
    assert (server.last.method, server.last.path) == ("DELETE", "/api/credentials/pg")


async def test_the_token_is_sent_and_none_when_there_is_none(connect: Connect, server: StandIn) -> None:
    server.answer(body(REPORT))
    await connect(server.url, "secret").execution("12")
    assert server.last.headers["authorization"] == "Bearer secret"
    await connect(server.url).execution("12")
    assert "authorization" not in server.last.headers


async def test_a_server_may_be_below_a_path(connect: Connect, server: StandIn) -> None:
    server.answer(body(REPORT))
    await connect(f"{server.url}/noetl/").execution("12")
    assert server.last.path == "/noetl/api/executions/12"


async def test_a_newer_server_may_say_more(client: Client, server: StandIn) -> None:
    server.answer(body(msgspec.to_builtins(ACCEPTED) | {"mood": "good"}))
    assert await client.execute(api.ExecuteRequest(path="a")) == ACCEPTED


@pytest.mark.parametrize("url", ["", "localhost:8082", "ftp://h", "http://", "http://h:99999", "http://h?x=1", "http://a..b"])
@pytest.mark.parametrize("form", [SyncClient, AsyncClient])
def test_what_is_no_url_is_refused_at_once(form: type, url: str) -> None:
    with pytest.raises(ValueError, match=r"no URL|has no user|out of range|no name of a host"):
        form(url)


def test_a_password_in_a_url_is_not_repeated() -> None:
    with pytest.raises(ValueError, match="has no user") as found:
        SyncClient("http://me:hunter2@host:1")
    assert "hunter2" not in str(found.value)


@pytest.mark.parametrize("token", ["a\nb", " a", "ü"])
@pytest.mark.parametrize("form", [SyncClient, AsyncClient])
def test_a_token_that_can_not_be_sent_is_refused_at_once(form: type, token: str) -> None:
    with pytest.raises(ValueError, match="a token is of visible ASCII characters") as found:
        form("http://host", token)
    assert token not in str(found.value)


def test_both_forms_can_do_all_that_a_client_can() -> None:
    wanted = {name for name in vars(Client) if not name.startswith("_")}
    for form in (AsyncClient, SyncClient):
        assert wanted <= set(vars(form))

    def typed(client: AsyncClient) -> Client:
        return client  # mypy compares the signatures

    assert typed is not None


def test_the_package_exports_its_few_words() -> None:
    assert exported == ["DEFAULT_URL", "AsyncClient", "Retries", "SyncClient"]
