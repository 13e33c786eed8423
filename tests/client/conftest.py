"""Both forms of the client, used in one way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from noetl.client import AsyncClient, Retries, SyncClient
from noetl.engine.client import Client, EventView
from tests.client.standin import StandIn

QUICK = Retries(first_s=0.001)


@pytest.fixture
def server() -> Iterator[StandIn]:
    with StandIn() as server:
        yield server


class Threaded:
    """A `SyncClient` with coroutines, each on a thread."""

    def __init__(self, client: SyncClient) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Callable[..., Any]:
        function = getattr(self._client, name)

        async def call(*args: Any, **named: Any) -> Any:
            return await asyncio.to_thread(function, *args, **named)

        return call

    async def watch(self, execution_id: str, *, after: int = 0) -> AsyncIterator[EventView]:
        events = self._client.watch(execution_id, after=after)
        while (event := await asyncio.to_thread(next, events, None)) is not None:
            yield event


Connect = Callable[..., Any]


@pytest.fixture(params=["async", "sync"])
async def connect(request: pytest.FixtureRequest) -> AsyncIterator[Connect]:
    """Makes a client of one of the two forms."""
    made: list[AsyncClient] = []

    def make(url: str, token: str | None = None, **options: Any) -> Any:
        options = {"retries": QUICK} | options
        if request.param == "sync":
            return Threaded(SyncClient(url, token, **options))
        client = AsyncClient(url, token, **options)
        made.append(client)
        return client

    yield make
    for client in made:
        await client.close()


@pytest.fixture
def client(connect: Connect, server: StandIn) -> Client:
    client: Client = connect(server.url)
    return client
