"""What can be seen of a runtime at one moment, as plain data; and what two moments say together. Pure.

Taken by `noetl.actors.observer`. Guide: docs/guides/observing.md.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Final, Literal

from msgspec import Struct

ActorState = Literal["starting", "running", "asleep", "stopping", "dead"]
Sort = Literal["tree", "mailbox", "rate", "reductions", "restarts", "memory"]
"""Which children come first: in the order of their start, or those with most of something."""
SORTS: Final[tuple[Sort, ...]] = ("tree", "mailbox", "rate", "reductions", "restarts", "memory")


class Wanted(Struct, frozen=True):
    """Which part of the tree is to be seen."""

    sort: Sort = "tree"
    limit: int = 1_000
    """Children of one actor that are listed; of the others it is only said how many they are."""
    depth: int | None = None
    """Levels below the roots. None: all."""
    expanded: tuple[str, ...] | None = None
    """Paths of actors whose children are listed. None: of all."""
    detail: str | None = None
    """Path of an actor of which everything is to be said."""


ALL: Final = Wanted()


class ActorView(Struct, frozen=True):
    """One actor."""

    id: str
    path: str
    kind: str
    """Name of its class; of one that has ended, what it was started with last is not known any more: empty."""
    state: ActorState
    waiting: int
    """Messages in its mailbox, signals not counted."""
    signals: int
    capacity: int
    at_bound: bool
    oldest_s: float
    """How long the oldest message waits; 0 when none does. Exact when the actor had nothing to do before it came. Under a backlog it is an upper
    bound, too high by at most the time in which the actor handles as many messages as wait. Counts real seconds, also on virtual time."""
    reductions: int
    """Messages and signals that it has handled, over all incarnations."""
    restarts: int
    last_exit: str | None
    """Why it last ended abnormally, if that was not too many crashes of the runtime ago."""
    links: int
    monitors: int
    """Actors that watch it, and that it watches."""
    memory_bytes: int
    """Estimate: the actor's own objects one level deep, and its mailbox; what they refer to further down is not counted."""
    child_count: int
    children: tuple[ActorView, ...] = ()
    """Those that are listed."""


class ExitView(Struct, frozen=True):
    """An abnormal end."""

    at: dt.datetime
    incarnation: int
    reason: str


class ActorDetail(Struct, frozen=True):
    """What else can be said of one actor. Lists are cut."""

    path: str
    incarnation: int
    overflow: str
    exits: tuple[ExitView, ...]
    """The newest last."""
    links: tuple[str, ...]
    watched_by: tuple[str, ...]
    watching: tuple[str, ...]
    timers: int
    tasks: int
    asking: tuple[str, ...]
    """Whose answers its handler waits for."""
    waiting: tuple[tuple[str, int], ...]
    """Kind -> how many, of the messages at the head of the mailbox."""


class RuntimeView(Struct, frozen=True):
    """A runtime at one moment."""

    at_s: float
    """Monotonic seconds, for differences."""
    uptime_s: float
    actors: int
    queue_length: int
    """Actors that wait for their turn."""
    reductions: int
    lag_s: float | None
    """How late the event loop was in the last second, at worst. None: nobody measures it."""
    roots: tuple[ActorView, ...]
    detail: ActorDetail | None = None

    def every(self) -> Iterator[ActorView]:
        """All actors that are listed, parents first."""
        stack = list(reversed(self.roots))
        while stack:
            actor = stack.pop()
            yield actor
            stack.extend(reversed(actor.children))


class Rates(Struct, frozen=True):
    """Messages handled in a second."""

    total: float
    of: dict[str, float]
    """By path."""


def rates(before: RuntimeView, after: RuntimeView) -> Rates:
    """An actor that is not in `before` is not in the result. One that has fewer reductions than before is a new one of the same name: all count."""
    seconds = after.at_s - before.at_s
    if seconds <= 0:
        return Rates(0.0, {})
    earlier = {actor.path: actor.reductions for actor in before.every()}
    found = {actor.path: _gain(earlier[actor.path], actor.reductions) / seconds for actor in after.every() if actor.path in earlier}
    return Rates((after.reductions - before.reductions) / seconds, found)


def _gain(before: int, after: int) -> int:
    return after - before if after >= before else after
