"""Virtual time: an event loop whose clock jumps to the next timer when there is nothing else to do."""

from __future__ import annotations

import asyncio
import datetime as dt
import selectors
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, Final, TypeVar, TypeVarTuple, Unpack

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

START: Final = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


class _JumpingSelector(selectors.DefaultSelector):
    """Instead of waiting for a timer it moves the loop's clock to it. While threads work for the loop it waits for them first."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.threads_busy = 0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None or self.threads_busy:
            return super().select(None if timeout is None else 0.01)
        self.now_s += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio loop on virtual time. Sockets and processes are on real time: don't mix them with timers."""

    def __init__(self) -> None:
        self._virtual = _JumpingSelector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now_s

    def run_in_executor(self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts) -> asyncio.Future[T]:
        future = super().run_in_executor(executor, func, *args)
        self._virtual.threads_busy += 1

        def done(_: asyncio.Future[Any]) -> None:
            self._virtual.threads_busy -= 1

        future.add_done_callback(done)
        return future


class LoopClock:
    """A clock that shows the loop's time; the wall clock starts at the beginning of 2026 and can be set."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.offset_s = 0.0
        """Seconds by which the wall clock is off. Set it to make the clock jump."""

    def now(self) -> dt.datetime:
        return START + dt.timedelta(seconds=self._loop.time() + self.offset_s)

    def monotonic(self) -> float:
        return self._loop.time()
