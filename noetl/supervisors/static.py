"""The supervisor of children that are named in advance: one_for_one, one_for_all, rest_for_one. Some may be added while it runs."""

from __future__ import annotations

import random
from functools import partial
from typing import Any, ClassVar, Literal

from msgspec import Struct

from noetl.actors.actor import SHUTDOWN, Actor, Context, Exit, Ready, Reason, Signal, is_abnormal
from noetl.actors.loop import Runtime
from noetl.actors.ref import Ref, Reply
from noetl.errors import CallError
from noetl.probe import ChildRestarting, SupervisorGaveUp
from noetl.supervisors.intensity import Intensity, Streak
from noetl.supervisors.spec import ChildSpec, SupervisorSpec, check_siblings, should_restart


class GaveUp(Exception):
    """A supervisor gave up: a child failed more often than its intensity allows, or could not be started."""

    def __init__(self, supervisor: str, child: str, reason: Reason) -> None:
        super().__init__(f"{supervisor} gave up on '{child}': {reason!r}")
        self.child = child
        self.reason = reason


class ChildCount(Struct, frozen=True):
    """`active` of the `specs` run now; `supervisors` and `workers` are of the specs."""

    specs: int
    active: int
    supervisors: int
    workers: int


class SupervisorMessage(Struct, frozen=True):
    """Anything a static supervisor may be told."""


class StartAgain(SupervisorMessage, frozen=True):
    """To oneself: time to start a child again. A message, so that a shutdown can get in between. Only the last one of a child counts."""

    id: str
    number: int


class WhichChildren(SupervisorMessage, frozen=True):
    reply: Reply[dict[str, Ref[Any] | None]]


class CountChildren(SupervisorMessage, frozen=True):
    reply: Reply[ChildCount]


class StartChild(SupervisorMessage, frozen=True):
    spec: ChildSpec | SupervisorSpec
    reply: Reply[Ref[Any]]


class ChangeChild(SupervisorMessage, frozen=True):
    id: str
    what: Literal["terminate", "restart", "delete"]
    reply: Reply[Any]


SupervisorInbox = StartAgain | WhichChildren | CountChildren | StartChild | ChangeChild


async def which_children(supervisor: Ref[SupervisorInbox], timeout_s: float = 5.0) -> dict[str, Ref[Any] | None]:
    """Id -> ref of each child in start order; None for one that does not run now."""
    return await supervisor.ask(WhichChildren, timeout_s)


async def count_children(supervisor: Ref[SupervisorInbox], timeout_s: float = 5.0) -> ChildCount:
    return await supervisor.ask(CountChildren, timeout_s)


async def start_child(supervisor: Ref[SupervisorInbox], spec: ChildSpec | SupervisorSpec, timeout_s: float = 5.0) -> Ref[Any]:
    """Add a child behind the others and start it. Raises what its start raises, and forgets it then; `CallError`: there is one with this id."""
    return await supervisor.ask(lambda reply: StartChild(spec, reply), timeout_s)


async def terminate_child(supervisor: Ref[SupervisorInbox], id_: str, timeout_s: float = 5.0) -> None:
    """Shut a child down and wait for its end. It stays known, unless it is temporary. Raises `CallError`: there is none with this id."""
    await supervisor.ask(lambda reply: ChangeChild(id_, "terminate", reply), timeout_s)


async def restart_child(supervisor: Ref[SupervisorInbox], id_: str, timeout_s: float = 5.0) -> Ref[Any]:
    """Start a child that does not run. Raises what its start raises; `CallError`: there is none with this id, or it runs."""
    return await supervisor.ask(lambda reply: ChangeChild(id_, "restart", reply), timeout_s)


async def delete_child(supervisor: Ref[SupervisorInbox], id_: str, timeout_s: float = 5.0) -> None:
    """Forget a child that does not run. Raises `CallError`: there is none with this id, or it runs."""
    await supervisor.ask(lambda reply: ChangeChild(id_, "delete", reply), timeout_s)


