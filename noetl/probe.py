"""Saying what happens, without knowing who listens.

Code emits; exporters, the command line and tests subscribe. What nobody wants to hear of costs one look.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any

from msgspec import Struct


class Happening(Struct, frozen=True):
    """The base of everything that can be emitted."""


class ActorStarted(Happening, frozen=True):
    path: str
    incarnation: int


class ActorExited(Happening, frozen=True):
    """`reason` is an exit reason word or the exception; `message` is what it was handling, as far as it is known."""

    path: str
    incarnation: int
    reason: Any
    message: Any = None


class ActorCrashed(Happening, frozen=True):
    """An actor ends abnormally: what a report needs, as references. `is_late`: its parent is ending already."""

    path: str
    incarnation: int
    actor: Any
    message: Any
    """What it was handling; the Exit of a linked actor when it ends because of that."""
    reason: Any
    parent: str | None
    is_late: bool


class ExitHandled(Happening, frozen=True):
    """An actor was told of the abnormal end of a child, and has done about it what it does."""

    path: str
    child: str


class ActorPassivated(Happening, frozen=True):
    """It sleeps: only its role and what it keeps are left, until something comes for it."""

    path: str
    incarnation: int


class ActorActivated(Happening, frozen=True):
    """Something has come, and it is awake again."""

    path: str
    incarnation: int


class ChildRestarting(Happening, frozen=True):
    supervisor: str
    child: str
    reason: Any
    delay_s: float


class SupervisorGaveUp(Happening, frozen=True):
    """More restarts than its intensity allows: it exits, and its own supervisor decides."""

    supervisor: str
    child: str
    reason: Any


class TaskDisowned(Happening, frozen=True):
    """A task of an actor that has ended goes on (`outcome` None), or has failed since. It has no effect on the actor's next incarnation."""

    path: str
    outcome: Any = None


class MailboxAtBound(Happening, frozen=True):
    """A mailbox has no room for a message. Said once, until the mailbox was empty again."""

    path: str
    capacity: int
    overflow: str
    """What becomes of messages now: `reject` or `drop_oldest`."""


class LoopBlocked(Happening, frozen=True):
    """A handler held the event loop; said when it is free again. `path` None: what held it was no actor. `stack` is as it was when noticed."""

    path: str | None
    message: str | None
    """Kind of what it was handling, as far as it is known."""
    blocked_s: float
    stack: str


Listener = Callable[[Happening], None]


class _All:
    """The kinds of happenings that somebody wants to hear of who wants to hear of all."""

    def __contains__(self, kind: object) -> bool:
        return True


class Probe:
    """Hands what is emitted to who wants it, in the order of subscription, in the emitter's own call.

    Who emits asks first: `if ActorExited in probe.wanted: probe.emit(ActorExited(…))`. Most of it is wanted by nobody, and then it is not even made.
    """

    __slots__ = ("_listeners", "wanted")

    def __init__(self) -> None:
        self._listeners: tuple[tuple[Listener, frozenset[type[Happening]]], ...] = ()
        self.wanted: Container[type[Happening]] = frozenset()

    def emit(self, happening: Happening) -> None:
        kind = type(happening)
        for listener, kinds in self._listeners:
            if not kinds or kind in kinds:
                listener(happening)

    def subscribe(self, listener: Listener, *kinds: type[Happening]) -> Callable[[], None]:
        """Listen from now on, to some kinds or to all. Returns the function that ends it."""
        entry = listener, frozenset(kinds)
        self._listen((*self._listeners, entry))
        return lambda: self._listen(tuple(other for other in self._listeners if other is not entry))

    def _listen(self, listeners: tuple[tuple[Listener, frozenset[type[Happening]]], ...]) -> None:
        self._listeners = listeners
        self.wanted = frozenset().union(*(kinds for _, kinds in listeners)) if all(kinds for _, kinds in listeners) else _All()
