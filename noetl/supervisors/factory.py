"""The supervisor of children that come and go: executions, steps. It stops them in parallel."""

from __future__ import annotations

import random
from typing import Any, ClassVar

from msgspec import Struct

from noetl.actors.actor import Actor, Context, Exit, Ready, Reason, Signal, Start, is_abnormal
from noetl.actors.ref import Ref, Reply
from noetl.errors import CallError
from noetl.probe import ChildRestarting, SupervisorGaveUp
from noetl.supervisors.intensity import Intensity, Streak
from noetl.supervisors.spec import Backoff, Restart, should_restart
from noetl.supervisors.static import GaveUp


class FactoryMessage(Struct, frozen=True):
    """Anything a factory supervisor may be told."""


class StartChild(FactoryMessage, frozen=True):
    """Start a child unless one with this id is there. `reply` gets its ref when it is ready; a start that fails is answered with the exception."""

    id: str | int
    start: Start[Any]
    reply: Reply[Ref[Any]] | None = None


class StopChild(FactoryMessage, frozen=True):
    """Shut a child down, and forget it. `reply` is answered when it has ended."""

    id: str | int
    reply: Reply[None] | None = None


class StartAgain(FactoryMessage, frozen=True):
    """To oneself: time to start a child again."""

    id: str | int
    child: Ref[Any]


class WhichChildren(FactoryMessage, frozen=True):
    reply: Reply[dict[str | int, Ref[Any]]]


class CountChildren(FactoryMessage, frozen=True):
    """Answered with how many there are, and how many of them run."""

    reply: Reply[tuple[int, int]]


FactoryInbox = StartChild | StopChild | StartAgain | WhichChildren | CountChildren


