"""Buses to be tested, each as several nodes see it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack

import pytest

from noetl.mailbox.transport import Transport
from noetl.mailbox.transports.jetstream import NatsBus
from noetl.mailbox.transports.local import LocalBus
from noetl.settings import NatsSettings
from tests.nats import Nats

Join = Callable[[str], Awaitable[Transport]]


@pytest.fixture(scope="session")
def shared_nats() -> Iterator[Nats]:
    with Nats() as nats:
        yield nats


@pytest.fixture
def nats() -> Iterator[Nats]:
    """A server of the test's own, which it may treat badly."""
    with Nats() as server:
        yield server


@pytest.fixture(params=["local", "jetstream"])
async def join(request: pytest.FixtureRequest) -> AsyncIterator[Join]:
    """Makes the transport of a node. All of a test share a bus."""
    local = LocalBus() if request.param == "local" else None
    server = None if local is not None else request.getfixturevalue("shared_nats")
    async with AsyncExitStack() as stack:

        async def joined(node: str) -> Transport:
            if local is not None:
                transport: Transport = local.transport(node)
            else:
                transport = await connected(server, node)
            stack.push_async_callback(transport.close)
            return transport

        yield joined


async def connected(server: Nats, node: str) -> NatsBus:
    bus = NatsBus(NatsSettings(urls=(server.url,)), node)
    await bus.connect()
    return bus
