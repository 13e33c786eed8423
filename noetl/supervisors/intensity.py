"""How often a supervisor restarts before it gives up, and how long it waits before each restart. Pure."""

from __future__ import annotations

from collections import deque

from noetl.supervisors.spec import Backoff


class Intensity:
    """At most `intensity` restarts in any `period_s`. Times are monotonic seconds."""

    __slots__ = ("_intensity", "_period_s", "_restarts")

    def __init__(self, intensity: int, period_s: float) -> None:
        self._intensity = intensity
        self._period_s = period_s
        self._restarts: deque[float] = deque()

    def restart_allowed(self, now: float) -> bool:
        """Count one restart; False when it is one too many."""
        while self._restarts and self._restarts[0] <= now - self._period_s:
            self._restarts.popleft()
        self._restarts.append(now)
        return len(self._restarts) <= self._intensity


def delay_s(backoff: Backoff, failures: int, chance: float) -> float:
    """Seconds before the restart that follows the `failures`-th failure in a row (from 1). `chance` in [0, 1) is the jitter's draw."""
    try:
        grown = backoff.initial_s * backoff.factor ** (failures - 1)
    except OverflowError:
        grown = backoff.max_s
    return min(grown, backoff.max_s) * (1 + backoff.jitter * (2 * chance - 1))
