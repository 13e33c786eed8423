"""A world for actors: a runtime on virtual time, and everything that it says, in order."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Final, TypeVar

from noetl.actors.actor import Actor, Context, Start
from noetl.actors.cell import Cell
from noetl.actors.loop import Runtime
from noetl.actors.ref import Ref
from noetl.actors.watchdog import Holder, Watchdog
from noetl.probe import Happening
from noetl.supervisors.spec import ChildSpec, SupervisorSpec
from noetl.supervisors.static import start_tree
from noetl.testing.clock import LoopClock

H = TypeVar("H")
M = TypeVar("M")

_HELD_S: Final = 1.0
"""Processor time, so that a busy machine is no false alarm."""


class World:
    """Start actors in it, tell them things, and wait for what they say.

    `next(Kind)` gives the first news of that kind that was not taken yet, and fails as soon as nothing can come any more within `patience_s` of
    virtual time.
    """

    def __init__(self, patience_s: float = 86_400.0) -> None:
        self.loop = asyncio.get_running_loop()
        self.clock = LoopClock(self.loop)
        self.runtime = Runtime(self.clock)
        self.patience_s = patience_s
        self.news: deque[Any] = deque()
        self._arrived = asyncio.Event()
        self._roots: list[Ref[Any]] = []
        self.runtime.probe.subscribe(self.tell_news)
        self._blocked: list[str] = []
        self._watchdog = Watchdog(self.loop, threshold_s=_HELD_S, cpu_only=True, blocked=self._note_block)
        self._watchdog.start()

    def tell_news(self, happening: Happening | object) -> None:
        """Add to the news: the probe's happenings, and whatever a test's actors want to say."""
        self.news.append(happening)
        self._arrived.set()

    async def start(self, start: Start[M], id_: str = "actor") -> Ref[M]:
        """Start an actor without a supervisor."""
        ref = await self.runtime.start(start, id_)
        self._roots.append(ref)
        return ref

    async def supervise(self, *children: ChildSpec | SupervisorSpec, **options: Any) -> Ref[Any]:
        """Start a supervisor called `top` over these children."""
        ref = await start_tree(self.runtime, SupervisorSpec(id="top", children=children, **options))
        self._roots.append(ref)
        return ref

    async def next(self, kind: type[H]) -> H:
        """The next news of this kind. Others that came before stay for later."""
        async with asyncio.timeout(self.patience_s):
            while True:
                for position, item in enumerate(self.news):
                    if isinstance(item, kind):
                        del self.news[position]
                        return item
                self._arrived.clear()
                await self._arrived.wait()

    def crash(self, ref: Ref[Any], error: BaseException) -> None:
        """Make the actor's next turn fail as if its handler had raised `error`."""
        assert isinstance(ref, Cell)
        ref.crash(error)

    async def settle(self) -> None:
        """Let everything that can happen now happen, without letting time pass."""
        for _ in range(50):
            await asyncio.sleep(0)

    async def pass_time(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self.settle()

    def _note_block(self, holder: Holder, seconds: float) -> None:
        self._blocked.append(f"the event loop was held for {seconds:.1f} s by {holder}\n{holder.stack}")

    async def close(self) -> None:
        """Stop everything. Fails when an actor has held the event loop: other actors would have waited for it."""
        for ref in reversed(self._roots):
            await self.runtime.stop(ref)
        self._watchdog.close()
        assert not self._blocked, "\n\n".join(self._blocked)


class Recorder(Actor[Any]):
    """An actor that tells the world what it gets."""

    def __init__(self, world: World) -> None:
        self._world = world

    def handle(self, message: Any, ctx: Context[Any]) -> None:
        self._world.tell_news(message)
