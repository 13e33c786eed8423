"""The stream of events: each once and in order, whatever the network does."""

from __future__ import annotations

from typing import Any

import pytest

from noetl.engine.client import Client
from noetl.errors import NotFound, NotReachable, ServerFailed
from tests.client.standin import END, StandIn, body, event, page, problem, stream
from tests.client.test_calls import REPORT


async def seen(client: Client, after: int = 0) -> list[int]:
    return [event.seq async for event in client.watch("12", after=after)]


async def test_events_come_until_the_execution_has_ended(client: Client, server: StandIn) -> None:
    server.answer(stream(event(1), event(2, step="start", data={"run": 1}), ": still there\n\n", END, then="wait"))
    found = [event async for event in client.watch("12")]
    assert [(event.seq, event.step, event.data) for event in found] == [(1, None, {}), (2, "start", {"run": 1})]
    assert server.last.headers["accept"] == "text/event-stream"
    assert "last-event-id" not in server.last.headers


async def test_a_stream_begins_behind_what_is_known(client: Client, server: StandIn) -> None:
    server.answer(stream(event(8), END))
    assert await seen(client, after=7) == [8]
    assert (server.last.query, server.last.headers["last-event-id"]) == ({"after": "7"}, "7")


@pytest.mark.parametrize("broken", [stream(event(1), event(2), event(3)[:20]), stream(event(1), event(2) + event(3)[:-1])])
async def test_a_stream_that_is_lost_is_taken_up_where_it_was(client: Client, server: StandIn, broken: Any) -> None:
    server.answer(broken, problem(503), stream(event(2), event(3), END))
    assert await seen(client) == [1, 2, 3], "none twice, none is missing"
    assert [asked.headers.get("last-event-id") for asked in server.asked] == [None, "2", "2"]


async def test_one_that_breaks_again_and_again_goes_on_as_long_as_it_gets_on(client: Client, server: StandIn) -> None:
    server.answer(*(stream(event(number)) for number in range(1, 9)), stream(END))
    assert await seen(client) == list(range(1, 9))


async def test_one_that_gets_nowhere_is_given_up(client: Client, server: StandIn) -> None:
    server.answer(stream(event(1)), stream())
    with pytest.raises(NotReachable, match="it was closed"):
        await seen(client)
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        (problem(404, "there is no execution 12"), NotFound, "there is no execution 12"),
        (body({"entries": []}), ServerFailed, "answered with application/json instead of a stream"),
        (page(200, "hello"), ServerFailed, "answered with text/html instead of a stream"),
        (stream('data: {"seq": "x"}\n\n'), ServerFailed, "an event of the stream can't be read"),
    ],
)
async def test_what_is_no_stream_is_said(client: Client, server: StandIn, answer: Any, error: type[Exception], says: str) -> None:
    server.answer(answer)
    with pytest.raises(error, match=says):
        await seen(client)
    assert len(server.asked) == 1


async def test_waiting_for_the_end_gives_the_report(client: Client, server: StandIn) -> None:
    server.answer(stream(event(1), END), body(REPORT))
    assert await client.ended("12") == REPORT


async def test_waiting_ends_in_time_and_the_report_says_what_is_the_case(client: Client, server: StandIn) -> None:
    server.answer(stream(event(1), then="wait"), body(REPORT))
    assert await client.ended("12", timeout_s=0.2) == REPORT
    assert [asked.path for asked in server.asked] == ["/api/executions/12/events", "/api/executions/12"]
