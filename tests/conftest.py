"""Fixtures that several packages' tests share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from noetl.actors.watchdog import Holder, Watchdog
from noetl.testing.clock import VirtualLoop
from noetl.testing.world import World
from tests.postgres import Postgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A real PostgreSQL for the whole run. A test that stops it starts it again."""
    with Postgres() as server:
        yield server


_CLUSTERS = ("tests/cluster/", "tests/deploy/", "tests/soak/")
_STORIES = ("tests/cli/", "tests/api/test_schema.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where tests run side by side, those with clusters of processes come one after the other; so do those of a module
    that shares a node."""
    for item in items:
        if item.nodeid.startswith(_CLUSTERS):
            item.add_marker(pytest.mark.xdist_group("clusters"))
        elif item.nodeid.startswith(_STORIES):
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))


class Guard:
    """Watches the loops that tests run on, and remembers which actor held one: of the processor's time, so that a busy machine is no false alarm."""

    def __init__(self) -> None:
        self.reports: list[str] = []
        self._watchdogs: list[Watchdog] = []

    def new_loop(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()
        self._watchdogs.append(Watchdog(loop, threshold_s=1.0, cpu_only=True, blocked=self._note))
        self._watchdogs[-1].start()
        return loop

    def _note(self, holder: Holder, seconds: float) -> None:
        self.reports.append(f"the event loop was held for {seconds:.1f} s by {holder}\n{holder.stack}")

    def close(self) -> None:
        while self._watchdogs:
            self._watchdogs.pop().close()


GUARD = Guard()


@pytest.fixture(autouse=True)
def _no_actor_holds_the_loop() -> Iterator[None]:
    GUARD.reports.clear()
    yield
    GUARD.close()
    assert not GUARD.reports, "\n\n".join(GUARD.reports)


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
    return {"asyncio": GUARD.new_loop}
