"""What is asked again, when, and what never is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from noetl.client import Retries
from noetl.client.attempts import Attempts
from noetl.engine.client import Client, CredentialRequest, ExecuteRequest, Registration, RenderRequest
from noetl.errors import NoetlError, NotFound, NotReachable, ServerFailed
from tests.client.conftest import Connect
from tests.client.standin import StandIn, body, hang_up, problem
from tests.client.test_calls import ACCEPTED, REPORT

BUSY = ServerFailed("busy", status=503)
LOST = NotReachable("lost", url="http://h", sent=True)


@pytest.mark.parametrize("failure", [problem(503), problem(429), hang_up()])
async def test_a_question_is_asked_again(client: Client, server: StandIn, failure: Any) -> None:
    server.answer(failure, failure, body(REPORT))
    assert await client.execution("12") == REPORT
    assert len(server.asked) == 3


async def test_not_for_ever(client: Client, server: StandIn) -> None:
    server.answer(problem(503, "no store"))
    with pytest.raises(ServerFailed, match="no store"):
        await client.execution("12")
    assert len(server.asked) == 3


@pytest.mark.parametrize("failure", [problem(503), hang_up()])
async def test_an_execution_is_started_once_however_often_it_is_asked_for(client: Client, server: StandIn, failure: Any) -> None:
    server.answer(failure, body(ACCEPTED))
    await client.execute(ExecuteRequest(path="a"))
    first, second = (asked.body["idempotency_key"] for asked in server.asked)
    assert first == second
    assert len(first) == 32
    await client.execute(ExecuteRequest(path="a"))
    assert server.last.body["idempotency_key"] != first, "another wish is another execution"


CHANGES: dict[str, Callable[[Any], Awaitable[Any]]] = {
    "register": lambda it: it.register(Registration(content="")),
    "cancel": lambda it: it.cancel("12"),
    "put_credential": lambda it: it.put_credential(CredentialRequest(name="a", type="b", data={})),
    "delete_credential": lambda it: it.delete_credential("a"),
}


@pytest.mark.parametrize("name", CHANGES)
async def test_what_would_be_done_twice_is_not_asked_again(client: Client, server: StandIn, name: str) -> None:
    server.answer(problem(503))
    with pytest.raises(ServerFailed):
        await CHANGES[name](client)
    assert len(server.asked) == 1


async def test_when_the_connection_is_lost_it_is_not_known_whether_it_was_done(client: Client, server: StandIn) -> None:
    server.answer(hang_up())
    with pytest.raises(NotReachable, match=rf"^the connection to {server.url} was lost: ") as found:
        await client.register(Registration(content=""))
    assert found.value.sent
    assert len(server.asked) == 1


async def test_rendering_changes_nothing_and_is_asked_again(client: Client, server: StandIn) -> None:
    server.answer(hang_up(), body({"rendered": 1}))
    assert (await client.render(RenderRequest(execution_id="12", template=""))).rendered == 1


async def test_a_server_that_asks_for_a_long_time_is_not_waited_for(connect: Connect, server: StandIn) -> None:
    server.answer(problem(503, "later", headers={"Retry-After": "11"}))
    with pytest.raises(ServerFailed, match="later"):
        await connect(server.url).execution("12")
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("error", "at_least", "at_most"),
    [(BUSY, 0.08, 0.12), (LOST, 0.08, 0.12), (ServerFailed("", status=429, retry_after_s=3.0), 3.0, 3.0)],
)
def test_the_first_retry_waits_a_moment_or_as_long_as_it_is_asked(error: NoetlError, at_least: float, at_most: float) -> None:
    assert at_least <= Attempts(Retries()).delay_s(error) <= at_most


def test_each_retry_waits_twice_as_long() -> None:
    attempts = Attempts(Retries(attempts=4))
    first, second, third = (attempts.delay_s(BUSY) for _ in range(3))
    assert first <= 0.12
    assert 0.16 <= second <= 0.24
    assert third >= 0.32
    with pytest.raises(ServerFailed):
        attempts.delay_s(BUSY)


@pytest.mark.parametrize("error", [NotFound("no"), ServerFailed("bug", status=500)])
def test_what_stays_so_is_not_asked_again(error: NoetlError) -> None:
    with pytest.raises(type(error)):
        Attempts(Retries()).delay_s(error)
