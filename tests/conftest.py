"""Fixtures that several packages' tests share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from noetl.actors.watchdog import Holder, Watchdog
from noetl.testing.clock import VirtualLoop
from noetl.testing.world import World
from tests.postgres import Postgres

settings.register_profile("noetl", deadline=None)  # how long something takes is for `bench/`; a busy machine is no failure
settings.load_profile("noetl")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A real PostgreSQL for the whole run. A test that stops it starts it again."""
    with Postgres() as server:
        yield server


_CLUSTERS = ("tests/cluster/", "tests/deploy/", "tests/soak/")
_STORIES = ("tests/cli/", "tests/api/test_schema.py")


class Groups(LoadScopeScheduling):
    """Spreads tests over processes. Those with clusters of processes come one after the other; so do those of a module that shares a node."""

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith(_CLUSTERS):
            return "clusters"
        return nodeid.partition("::")[0] if nodeid.startswith(_STORIES) else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Groups:
    return Groups(config, log)


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
