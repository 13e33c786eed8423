"""Saying what happens, without knowing who listens.

Code emits; exporters, the command line and tests subscribe. Emitting costs one attribute read when nobody listens.
"""

from __future__ import annotations

from collections.abc import Callable
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


class Probe:
    """Hands what is emitted to every listener, in the order of subscription, in the emitter's own call."""

    __slots__ = ("_listeners", "wanted")

    def __init__(self) -> None:
        self._listeners: tuple[Listener, ...] = ()
        self.wanted = False

    def emit(self, happening: Happening) -> None:
        for listener in self._listeners:
            listener(happening)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Listen from now on. Returns the function that ends it."""
        self._listeners = (*self._listeners, listener)
        self.wanted = True

        def unsubscribe() -> None:
            self._listeners = tuple(other for other in self._listeners if other is not listener)
            self.wanted = bool(self._listeners)

        return unsubscribe
