"""A thread that notices when an actor holds the event loop, says which and where, and ends the process when it never lets go.

It asks the loop to answer, again and again. What the loop is doing while it does not answer is read from the frames of its thread, so that actors
have nothing to record. A handler in C that keeps the interpreter's lock keeps this thread out, too: it is seen in the loop's lag alone.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from noetl.actors.cell import Cell
from noetl.probe import LoopBlocked

if TYPE_CHECKING:
    from noetl.actors.loop import Runtime

HUNG_STATUS: Final = 70
"""Exit status of a process whose loop was held for too long: EX_SOFTWARE of sysexits.h."""
_LAGS: Final = 20
"""Answers over which the loop's lag is taken; about a second's worth."""
_STACK_LINES: Final = 60
_STDERR: Final = 2
_DRIVERS: Final[frozenset[CodeType]] = frozenset(
    function.__code__ for function in (Cell.turn, Cell._drive, Cell._terminate, Cell.children_ended, Cell._enter)
)
_logger: Final = logging.getLogger("noetl.actors")


class Holder(Struct, frozen=True):
    """What runs on the loop's thread. `path` None: no actor."""

    path: str | None
    message: str | None
    stack: str

    def __str__(self) -> str:
        return "what is no actor" if self.path is None else self.path + (f" (handling {self.message})" if self.message else "")


class Watchdog:
    """Watches the loop on which it is started.

    A block of 1.5 times `threshold_s` is always noticed, a shorter one by chance. `blocked` is called from the thread when one is noticed, `freed`
    on the loop when it is over, with its length. Time in which the whole process stood still is not counted. `cpu_only`: what counts is not time but
    what the loop's thread has computed, so that a machine that is busy with others is no false alarm; and only actors count.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        threshold_s: float = 0.1,
        hang_s: float | None = None,
        cpu_only: bool = False,
        blocked: Callable[[Holder, float], object] = lambda holder, seconds: None,
        freed: Callable[[Holder, float], object] = lambda holder, seconds: None,
        hung: Callable[[Holder, float], object] = lambda holder, seconds: None,
    ) -> None:
        self._loop = loop
        self._threshold_s = threshold_s
        self._hang_s = hang_s
        self._cpu_only = cpu_only
        self._blocked, self._freed, self._hung = blocked, freed, hung
        self._stopping = threading.Event()
        self._answered = threading.Event()
        self._asked_at = 0.0
        self._lags: deque[float] = deque(maxlen=_LAGS)
        self._loop_thread = threading.get_ident()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    @property
    def lag_s(self) -> float | None:
        """The longest of the last answers."""
        return max(self._lags, default=None)

    def start(self) -> None:
        """Called on the loop's thread."""
        self._loop_thread = threading.get_ident()
        self._thread.start()

    def close(self) -> None:
        self._stopping.set()
        self._answered.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(self._threshold_s / 2):
            self._answered.clear()
            self._asked_at = time.perf_counter()
            try:
                self._loop.call_soon_threadsafe(self._answer)
            except RuntimeError:  # the loop is closed
                return
            self._await_answer()

    def _answer(self) -> None:
        self._lags.append(time.perf_counter() - self._asked_at)
        self._answered.set()

    def _await_answer(self) -> None:
        holder: Holder | None = None
        clock = _Clock(self._threshold_s / 2, self._loop_thread if self._cpu_only else None)
        while not self._answered.wait(self._threshold_s / 4) and not self._stopping.is_set():
            held_s = clock.read()
            if holder is None and held_s >= self._threshold_s:
                holder = holder_of(self._loop_thread)
                if holder.path is None and self._cpu_only:
                    return
                self._blocked(holder, held_s)
            if self._hang_s is not None and held_s >= self._hang_s:
                self._hung(holder_of(self._loop_thread), held_s)
        if holder is not None and not self._stopping.is_set():
            self._loop.call_soon_threadsafe(self._freed, holder, clock.read())


class _Clock:
    """Seconds since it was made. Of a step longer than `step_s` only that counts: the process stood still. With a thread: its processor time."""

    def __init__(self, step_s: float, thread: int | None) -> None:
        self._step_s = step_s
        self._clock = None if thread is None or not hasattr(time, "pthread_getcpuclockid") else time.pthread_getcpuclockid(thread)
        self._last = self._now()
        self._seconds = 0.0

    def read(self) -> float:
        now = self._now()
        self._seconds += min(now - self._last, self._step_s)
        self._last = now
        return self._seconds

    def _now(self) -> float:
        return time.perf_counter() if self._clock is None else time.clock_gettime(self._clock)


def watch(runtime: Runtime, *, threshold_s: float = 0.1, hang_s: float | None = None) -> Watchdog:
    """A watchdog that says what it finds in the log `noetl.actors` at once, to the runtime's probe as soon as it can, and measures the runtime's lag.

    With `hang_s` it ends the process (status 70) when the loop is held for so long: its parent may start it again.
    """

    def blocked(holder: Holder, seconds: float) -> None:
        _logger.warning("the event loop has been held for %.2f s by %s\n%s", seconds, holder, holder.stack)

    def freed(holder: Holder, seconds: float) -> None:
        _logger.warning("the event loop was held for %.2f s by %s", seconds, holder)
        if LoopBlocked in runtime.probe.wanted:
            runtime.probe.emit(LoopBlocked(holder.path, holder.message, seconds, holder.stack))

    def hung(holder: Holder, seconds: float) -> None:
        text = f"the event loop has been held for {seconds:.0f} s by {holder}: this process ends\n{holder.stack}"
        _logger.critical(text)
        os.write(_STDERR, f"{text}\n".encode(errors="backslashreplace"))
        os._exit(HUNG_STATUS)

    watchdog = Watchdog(runtime.loop, threshold_s=threshold_s, hang_s=hang_s, blocked=blocked, freed=freed, hung=hung)
    runtime.watchdog = watchdog
    watchdog.start()
    return watchdog


def holder_of(thread: int) -> Holder:
    """What a thread is doing now: the innermost actor on its stack."""
    top = sys._current_frames().get(thread)
    stack = "".join(traceback.format_stack(top)[-_STACK_LINES:]).rstrip() if top is not None else ""
    frame: FrameType | None = top
    while frame is not None and frame.f_code not in _DRIVERS:
        frame = frame.f_back
    if frame is None:
        return Holder(None, None, stack)
    names: dict[str, Any] = dict(frame.f_locals)
    message = names.get("message")
    return Holder(names["self"].path, None if message is None else type(message).__name__, stack)
