"""Fixtures that several packages' tests share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from noetl.testing.clock import VirtualLoop
from noetl.testing.world import World
from tests.postgres import Postgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A real PostgreSQL for the whole run. A test that stops it starts it again."""
    with Postgres() as server:
        yield server


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Actors on virtual time."""
    made = World()
    yield made
    await made.close()


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Tests that take `world` run on virtual time, all others on a real loop."""
    if "world" in getattr(item, "fixturenames", ()):
        return {"virtual": VirtualLoop}
    return {"asyncio": asyncio.new_event_loop}
