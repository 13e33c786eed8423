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


class Streak:
    """The failures in a row of one child, and what its back-off makes of them."""

    __slots__ = ("_backoff", "_failures", "_up_since")

    def __init__(self, backoff: Backoff) -> None:
        self._backoff = backoff
        self._failures = 0
        self._up_since: float | None = None

    def began(self, now: float) -> None:
        self._up_since = now

    def failed(self, now: float, chance: float) -> float:
        """Seconds before its restart. One that was up for long enough has not failed before."""
        if self._up_since is not None and now - self._up_since >= self._backoff.reset_after_s:
            self._failures = 0
        self._failures += 1
        self._up_since = None
        return delay_s(self._backoff, self._failures, chance)
