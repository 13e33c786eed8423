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
    """A killed actor's handler did not stop; whatever it still does is ignored."""

    path: str
    outcome: Any = None


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
