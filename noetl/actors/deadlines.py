"""Deadlines of asks: one timer for all of the same length.

Nearly every ask is answered in time, and a timer of its own would cost as much as all the rest of it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Final

from noetl.actors.ref import Ref, Reply

_TIDY_ABOVE: Final = 64


class Deadlines:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lines: dict[float, _Line] = {}

    def add(self, limit_s: float, reply: Reply[Any], asked: Ref[Any]) -> None:
        """Fail the reply after `limit_s`, unless it is over by then."""
        line = self._lines.get(limit_s)
        if line is None:
            line = self._lines[limit_s] = _Line(self, self._loop, limit_s)
        line.add(reply, asked)

    def drop(self, limit_s: float) -> None:
        del self._lines[limit_s]


class _Line:
    """Those with the same limit: who came first is due first."""

    __slots__ = ("_all", "_limit_s", "_loop", "_tidy_above", "_waiting")

    def __init__(self, all_: Deadlines, loop: asyncio.AbstractEventLoop, limit_s: float) -> None:
        self._all = all_
        self._loop = loop
        self._limit_s = limit_s
        self._tidy_above = _TIDY_ABOVE
        self._waiting: deque[tuple[float, Reply[Any], Ref[Any]]] = deque()
        loop.call_later(limit_s, self._ring)

    def add(self, reply: Reply[Any], asked: Ref[Any]) -> None:
        waiting = self._waiting
        while waiting and waiting[0][1].is_over:
            waiting.popleft()
        waiting.append((self._loop.time() + self._limit_s, reply, asked))
        if len(waiting) > self._tidy_above:
            self._waiting = deque(entry for entry in waiting if not entry[1].is_over)
            self._tidy_above = max(2 * len(self._waiting), _TIDY_ABOVE)

    def _ring(self) -> None:
        """Those that are due fail; the timer is set for the first of the others."""
        waiting, now = self._waiting, self._loop.time()
        while waiting and (waiting[0][1].is_over or waiting[0][0] <= now):
            _, reply, asked = waiting.popleft()
            reply.expire(asked.path, self._limit_s)
        if waiting:
            self._loop.call_at(waiting[0][0], self._ring)
        else:
            self._all.drop(self._limit_s)
