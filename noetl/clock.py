"""Time, handed in: nothing that decides or waits reads the system clock itself."""

from __future__ import annotations

import datetime as dt
import time
from pathlib import Path
from typing import Protocol


class Clock(Protocol):
    """A source of time. Tests replace it; see `noetl.testing.clock`."""

    def now(self) -> dt.datetime:
        """The wall clock, aware, UTC. May jump."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start. Never goes back."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now(self) -> dt.datetime:
        return dt.datetime.now(dt.UTC)

    def monotonic(self) -> float:
        return time.monotonic()


class OffsetClock(SystemClock):
    """The machine's clocks, but the wall clock is off by the seconds that a file says now; while there is no such file it is right. So a test makes
    the wall clock of a running node jump."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def now(self) -> dt.datetime:
        return super().now() + dt.timedelta(seconds=self._offset_s())

    def _offset_s(self) -> float:
        try:
            return float(self._file.read_text())
        except (OSError, ValueError):
            return 0.0
