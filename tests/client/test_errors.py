"""What goes wrong is raised as it would be in the server's process."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from noetl.client import Retries
from noetl.engine.client import Client, ExecuteRequest, Registration
from noetl.errors import AskTimeout, BadRequest, Invalid, NotAllowed, NotAuthenticated, NotFound, NotReachable, ServerFailed
from tests.client.conftest import Connect
from tests.client.standin import StandIn, body, page, problem

ONCE = Retries(attempts=1)


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, NotAuthenticated), (403, NotAllowed), (404, NotFound), (400, BadRequest), (409, NotAllowed), (413, BadRequest), (422, BadRequest)],
)
async def test_a_problem_is_the_error_of_its_status(client: Client, server: StandIn, status: int, error: type[Exception]) -> None:
    server.answer(problem(status, "there is no execution 12"))
    with pytest.raises(error) as found:
        await client.execution("12")
    assert str(found.value) == "there is no execution 12"
    assert len(server.asked) == 1


async def test_a_problem_without_a_detail_is_told_by_its_title(client: Client, server: StandIn) -> None:
    server.answer(problem(404))
    with pytest.raises(NotFound, match=r"^status 404$"):
        await client.execution("12")


async def test_a_rejected_playbook_has_all_its_problems(client: Client, server: StandIn) -> None:
    one = {
        "message": "unknown key 'tol'",
        "line": 7,
        "column": 5,
        "path": "workflow[0].tol",
        "key": "tol",
        "hint": "did you mean 'tool'?",
        "file": None,
    }
    server.answer(problem(422, "the playbook has 2 errors", errors=[one, one | {"line": 9, "hint": None, "new": 1}]))
    with pytest.raises(Invalid) as found:
        await client.register(Registration(content="text"))
    assert str(found.value) == "<playbook>:7:5: unknown key 'tol' (and 1 more)"
    assert [(each.line, each.hint) for each in found.value.problems] == [(7, "did you mean 'tool'?"), (9, None)]


async def test_errors_of_another_shape_are_told_by_the_detail(client: Client, server: StandIn) -> None:
    server.answer(problem(422, "path: expected a text", errors=[{"detail": "x", "pointer": "#/path"}]))
    with pytest.raises(BadRequest, match="path: expected a text"):
        await client.execute(ExecuteRequest(path="a"))


@pytest.mark.parametrize("status", [429, 500, 502, 503])
async def test_what_the_server_could_not_do_says_when_to_ask_again(connect: Connect, server: StandIn, status: int) -> None:
    server.answer(problem(status, "the store can't be written", headers={"Retry-After": "7"}))
    with pytest.raises(ServerFailed, match=rf"^{server.url} answered {status}: the store can't be written$") as found:
        await connect(server.url, retries=ONCE).execution("12")
    assert (found.value.status, found.value.retry_after_s) == (status, 7.0)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (page(404, "<h1>Not Found</h1>"), r"answered 404 \(text/html\): is it a NoETL server\?"),
        (page(502, "upstream  is\ndown", "text/plain"), r"answered 502 \(upstream is down\): is it a NoETL server\?"),
        (page(301, "", headers={"Location": "https://else/where"}), "answered 301: it is at https://else/where now"),
        (page(200, "<h1>Welcome</h1>"), r"the answer can't be read: .*\. Is it a NoETL server\?"),
        (page(404, "no JSON", "application/problem+json"), r"answered 404 \(application/problem\+json\)"),
        (body({"status": "ok"}), "the answer can't be read: Invalid enum value 'ok' - at"),
    ],
)
async def test_something_else_on_that_port_is_told_from_a_server(client: Client, server: StandIn, answer: Any, says: str) -> None:
    server.answer(answer)
    with pytest.raises(ServerFailed, match=says) as found:
        await client.execution("12")
    assert server.url in str(found.value)


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port on which connections are accepted, and nothing is ever said."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield taken.getsockname()[1]


async def test_a_server_that_is_not_there_is_named_with_how_to_start_one(connect: Connect, closed_port: int) -> None:
    url = f"http://127.0.0.1:{closed_port}"
    with pytest.raises(NotReachable) as found:
        await connect(url).execution("12")
    assert str(found.value) == (
        f"no server at {url}: connection refused. Start one with `noetl node start solo`, or say where it is (--url, NOETL_URL)"
    )
    assert (found.value.url, found.value.sent) == (url, False)


async def test_a_host_that_has_no_address_is_named(connect: Connect) -> None:
    with pytest.raises(NotReachable, match=r"^no server at http://nowhere\.invalid:1: "):
        await connect("http://nowhere.invalid:1").execution("12")


async def test_a_server_that_does_not_speak_tls_is_named(connect: Connect, server: StandIn) -> None:
    url = server.url.replace("http:", "https:")
    with pytest.raises(NotReachable, match=rf"^no server at {url}: .*ssl"):
        await connect(url).execution("12")


async def test_a_server_that_does_not_answer_is_not_asked_again(connect: Connect, silent_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("noetl.client.call.TIMEOUT_S", 0.2)
    with pytest.raises(AskTimeout, match=rf"^http://127.0.0.1:{silent_port} did not answer within 0.2 s$"):
        await connect(f"http://127.0.0.1:{silent_port}").execution("12")