async def start_tree(runtime: Runtime, spec: SupervisorSpec) -> Ref[SupervisorInbox]:
    """Start a supervision tree and wait until all of it is ready. Raises `GaveUp` when a child does not start."""
    return await runtime.start(partial(Supervisor, spec), spec.id, shutdown_s=float("inf"))


class _Child:
    """What a supervisor remembers of one child."""

    __slots__ = ("held", "is_new", "is_supervisor", "number", "place", "ref", "spec", "starter", "streak", "terminators")

    def __init__(self, place: int, spec: ChildSpec | SupervisorSpec) -> None:
        self.place = place
        self.is_supervisor = isinstance(spec, SupervisorSpec)
        self.spec = _as_child(spec)
        self.ref: Ref[Any] | None = None
        self.is_new = False
        """Added, and never ran."""
        self.held = False
        """Due to start, but not before its `StartAgain` comes."""
        self.number = 0
        """Of its last `StartAgain`."""
        self.streak = None if spec.backoff is None else Streak(spec.backoff)
        self.starter: Reply[Ref[Any]] | None = None
        """Who has asked for its start."""
        self.terminators: list[Reply[Any]] = []

    @property
    def alive(self) -> bool:
        return self.ref is not None and self.ref.is_alive()


class Supervisor(Actor[SupervisorInbox]):
    """Starts its children in order, stops them in reverse order, restarts what fails.

    Whatever happens becomes two lists: the children that must end, last one first, and those that are due to start, first one first. `_proceed` works
    them off, one child at a time.
    """

    __slots__ = ("_announced", "_children", "_due", "_ending", "_intensity", "_spec", "_starting")
    trap_exit: ClassVar[bool] = True
    stop_in_order: ClassVar[bool] = True

    def __init__(self, spec: SupervisorSpec) -> None:
        self._spec = spec
        self._children = [_Child(place, child) for place, child in enumerate(spec.children)]
        self._intensity = Intensity(spec.intensity, spec.period_s)
        self._ending: list[_Child] = []
        self._due: list[_Child] = list(self._children)
        self._starting: _Child | None = None
        self._announced = False

    def init(self, ctx: Context[SupervisorInbox]) -> None:
        ctx.defer_ready()
        self._proceed(ctx)

    def handle(self, message: SupervisorInbox, ctx: Context[SupervisorInbox]) -> None:
        match message:
            case StartAgain(id, number):
                child = self._child(id)
                if child is not None and child.number == number:
                    child.held = False
            case WhichChildren(reply):
                reply.send({child.spec.id: child.ref if child.alive else None for child in self._children})
            case CountChildren(reply):
                reply.send(self._count())
            case StartChild(spec, reply):
                self._add(spec, reply)
            case ChangeChild(id, what, reply):
                try:
                    self._change(id, what, reply, ctx)
                except CallError as error:
                    reply.fail(error)
        self._proceed(ctx)

    def signal(self, signal: Signal, ctx: Context[SupervisorInbox]) -> None:
        child = next((child for child in self._children if child.ref is signal.ref), None)
        if child is None:
            return  # an exit that somebody sent
        if isinstance(signal, Ready) and child is self._starting:
            self._started(child, ctx)
        elif isinstance(signal, Exit) and not child.alive:
            self._ended(child, signal.reason, ctx)
        self._proceed(ctx)

    def _child(self, id_: str) -> _Child | None:
        return next((child for child in self._children if child.spec.id == id_), None)

    def _count(self) -> ChildCount:
        supervisors = sum(child.is_supervisor for child in self._children)
        specs = len(self._children)
        return ChildCount(specs, sum(child.alive for child in self._children), supervisors, specs - supervisors)

    # -- working off ----------------------------------------------------------------------------------------------------

    def _proceed(self, ctx: Context[SupervisorInbox]) -> None:
        """Do what can be done now: end the last child that must end, or start the first that is due."""
        while self._starting is None and not ctx.is_stopping:
            if self._ending:
                last = max(self._ending, key=lambda child: child.place)
                if last.ref is not None:
                    ctx.shutdown(last.ref)
                return
            child = self._next_due()
            if child is None:
                break
            self._due.remove(child)
            self._start(child, ctx)
        if not self._due and self._starting is None and not (self._announced or ctx.is_stopping):
            self._announced = True
            ctx.ready()

    def _next_due(self) -> _Child | None:
        """The first child that may start. One that is held holds those behind it, unless each stands for itself."""
        for child in self._due:
            if not child.held:
                return child
            if self._spec.strategy != "one_for_one":
                return None
        return None

    def _start(self, child: _Child, ctx: Context[SupervisorInbox]) -> None:
        try:
            if child.ref is None:
                child.ref = ctx.spawn(child.spec.start, child.spec.id, shutdown_s=child.spec.shutdown_s)
            else:
                ctx.respawn(child.ref)
        except Exception as error:  # noqa: BLE001  a start that fails is a failure of the child
            self._start_failed(child, error, ctx)
            return
        self._starting = child
        if ctx.is_ready(child.ref):
            self._started(child, ctx)

    def _started(self, child: _Child, ctx: Context[SupervisorInbox]) -> None:
        self._starting = None
        child.is_new = False
        if child.streak is not None:
            child.streak.began(ctx.clock.monotonic())
        if child.starter is not None and child.ref is not None:
            child.starter.send(child.ref)
            child.starter = None

    # -- what becomes of a child that has ended -------------------------------------------------------------------------

    def _ended(self, child: _Child, reason: Reason, ctx: Context[SupervisorInbox]) -> None:
        was_starting = child is self._starting
        if was_starting:
            self._starting = None
        if child in self._ending:
            self._ending.remove(child)
            self._stopped(child, ctx)
        elif was_starting:
            self._start_failed(child, reason, ctx)
        elif should_restart(child.spec.restart, abnormal=is_abnormal(reason)):
            self._failed(child, reason, ctx)
        else:
            self._finished(child, ctx)

    def _stopped(self, child: _Child, ctx: Context[SupervisorInbox]) -> None:
        """It has ended because this supervisor wanted it."""
        terminators, child.terminators = child.terminators, []
        for reply in terminators:
            reply.send(None)
        if child.spec.restart == "temporary":
            self._forget(child, ctx)

    def _start_failed(self, child: _Child, reason: Reason, ctx: Context[SupervisorInbox]) -> None:
        if child.starter is not None:
            self._refuse_start(child, reason, ctx)
        elif not self._announced:
            self._give_up(child, reason, ctx)
        elif self._may_restart(child, reason, ctx) and not child.held:
            child.held = True  # tried again by a message, so that a shutdown can get in between
            ctx.self_ref.report(StartAgain(child.spec.id, child.number))

    def _failed(self, child: _Child, reason: Reason, ctx: Context[SupervisorInbox]) -> None:
        """A child that was up has ended and must come back, with those that the strategy ties to it."""
        if not self._may_restart(child, reason, ctx):
            return
        for other in self._tied_to(child):
            if other.ref is not None and not other.ref.is_dead() and other not in self._ending:
                self._ending.append(other)  # also one that is ending by itself: what starts again must not start beside it
            self._make_due(other)  # one that is temporary is forgotten when it has ended

    def _finished(self, child: _Child, ctx: Context[SupervisorInbox]) -> None:
        """A child has ended by itself and does not come back."""
        if child.spec.restart == "temporary":
            self._forget(child, ctx)
        if child.spec.significant and (self._spec.auto_shutdown == "any_significant" or not self._has_significant()):
            ctx.stop(SHUTDOWN)

    def _has_significant(self) -> bool:
        return any(child.spec.significant and (child.alive or child in self._due) for child in self._children)

    def _may_restart(self, child: _Child, reason: Reason, ctx: Context[SupervisorInbox]) -> bool:
        """Make the child due, now or after its back-off; or give up."""
        now = ctx.clock.monotonic()
        if child.streak is None and not self._intensity.restart_allowed(now):
            self._give_up(child, reason, ctx)
            return False
        child.number += 1
        wait_s = 0.0
        if child.streak is not None:
            wait_s = child.streak.failed(now, random.random())  # noqa: S311  jitter
            child.held = True
            ctx.send_after(wait_s, StartAgain(child.spec.id, child.number))
        if ChildRestarting in ctx.probe.wanted:
            ctx.probe.emit(ChildRestarting(ctx.path, child.spec.id, reason, wait_s))
        self._make_due(child)
        return True

    def _make_due(self, child: _Child) -> None:
        if child not in self._due:
            self._due.append(child)
            self._due.sort(key=lambda due: due.place)

    def _tied_to(self, child: _Child) -> list[_Child]:
        """Those that end and start with it. As in OTP also those that do not run at the moment."""
        if self._spec.strategy == "one_for_one":
            return []
        return [other for other in self._children if other is not child and (self._spec.strategy == "one_for_all" or other.place > child.place)]

    def _give_up(self, child: _Child, reason: Reason, ctx: Context[SupervisorInbox]) -> None:
        if SupervisorGaveUp in ctx.probe.wanted:
            ctx.probe.emit(SupervisorGaveUp(ctx.path, child.spec.id, reason))
        ctx.stop(GaveUp(ctx.path, child.spec.id, reason))

    # -- what others ask for --------------------------------------------------------------------------------------------

    def _add(self, spec: ChildSpec | SupervisorSpec, reply: Reply[Ref[Any]]) -> None:
        if self._child(spec.id) is not None:
            reply.fail(CallError(f"there is a child '{spec.id}' already"))
            return
        try:
            check_siblings(self._spec, (spec,))
        except ValueError as error:
            reply.fail(error)
            return
        child = _Child(max((child.place for child in self._children), default=-1) + 1, spec)
        child.starter, child.is_new = reply, True
        self._children.append(child)
        self._make_due(child)

    def _change(self, id_: str, what: str, reply: Reply[Any], ctx: Context[SupervisorInbox]) -> None:
        child = self._child(id_)
        if child is None:
            raise CallError(f"there is no child '{id_}'")
        if what == "terminate":
            self._terminate(child, reply, ctx)
            return
        if child.alive or child in self._due:
            raise CallError(f"the child '{id_}' runs, or is about to")
        if what == "restart":
            child.starter = reply
            self._make_due(child)
        else:
            self._forget(child, ctx)
            reply.send(None)

    def _terminate(self, child: _Child, reply: Reply[Any], ctx: Context[SupervisorInbox]) -> None:
        if child in self._due:
            self._due.remove(child)
        child.held = False
        child.number += 1
        child.terminators.append(reply)
        if child.starter is not None:
            child.starter.fail(CallError(f"the child '{child.spec.id}' was terminated before it was started"))
            child.starter = None
        if not child.alive:
            self._stopped(child, ctx)
        elif child not in self._ending:
            self._ending.append(child)

    def _refuse_start(self, child: _Child, reason: Reason, ctx: Context[SupervisorInbox]) -> None:
        """A start that somebody asked for is that one's business. A child that never ran is forgotten."""
        starter, child.starter = child.starter, None
        if starter is not None:
            starter.fail(reason if isinstance(reason, Exception) else CallError(f"the child '{child.spec.id}' ended while starting: {reason!r}"))
        if child.is_new:
            self._forget(child, ctx)

    def _forget(self, child: _Child, ctx: Context[SupervisorInbox]) -> None:
        self._children.remove(child)
        if child in self._due:
            self._due.remove(child)
        if child.starter is not None:
            child.starter.fail(CallError(f"the child '{child.spec.id}' was ended with its group"))
        if child.ref is not None:
            ctx.forget(child.ref)


def _as_child(spec: ChildSpec | SupervisorSpec) -> ChildSpec:
    """A supervisor as somebody's child: it may take as long as its own children need to end."""
    if isinstance(spec, ChildSpec):
        return spec
    start = partial(Supervisor, spec)
    return ChildSpec(spec.id, start, restart=spec.restart, shutdown_s=float("inf"), backoff=spec.backoff, significant=spec.significant)
