"""State machines whose real half is a world of actors on virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine

from noetl.testing.clock import VirtualLoop
from noetl.testing.world import World

T = TypeVar("T")

STEPS = settings(max_examples=150, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])


class WorldMachine(RuleBasedStateMachine):
    """Rules call `do` for what the real half does; it returns when all that follows at once has happened."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        self.world = self.wait(self._make())

    async def _make(self) -> World:
        return World()

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def settle(self) -> None:
        self.wait(self.world.settle())

    def teardown(self) -> None:
        self.wait(self.world.close())
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.settle()
        self.loop.close()
