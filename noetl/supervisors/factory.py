"""The supervisor of children that come and go: executions, steps. It stops them in parallel."""

from __future__ import annotations

from typing import Any, ClassVar

from msgspec import Struct

from noetl.actors.actor import Actor, Context, Exit, Reason, Signal, Start, is_abnormal
from noetl.actors.ref import Ref, Reply
from noetl.probe import ChildRestarting, SupervisorGaveUp
from noetl.supervisors.intensity import Intensity
from noetl.supervisors.spec import Restart, should_restart
from noetl.supervisors.static import GaveUp


class FactoryMessage(Struct, frozen=True):
    """Anything a factory supervisor may be told."""


class StartChild(FactoryMessage, frozen=True):
    """Start a child unless one with this id is running. `reply` gets its ref, at once; a start that fails is answered with the exception."""

    id: str | int
    start: Start[Any]
    reply: Reply[Ref[Any]] | None = None


class StopChild(FactoryMessage, frozen=True):
    id: str | int


class RestartAgain(FactoryMessage, frozen=True):
    """To oneself: a restart did not succeed."""

    id: str | int


FactoryInbox = StartChild | StopChild | RestartAgain


class Factory(Actor[FactoryInbox]):
    """`restart` holds for all children. Children that end and are not restarted are forgotten."""

    __slots__ = ("_children", "_intensity", "_restart", "_shutdown_s")
    trap_exit: ClassVar[bool] = True
    capacity: ClassVar[int] = 1_000_000

    def __init__(self, *, restart: Restart = "temporary", intensity: int = 3, period_s: float = 5.0, shutdown_s: float = 5.0) -> None:
        self._restart = restart
        self._intensity = Intensity(intensity, period_s)
        self._shutdown_s = shutdown_s
        self._children: dict[str | int, Ref[Any]] = {}

    def handle(self, message: FactoryInbox, ctx: Context[FactoryInbox]) -> None:
        match message:
            case StartChild(id, start, reply):
                self._start(id, start, reply, ctx)
            case StopChild(id):
                child = self._children.get(id)
                if child is not None:
                    ctx.shutdown(child)
            case RestartAgain(id):
                child = self._children.get(id)
                if child is not None:
                    self._respawn(id, child, ctx)

    def signal(self, signal: Signal, ctx: Context[FactoryInbox]) -> None:
        if not isinstance(signal, Exit):
            return
        id_ = ctx.record(signal.ref)
        if not should_restart(self._restart, abnormal=is_abnormal(signal.reason)):
            self._children.pop(id_, None)
            ctx.forget(signal.ref)
        elif self._allowed(id_, signal.reason, ctx):
            self._respawn(id_, signal.ref, ctx)

    def _start(self, id_: str | int, start: Start[Any], reply: Reply[Ref[Any]] | None, ctx: Context[FactoryInbox]) -> None:
        child = self._children.get(id_)
        if child is None:
            try:
                child = self._children[id_] = ctx.spawn(start, id_, shutdown_s=self._shutdown_s, record=id_)
            except Exception as error:  # noqa: BLE001  told to whoever asked
                if reply is not None:
                    reply.fail(error)
                elif ctx.probe.wanted:
                    ctx.probe.emit(SupervisorGaveUp(ctx.path, str(id_), error))
                return
        if reply is not None:
            reply.send(child)

    def _respawn(self, id_: str | int, child: Ref[Any], ctx: Context[FactoryInbox]) -> None:
        try:
            ctx.respawn(child)
        except Exception as error:  # noqa: BLE001  a start that fails is a failure of the child
            if self._allowed(id_, error, ctx):
                ctx.self_ref.report(RestartAgain(id_))

    def _allowed(self, id_: str | int, reason: Reason, ctx: Context[FactoryInbox]) -> bool:
        if self._intensity.restart_allowed(ctx.clock.monotonic()):
            if ctx.probe.wanted:
                ctx.probe.emit(ChildRestarting(ctx.path, str(id_), reason, 0.0))
            return True
        if ctx.probe.wanted:
            ctx.probe.emit(SupervisorGaveUp(ctx.path, str(id_), reason))
        ctx.stop(GaveUp(ctx.path, str(id_), reason))
        return False
