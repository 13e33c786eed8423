"""Deadlines of asks: one timer for all of the same length.

Nearly every ask is answered in time, and a timer of its own would cost as much as all the rest of it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Final

from noetl.actors.ref import Reply

_TIDY_ABOVE: Final = 64


class Overdue(Exception):
    """What a reply is failed with at its deadline."""


class Deadlines:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lines: dict[float, _Line] = {}

    def add(self, limit_s: float, reply: Reply[Any]) -> None:
        """Fail the reply with `Overdue` after `limit_s`, unless it is over by then."""
        line = self._lines.get(limit_s)
        if line is None:
            line = self._lines[limit_s] = _Line(self, self._loop, limit_s)
        reply.due_s = self._loop.time() + limit_s
        line.waiting.append(reply)
        if len(line.waiting) > line.tidy_above:
            line.tidy()

    def drop(self, limit_s: float) -> None:
        del self._lines[limit_s]


class _Line:
    """Those with the same limit: who came first is due first."""

    __slots__ = ("_all", "_limit_s", "_loop", "tidy_above", "waiting")

    def __init__(self, all_: Deadlines, loop: asyncio.AbstractEventLoop, limit_s: float) -> None:
        self._all = all_
        self._loop = loop
        self._limit_s = limit_s
        self.tidy_above = _TIDY_ABOVE
        self.waiting: deque[Reply[Any]] = deque()
        loop.call_later(limit_s, self._ring)

    def tidy(self) -> None:
        """Forget those that are over: half of them at least, before it is done again."""
        self.waiting = deque(reply for reply in self.waiting if not reply.is_over)
        self.tidy_above = max(2 * len(self.waiting), _TIDY_ABOVE)

    def _ring(self) -> None:
        """Those that are due fail; the timer is set for the first of the others."""
        now = self._loop.time()
        while self.waiting and (self.waiting[0].is_over or self.waiting[0].due_s <= now):
            self.waiting.popleft().fail(Overdue())
        if self.waiting:
            self._loop.call_at(self.waiting[0].due_s, self._ring)
        else:
            self._all.drop(self._limit_s)
