"""Supervision is data: what runs, in which order, and what happens when it fails. A spec that can't be meant is refused when it is made."""

from __future__ import annotations

from typing import Any, Literal, get_args

from msgspec import Struct

Strategy = Literal["one_for_one", "one_for_all", "rest_for_one"]
Restart = Literal["permanent", "transient", "temporary"]
AutoShutdown = Literal["never", "any_significant", "all_significant"]


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

    def __post_init__(self) -> None:
        _require(self.initial_s >= 0, f"initial_s is a time, not {self.initial_s}")
        _require(self.factor >= 1, f"factor is {self.factor}: a back-off does not shrink, it is at least 1")
        _require(self.max_s >= self.initial_s, f"max_s is {self.max_s}: it is at least initial_s, {self.initial_s}")
        _require(0 <= self.jitter <= 1, f"jitter is {self.jitter}: it is a part between 0 and 1")
        _require(self.reset_after_s >= 0, f"reset_after_s is a time, not {self.reset_after_s}")


class ChildSpec(Struct, frozen=True):
    """One child. `start` makes its actor: a callable without arguments.

    permanent: always restarted; transient: after an abnormal exit; temporary: never. `shutdown_s`: how long it may take to end before it is killed;
    0 is at once, inf for ever. `significant`: its end, when it is not restarted, may be that of its supervisor (`auto_shutdown`).
    """

    id: str
    start: Any
    restart: Restart = "permanent"
    shutdown_s: float = 5.0
    backoff: Backoff | None = None
    significant: bool = False

    def __post_init__(self) -> None:
        _check_child(self)
        _require(callable(self.start), f"start of child '{self.id}' is not callable")
        _require(self.shutdown_s >= 0, f"shutdown_s of child '{self.id}' is a time, not {self.shutdown_s}")


class SupervisorSpec(Struct, frozen=True):
    """A supervisor and its children in start order. More than `intensity` restarts within `period_s` and it exits.

    `auto_shutdown`: it ends with `shutdown` when any, or the last, of its significant children has ended by itself and is not restarted.
    """

    id: str
    children: tuple[ChildSpec | SupervisorSpec, ...]
    strategy: Strategy = "one_for_one"
    intensity: int = 3
    period_s: float = 5.0
    restart: Restart = "permanent"
    backoff: Backoff | None = None
    significant: bool = False
    auto_shutdown: AutoShutdown = "never"

    def __post_init__(self) -> None:
        _check_child(self)
        _require(self.strategy in get_args(Strategy), f"strategy of supervisor '{self.id}' is '{self.strategy}': {_words(Strategy)}")
        _require(
            self.auto_shutdown in get_args(AutoShutdown), f"auto_shutdown of supervisor '{self.id}' is '{self.auto_shutdown}': {_words(AutoShutdown)}"
        )
        _require(self.intensity >= 0, f"intensity of supervisor '{self.id}' is {self.intensity}: it is at least 0")
        _require(self.period_s > 0, f"period_s of supervisor '{self.id}' is {self.period_s}: it is more than 0")
        check_siblings(self, self.children)


def check_siblings(supervisor: SupervisorSpec, children: tuple[ChildSpec | SupervisorSpec, ...]) -> None:
    """Whether these may be the children of one supervisor. Raises `ValueError`."""
    seen: set[str] = set()
    for child in children:
        _require(child.id not in seen, f"children of supervisor '{supervisor.id}': two have the id '{child.id}'")
        seen.add(child.id)
        _require(
            not child.significant or supervisor.auto_shutdown != "never",
            f"significant of child '{child.id}': the auto_shutdown of its supervisor '{supervisor.id}' is 'never'",
        )


def should_restart(restart: Restart, *, abnormal: bool) -> bool:
    return restart == "permanent" or (restart == "transient" and abnormal)


def _check_child(spec: ChildSpec | SupervisorSpec) -> None:
    _require(spec.restart in get_args(Restart), f"restart of '{spec.id}' is '{spec.restart}': {_words(Restart)}")
    _require(
        not spec.significant or spec.restart != "permanent",
        f"significant of '{spec.id}': a permanent child is always restarted, so its end says nothing",
    )


def _words(literal: Any) -> str:
    return "it is one of " + ", ".join(get_args(literal))


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise ValueError(otherwise)
