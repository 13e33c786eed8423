"""Ids of executions, calls and nodes."""

from __future__ import annotations

import datetime as dt
import random
from typing import Final, NewType

from noetl.clock import Clock

ExecutionId = NewType("ExecutionId", int)
"""63 bits, ordered by time of making: 41 bits of milliseconds, 22 bits that are random at first and then count up."""

ShardId = NewType("ShardId", int)
NodeId = NewType("NodeId", str)
RunId = NewType("RunId", int)
"""One firing of a step within an execution; counts from 1."""

_EPOCH_MS: Final = 1_735_689_600_000  # 2025-01-01T00:00:00Z: 41 bits last until 2094
_TAIL_BITS: Final = 22


class ExecutionIds:
    """Makes ids that grow strictly within a process, also when the wall clock goes back."""

    def __init__(self, clock: Clock, randomness: random.Random | None = None) -> None:
        self._clock = clock
        self._random = randomness or random.Random()  # noqa: S311  not a secret: spreads the ids that several processes make in one millisecond
        self._last = 0

    def new(self) -> ExecutionId:
        now_ms = int(self._clock.now().timestamp() * 1000) - _EPOCH_MS
        candidate = (now_ms << _TAIL_BITS) | self._random.getrandbits(_TAIL_BITS - 1)
        self._last = candidate if candidate > self._last else self._last + 1
        return ExecutionId(self._last)


def first_id_of(day: dt.date) -> int:
    """No execution of that day, UTC, or a later one, has a lower id."""
    midnight = dt.datetime.combine(day, dt.time(), dt.UTC)
    return max(int(midnight.timestamp() * 1000) - _EPOCH_MS, 0) << _TAIL_BITS


def parse_execution_id(text: str) -> ExecutionId | None:
    """The id that a person typed, or None when it is not one."""
    stripped = text.strip()
    if not (stripped.isascii() and stripped.isdigit()):
        return None
    number = int(stripped)
    return ExecutionId(number) if 0 < number < 2**63 else None


def call_id(execution: ExecutionId, step: str, run: int, index: int, task: str, call: int) -> str:
    """The id of one intended call: a retry after a failure keeps it, a deliberate repeat has a new one."""
    return f"{execution}:{step}:{run}:{index}:{task}:{call}"
