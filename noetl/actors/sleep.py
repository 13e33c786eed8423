"""Passivation: an actor that is idle can be dropped. Its cell stays under its ref, with what the actor wants to keep, until something comes for it.

What is kept may be taken up by another version of the code (OTP: code change).
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, TypeVar, cast

from noetl.actors.actor import AnyActor, Context, Reason, Start
from noetl.actors.family import INIT, RUNNING, Relative
from noetl.actors.orders import Sleep
from noetl.errors import CallError
from noetl.probe import ActorPassivated

if TYPE_CHECKING:
    from noetl.actors.cell import Cell
    from noetl.actors.loop import Runtime

M = TypeVar("M")


class Kept:
    """What a passivated actor left, and the version of the code that did."""

    __slots__ = ("state", "version")

    def __init__(self, actor: AnyActor[Any], state: Any) -> None:
        self.version = actor.version
        self.state = state

    def state_for(self, actor: AnyActor[Any]) -> Any:
        return self.state if actor.version == self.version else actor.evolve(self.version, self.state)


class Sleeper(Relative[M]):
    """The part of a cell that may be without its actor."""

    __slots__ = ("_context", "_kept", "_reason", "_task", "actor")

    def __init__(self, runtime: Runtime, start: Start[M], id_: str | int, parent: Cell[Any] | None, shutdown_s: float) -> None:
        super().__init__(runtime, start, id_, parent, shutdown_s)
        self.actor: AnyActor[M] | None = None
        self._context: Context[M] | None = None
        self._kept: Kept | None = None
        self._reason: Reason | None = None
        self._task: asyncio.Task[None] | None = None

    @abstractmethod
    def hear(self, signal: Any) -> None: ...

    @abstractmethod
    def _enter(self, actor: AnyActor[M]) -> None:
        """Let an actor into the cell. Raises what a plain actor's start raises."""

    @abstractmethod
    def _begin_stop(self, reason: Reason, message: Any = None) -> None: ...

    def is_asleep(self) -> bool:
        return self._kept is not None and self._state == RUNNING

    def passivate(self) -> None:
        """Sleep, if it is idle when the handler that runs now has returned."""
        self.hear(Sleep())

    def change_code(self) -> None:
        """Let it go on, after the handler that runs now, with the code that its start gives then. Raises `CallError` for one with children."""
        if self.living_children():
            raise CallError(f"{self.path} has children: change their code, not its own")
        self.hear(Sleep(wakes_at_once=True))

    def _may_sleep(self, order: Sleep) -> bool:
        return order.wakes_at_once or not (
            self.messages or self.signals or self.living_children() or self.is_waited_for() or self._reason is not None
        )

    def _fall_asleep(self, actor: AnyActor[M], state: Any, order: Sleep) -> None:
        """Become a cell without an actor, whose next message wakes it. Nothing happens when the actor has ended meanwhile, or is about to."""
        if self.actor is not actor or self._reason is not None:
            return
        self._kept = Kept(actor, state)
        self.actor = self._context = self._task = None
        ties = self._ties
        if ties is not None:
            if ties.idle is not None:
                ties.idle.cancel()
                ties.idle = None
            self._loosen(ties)
        if ActorPassivated in self.runtime.probe.wanted:
            self.runtime.probe.emit(ActorPassivated(self.path, self.incarnation))
        if order.wakes_at_once:
            self._awake()
        elif self.messages or self.signals:
            self.runtime.schedule(cast("Cell[M]", self))
        elif self.messages is not None:
            self.rest(self.messages)

    def _awake(self) -> None:
        """Something has come for it."""
        self._state = INIT
        try:
            self._enter(self._start())
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  a crash as any other
            if self._state == INIT:
                self._begin_stop(error)

    def _watch_idleness(self, actor: AnyActor[M], idle_after_s: float, seen: int) -> None:
        """Look again and again whether something was handled since; if not, passivate."""
        if self.reductions == seen and self.messages is None and self._task is None:
            self.hear(Sleep())
        self._tie().idle = self.runtime.loop.call_later(idle_after_s, self._watch_idleness, actor, idle_after_s, self.reductions)
