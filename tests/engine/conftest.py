"""A node in the test's own process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from noetl.clock import Clock
from noetl.engine.execution import ExecutionAdvanced
from noetl.engine.state import State
from noetl.ids import ExecutionId
from noetl.node.boot import Node, known_left, running_node
from noetl.node.profile import load_profile
from noetl.probe import Happening
from noetl.settings import EngineSettings, Settings

Boot = Callable[..., Awaitable["Bench"]]


class Bench:
    """A running node, what it says, and a folder for its playbooks."""

    def __init__(self, node: Node, folder: Path) -> None:
        self.node = node
        self.client = node.client
        self.left = known_left(node)
        self.folder = folder
        self.heard: list[Happening] = []
        self._arrived = asyncio.Event()
        node.probe.subscribe(self._hear)

    async def start(self, text: str, payload: dict[str, Any] | None = None, name: str = "test") -> ExecutionId:
        file = self.folder / f"{name}.yaml"
        file.write_text(text)
        return await self.client.start(await self.client.load(file), payload)

    async def run(self, text: str, payload: dict[str, Any] | None = None) -> State:
        return await self.client.ended(await self.start(text, payload))

    async def until(self, wanted: Callable[[Any], bool]) -> Any:
        """Wait until something was said for which `wanted` holds."""
        looked = 0
        while True:
            for happening in self.heard[looked:]:
                if wanted(happening):
                    return happening
            looked = len(self.heard)
            self._arrived.clear()
            await self._arrived.wait()

    async def until_event(self, kind: type[Any], **fields: Any) -> Any:
        """Wait until an event of that kind, with these fields, was committed."""

        def matches(event: Any) -> bool:
            return isinstance(event, kind) and all(getattr(event, name) == value for name, value in fields.items())

        happening = await self.until(lambda heard: isinstance(heard, ExecutionAdvanced) and any(matches(event) for event in heard.events))
        return next(event for event in happening.events if matches(event))

    def _hear(self, happening: Happening) -> None:
        self.heard.append(happening)
        self._arrived.set()


@pytest.fixture
async def boot(tmp_path: Path) -> AsyncIterator[Boot]:
    """Boots nodes on the store in the test's folder; stops them in reverse order."""
    async with AsyncExitStack() as stack:

        async def start(
            store: str | None = None, settings: Settings | None = None, environment: dict[str, str] | None = None, clock: Clock | None = None
        ) -> Bench:
            quick = settings or Settings(engine=EngineSettings(inbox_poll_s=0.05))
            running = running_node(load_profile("solo"), quick, home=tmp_path / "home", store=store, environment=environment or {}, clock=clock)
            return Bench(await stack.enter_async_context(running), tmp_path)

        yield start
