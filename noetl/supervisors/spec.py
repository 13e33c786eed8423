"""Supervision is data: what runs, in which order, and what happens when it fails."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

Strategy = Literal["one_for_one", "one_for_all", "rest_for_one"]
Restart = Literal["permanent", "transient", "temporary"]


class Backoff(Struct, frozen=True):
    """Wait before a restart: `initial_s`, growing by `factor` up to `max_s`, spread by `jitter` (0.1: ±10 %).

    A child that has been up for `reset_after_s` starts from `initial_s` again. Restarts with a back-off do not count against the supervisor's
    intensity.
    """

    initial_s: float = 0.2
    factor: float = 2.0
    max_s: float = 30.0
    jitter: float = 0.1
    reset_after_s: float = 60.0


class ChildSpec(Struct, frozen=True):
    """One child. `start` makes its actor: a callable without arguments.

    permanent: always restarted; transient: after an abnormal exit; temporary: never. `shutdown_s`: how long it may take to end before it is killed.
    """

    id: str
    start: Any
    restart: Restart = "permanent"
    shutdown_s: float = 5.0
    backoff: Backoff | None = None


class SupervisorSpec(Struct, frozen=True):
    """A supervisor and its children in start order. More than `intensity` restarts within `period_s` and it exits."""

    id: str
    children: tuple[ChildSpec | SupervisorSpec, ...]
    strategy: Strategy = "one_for_one"
    intensity: int = 3
    period_s: float = 5.0
    restart: Restart = "permanent"
    backoff: Backoff | None = None


def should_restart(restart: Restart, *, abnormal: bool) -> bool:
    return restart == "permanent" or (restart == "transient" and abnormal)
