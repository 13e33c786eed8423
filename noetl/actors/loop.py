"""The runtime: the run queue that gives actors their turns, on an asyncio event loop."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Any, Final, TypeVar

from noetl.actors.actor import KILLED, Reason, Start
from noetl.actors.cell import Cell
from noetl.actors.ref import Ref
from noetl.actors.registry import Registry
from noetl.clock import Clock, SystemClock
from noetl.probe import Probe

M = TypeVar("M")

_SLICE_S: Final = 0.001
"""How long actors run before the event loop has its turn."""
_SPARE_DEQUES: Final = 1_024


class Runtime:
    """One per node (and per test). All of it runs on the loop that is running when it is made."""

    def __init__(self, clock: Clock | None = None, probe: Probe | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        self.clock: Clock = clock or SystemClock()
        self.probe = probe or Probe()
        self.registry = Registry()
        self._ready: deque[Cell[Any]] = deque()
        self._armed = False
        self._spare: list[deque[Any]] = []
        self._roots: dict[Cell[Any], _Root] = {}

    async def start(self, start: Start[M], id_: str, *, shutdown_s: float = 5.0) -> Ref[M]:
        """Start an actor that has no parent, and wait until it is ready. Raises what its start raises."""
        cell: Cell[M] = Cell(self, start, id_, None, shutdown_s)
        root = self._roots[cell] = _Root(self.loop)
        try:
            cell.launch()
        except Exception:
            self._roots.pop(cell, None)
            raise
        if not cell.is_ready():
            await root.ready
        return cell

    async def stop(self, ref: Ref[Any]) -> None:
        """Stop a root and wait until it has ended."""
        if isinstance(ref, Cell) and ref in self._roots:
            ended = self._roots[ref].ended
            ref.shutdown()
            await asyncio.shield(ended)

    async def ended(self, ref: Ref[Any]) -> Reason:
        """Wait until a root ends by itself; why it did."""
        root = self._roots.get(ref) if isinstance(ref, Cell) else None
        return KILLED if root is None else await asyncio.shield(root.ended)

    # -- for cells ----------------------------------------------------------------------------------------------------

    def schedule(self, cell: Cell[Any]) -> None:
        self._ready.append(cell)
        if not self._armed:
            self._armed = True
            self.loop.call_soon(self._pump)

    def is_busy(self) -> bool:
        return bool(self._ready)

    def take_deque(self) -> deque[Any]:
        return self._spare.pop() if self._spare else deque()

    def give_deque(self, spare: deque[Any]) -> None:
        if len(self._spare) < _SPARE_DEQUES:
            self._spare.append(spare)

    def root_ready(self, cell: Cell[Any]) -> None:
        root = self._roots.get(cell)
        if root is not None and not root.ready.done():
            root.ready.set_result(None)

    def root_ended(self, cell: Cell[Any], reason: Reason) -> None:
        root = self._roots.pop(cell, None)
        if root is None:
            return
        if not root.ready.done():
            root.ready.set_exception(reason if isinstance(reason, Exception) else RuntimeError(f"{cell.path} ended while starting: {reason!r}"))
            root.ready.exception()  # looked at here, since nobody waits when the start failed at once
        root.ended.set_result(reason)

    def next_cell(self) -> Cell[Any]:
        """Who has the next turn. A simulation overrides it."""
        return self._ready.popleft()

    def _pump(self) -> None:
        ready = self._ready
        until = time.perf_counter() + _SLICE_S
        while ready:
            self.next_cell().turn()
            if time.perf_counter() > until:
                self.loop.call_soon(self._pump)
                return
        self._armed = False


class _Root:
    """What is waited for of an actor without a parent."""

    __slots__ = ("ended", "ready")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.ready: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[Reason] = loop.create_future()
