"""The runtime: the run queue that gives actors their turns, on an asyncio event loop."""

from __future__ import annotations

import asyncio
import contextvars
import datetime as dt
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final, TypeVar

from noetl.actors.actor import KILLED, Reason, Start
from noetl.actors.cell import BUDGET, Cell
from noetl.actors.deadlines import Deadlines
from noetl.actors.observer import Observer, complete
from noetl.actors.ref import Ref
from noetl.actors.registry import Registry
from noetl.actors.snapshot import ALL, RuntimeView, Wanted
from noetl.actors.ties import Ties
from noetl.clock import Clock, SystemClock
from noetl.probe import Probe

if TYPE_CHECKING:
    from noetl.actors.watchdog import Watchdog

M = TypeVar("M")

_SLICE_S: Final = 0.001
"""How long actors run before the event loop has its turn."""
_EXITS: Final = 256


class Runtime:
    """One per node (and per test). All of it runs on the loop that is running when it is made."""

    def __init__(self, clock: Clock | None = None, probe: Probe | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        self.context = contextvars.copy_context()
        """In which actors have their turns: not in that of who happened to wake them."""
        self.clock: Clock = clock or SystemClock()
        self.probe = probe or Probe()
        self.registry = Registry()
        self.deadlines = Deadlines(self.loop)
        self.began_s = self.now_s = time.perf_counter()
        self.living = 0
        """Actors that have begun and not ended."""
        self.reductions = 0
        """Messages handled by all of them since the runtime began."""
        self.watchdog: Watchdog | None = None
        self.exits: deque[ExitNote] = deque(maxlen=_EXITS)
        """The last abnormal ends."""
        self.spare_ties: list[Ties] = []
        self._ready: deque[Cell[Any]] = deque()
        self._armed = False
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

    def snapshot(self, wanted: Wanted = ALL) -> RuntimeView:
        """The runtime now, in one go: `wanted` bounds the work. An `Observer` looks at trees of many thousands without holding the loop."""
        return complete(Observer(self).pieces(wanted))

    # -- for cells ----------------------------------------------------------------------------------------------------

    def schedule(self, cell: Cell[Any]) -> None:
        self._ready.append(cell)
        if not self._armed:
            self._armed = True
            self.now_s = time.perf_counter()
            self.loop.call_soon(self._pump, context=self.context)

    def is_busy(self) -> bool:
        return bool(self._ready)

    @property
    def lag_s(self) -> float | None:
        """How late the loop was in the last second, at worst; None: nobody measures it."""
        return None if self.watchdog is None else self.watchdog.lag_s

    @property
    def roots(self) -> tuple[Cell[Any], ...]:
        return tuple(self._roots)

    @property
    def queue_length(self) -> int:
        """Actors that wait for their turn."""
        return len(self._ready)

    def note_exit(self, cell: Cell[Any], reason: Reason) -> None:
        self.exits.append(ExitNote(cell, cell.incarnation, self.clock.now(), reason))

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

    def _pump(self) -> None:
        ready, clock_s = self._ready, time.perf_counter
        until = 0.0
        total = 0
        while ready:
            cell = ready.popleft()
            handled = cell.turn()
            cell.reductions += handled
            total += handled
            if not ready:
                break  # before the clock is read: that costs more than all the rest of this
            self.now_s = now_s = clock_s()
            if handled == BUDGET:
                cell.fall_behind(now_s)
            if now_s > until:
                if until:
                    self.reductions += total
                    self.loop.call_soon(self._pump, context=self.context)
                    return
                until = now_s + _SLICE_S
        self.reductions += total
        self._armed = False


class ExitNote:
    """An abnormal end, without what would keep the frames of its traceback alive."""

    __slots__ = ("_parts", "at", "cell", "incarnation")

    def __init__(self, cell: Cell[Any], incarnation: int, at: dt.datetime, reason: Reason) -> None:
        self.cell = cell
        self.incarnation = incarnation
        self.at = at
        self._parts = (type(reason), reason.args) if isinstance(reason, BaseException) else reason

    @property
    def text(self) -> str:
        """Such as `ValueError: no such thing`. What is neither text nor number stands for itself by its kind."""
        if not isinstance(self._parts, tuple):
            return repr(self._parts)
        kind, args = self._parts
        words = ", ".join(str(arg) if isinstance(arg, str | int | float) else f"<{type(arg).__name__}>" for arg in args)
        return f"{kind.__name__}: {words}" if words else kind.__name__


class _Root:
    """What is waited for of an actor without a parent."""

    __slots__ = ("ended", "ready")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.ready: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[Reason] = loop.create_future()
