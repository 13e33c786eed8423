"""The time of one execution. It is that of the wall clock, and never goes back.

What an execution logs, and what it waits for, lie on one line. Where the wall clock is set back, or this node's is behind that of the node before,
the line goes on from the last append by the monotonic clock: nothing that was to come in a second waits until the wall clock is there again.
"""

from __future__ import annotations

import datetime as dt
from typing import Final

from noetl.clock import Clock

_ALIKE: Final = dt.timedelta(milliseconds=10)
"""What two clocks may differ by though neither has jumped."""
_NEVER: Final = dt.datetime.min.replace(tzinfo=dt.UTC)


class Timeline:
    __slots__ = ("_clock", "_reached", "_since_s")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._reached = _NEVER
        self._since_s = clock.monotonic()

    def now(self) -> dt.datetime:
        return self._at(self._clock.now())

    def reach(self, at: dt.datetime) -> None:
        """That is the time now, at least: a turn has it, or the log."""
        self._reached, self._since_s = max(at, self._reached), self._clock.monotonic()

    def moment(self, at: dt.datetime) -> float:
        """What the monotonic clock shows at that time, as seen from the time reached last: the wall clock may have jumped since."""
        return self._since_s + (at - self._reached).total_seconds()

    def woken(self, due: dt.datetime, wake_at: dt.datetime) -> None:
        """While this execution was not in memory the wall clock has gone on: what is due at `due` was to come when it shows `wake_at`."""
        self.reach(due + (self._clock.now() - wake_at))

    def on_the_wall(self, at: dt.datetime) -> dt.datetime:
        """What the wall clock will show then."""
        wall = self._clock.now()
        return at - (self._at(wall) - wall)

    def _at(self, wall: dt.datetime) -> dt.datetime:
        line = self._reached + dt.timedelta(seconds=self._clock.monotonic() - self._since_s)
        return line if line - wall > _ALIKE else max(wall, self._reached)