class Factory(Actor[FactoryInbox]):
    """`restart` and `backoff` hold for all children. Children that end and are not restarted are forgotten."""

    __slots__ = ("_asked", "_backoff", "_children", "_intensity", "_restart", "_shutdown_s", "_stopping", "_streaks")
    trap_exit: ClassVar[bool] = True
    capacity: ClassVar[int] = 1_000_000

    def __init__(
        self,
        *,
        restart: Restart = "temporary",
        intensity: int = 3,
        period_s: float = 5.0,
        shutdown_s: float = 5.0,
        backoff: Backoff | None = None,
    ) -> None:
        self._restart = restart
        self._intensity = Intensity(intensity, period_s)
        self._shutdown_s = shutdown_s
        self._backoff = backoff
        self._children: dict[str | int, Ref[Any]] = {}
        self._streaks: dict[str | int, Streak] = {}
        self._asked: dict[Ref[Any], list[Reply[Ref[Any]]]] = {}
        """Who waits for a child's first start."""
        self._stopping: dict[Ref[Any], list[Reply[None]]] = {}

    def handle(self, message: FactoryInbox, ctx: Context[FactoryInbox]) -> None:
        match message:
            case StartChild():
                self._start(message.id, message.start, message.reply, ctx)
            case StopChild(id, reply):
                self._stop(id, reply, ctx)
            case StartAgain(id, child):
                if self._children.get(id) is child:
                    self._respawn(id, child, ctx)
            case WhichChildren(reply):
                reply.send(dict(self._children))
            case CountChildren(reply):
                reply.send((len(self._children), sum(child.is_alive() for child in self._children.values())))

    def signal(self, signal: Signal, ctx: Context[FactoryInbox]) -> None:
        child = signal.ref
        id_ = ctx.record(child)
        if self._children.get(id_) is not child:
            return  # an exit that somebody sent
        if isinstance(signal, Ready):
            self._ready(id_, child, ctx)
        elif isinstance(signal, Exit) and not child.is_alive():
            self._ended(id_, child, signal.reason, ctx)

    def _start(self, id_: str | int, start: Start[Any], reply: Reply[Ref[Any]] | None, ctx: Context[FactoryInbox]) -> None:
        child = self._children.get(id_)
        if child is None:
            try:
                child = self._children[id_] = ctx.spawn(start, id_, shutdown_s=self._shutdown_s, record=id_)
            except Exception as error:  # noqa: BLE001  told to whoever asked
                if reply is not None:
                    reply.fail(error)
                elif SupervisorGaveUp in ctx.probe.wanted:
                    ctx.probe.emit(SupervisorGaveUp(ctx.path, str(id_), error))
                return
            if ctx.is_ready(child):
                self._ready(id_, child, ctx)
            else:
                self._asked[child] = []
        if reply is None:
            return
        if child in self._asked:
            self._asked[child].append(reply)
        else:
            reply.send(child)

    def _ready(self, id_: str | int, child: Ref[Any], ctx: Context[FactoryInbox]) -> None:
        if self._backoff is not None:
            self._streaks.setdefault(id_, Streak(self._backoff)).began(ctx.clock.monotonic())
        for reply in self._asked.pop(child, ()):
            reply.send(child)

    def _stop(self, id_: str | int, reply: Reply[None] | None, ctx: Context[FactoryInbox]) -> None:
        child = self._children.get(id_)
        replies = [] if reply is None else [reply]
        if child is not None and child.is_alive():
            self._stopping.setdefault(child, []).extend(replies)
            ctx.shutdown(child)
            return
        if child is not None:
            self._forget(id_, child, ctx)
        for waiting in replies:
            waiting.send(None)

    def _ended(self, id_: str | int, child: Ref[Any], reason: Reason, ctx: Context[FactoryInbox]) -> None:
        if child in self._stopping:
            for stopper in self._stopping.pop(child):
                stopper.send(None)
            self._never_started(child, reason)
            self._forget(id_, child, ctx)
        elif child in self._asked:
            self._never_started(child, reason)
            self._forget(id_, child, ctx)
        elif not should_restart(self._restart, abnormal=is_abnormal(reason)):
            self._forget(id_, child, ctx)
        elif (wait_s := self._wait_s(id_, reason, ctx)) is None:
            return
        elif wait_s > 0:
            ctx.send_after(wait_s, StartAgain(id_, child))
        else:
            self._respawn(id_, child, ctx)

    def _never_started(self, child: Ref[Any], reason: Reason) -> None:
        """The first start failed: that is the business of who asked for it."""
        for reply in self._asked.pop(child, ()):
            reply.fail(reason if isinstance(reason, Exception) else CallError(f"{child.path} ended while starting: {reason!r}"))

    def _forget(self, id_: str | int, child: Ref[Any], ctx: Context[FactoryInbox]) -> None:
        self._children.pop(id_, None)
        self._streaks.pop(id_, None)
        ctx.forget(child)

    def _respawn(self, id_: str | int, child: Ref[Any], ctx: Context[FactoryInbox]) -> None:
        try:
            ctx.respawn(child)
        except Exception as error:  # noqa: BLE001  a start that fails is a failure of the child
            wait_s = self._wait_s(id_, error, ctx)
            if wait_s is not None:
                ctx.send_after(wait_s, StartAgain(id_, child))  # also without a wait: a shutdown can get in between
            return
        if ctx.is_ready(child):
            self._ready(id_, child, ctx)

    def _wait_s(self, id_: str | int, reason: Reason, ctx: Context[FactoryInbox]) -> float | None:
        """How long before the restart; None: it is one too many, and the factory gives up."""
        now, wait_s = ctx.clock.monotonic(), 0.0
        if self._backoff is not None:
            wait_s = self._streaks.setdefault(id_, Streak(self._backoff)).failed(now, random.random())  # noqa: S311  jitter
        elif not self._intensity.restart_allowed(now):
            if SupervisorGaveUp in ctx.probe.wanted:
                ctx.probe.emit(SupervisorGaveUp(ctx.path, str(id_), reason))
            ctx.stop(GaveUp(ctx.path, str(id_), reason))
            return None
        if ChildRestarting in ctx.probe.wanted:
            ctx.probe.emit(ChildRestarting(ctx.path, str(id_), reason, wait_s))
        return wait_s
