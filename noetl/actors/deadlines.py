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
        """Fail the reply with `Overdue` when it is due, unless it is over by then. That is `limit_s` from now."""
        line = self._lines.get(limit_s)
        if line is None:
            line = self._lines[limit_s] = _Line(self, self._loop, limit_s)
        line.append(reply)
        if len(line) > line.tidy_above:
            line.tidy()

    def drop(self, limit_s: float) -> None:
        del self._lines[limit_s]


class _Line(deque[Reply[Any]]):
    """Those with the same limit: who came first is due first."""

    __slots__ = ("_all", "_limit_s", "_loop", "tidy_above")

    def __init__(self, all_: Deadlines, loop: asyncio.AbstractEventLoop, limit_s: float) -> None:
        super().__init__()
        self._all = all_
        self._limit_s = limit_s
        self._loop = loop
        self.tidy_above = _TIDY_ABOVE
        loop.call_later(limit_s, self._ring)

    def tidy(self) -> None:
        """Forget those that are over, before they are twice as many again."""
        waiting = [reply for reply in self if (future := reply.future) is not None and not future.done()]
        self.clear()
        self.extend(waiting)
        self.tidy_above = max(2 * len(waiting), _TIDY_ABOVE)

    def _ring(self) -> None:
        """Those that are due fail; the timer is set for the first of the others."""
        now = self._loop.time()
        while self and (self[0].is_over or self[0].due_s <= now):
            self.popleft().fail(Overdue())
        if self:
            self._loop.call_at(self[0].due_s, self._ring)
        else:
            self._all.drop(self._limit_s)
