"""The supervisor of a fixed list of children: one_for_one, one_for_all, rest_for_one."""

from __future__ import annotations

import random
from functools import partial
from typing import Any, ClassVar

from msgspec import Struct

from noetl.actors.actor import Actor, Context, Exit, Ready, Reason, Signal, is_abnormal
from noetl.actors.loop import Runtime
from noetl.actors.ref import Ref, Reply
from noetl.probe import ChildRestarting, SupervisorGaveUp
from noetl.supervisors.intensity import Intensity, delay_s
from noetl.supervisors.spec import ChildSpec, SupervisorSpec, should_restart


class GaveUp(Exception):
    """A supervisor gave up: a child failed more often than its intensity allows, or could not be started."""

    def __init__(self, supervisor: str, child: str, reason: Reason) -> None:
        super().__init__(f"{supervisor} gave up on '{child}': {reason!r}")
        self.child = child
        self.reason = reason


class SupervisorMessage(Struct, frozen=True):
    """Anything a static supervisor may be told."""


class RestartChild(SupervisorMessage, frozen=True):
    """To oneself: time to start a child again. A message, so that a shutdown can get in between."""

    id: str


class WhichChildren(SupervisorMessage, frozen=True):
    reply: Reply[dict[str, Ref[Any] | None]]


SupervisorInbox = RestartChild | WhichChildren


async def which_children(supervisor: Ref[SupervisorInbox], timeout_s: float = 5.0) -> dict[str, Ref[Any] | None]:
    """Id -> ref of each child in start order; None for one that does not run now."""
    return await supervisor.ask(WhichChildren, timeout_s)


async def start_tree(runtime: Runtime, spec: SupervisorSpec) -> Ref[SupervisorInbox]:
    """Start a supervision tree and wait until all of it is ready. Raises `GaveUp` when a child does not start."""
    return await runtime.start(partial(Supervisor, spec), spec.id, shutdown_s=float("inf"))


class _Child:
    """What a supervisor remembers of one child."""

    __slots__ = ("failures", "held", "place", "ref", "spec", "up_since", "wanted")

    def __init__(self, place: int, spec: ChildSpec) -> None:
        self.place = place
        self.spec = spec
        self.ref: Ref[Any] | None = None
        self.wanted = True
        self.held = False
        """Due to start, but not before its `RestartChild` comes."""
        self.failures = 0
        self.up_since: float | None = None

    @property
    def alive(self) -> bool:
        return self.ref is not None and self.ref.is_alive()


class Supervisor(Actor[SupervisorInbox]):
    """Starts its children in order, stops them in reverse order, restarts what fails.

    Whatever happens becomes two lists: the children that must end, last one first, and those that are due to start, first one first. `_proceed` works
    them off, one child at a time.
    """

    __slots__ = ("_announced", "_children", "_due", "_ending", "_intensity", "_random", "_spec", "_starting")
    trap_exit: ClassVar[bool] = True
    stop_in_order: ClassVar[bool] = True

    def __init__(self, spec: SupervisorSpec) -> None:
        self._spec = spec
        self._children = [_Child(place, _as_child(child)) for place, child in enumerate(spec.children)]
        self._intensity = Intensity(spec.intensity, spec.period_s)
        self._random = random.Random()  # noqa: S311  jitter
        self._ending: list[_Child] = []
        self._due: list[_Child] = list(self._children)
        self._starting: _Child | None = None
        self._announced = False

    def init(self, ctx: Context[SupervisorInbox]) -> None:
        ctx.defer_ready()
        self._proceed(ctx)

    def handle(self, message: SupervisorInbox, ctx: Context[SupervisorInbox]) -> None:
        match message:
            case RestartChild(id):
                self._child(id).held = False
                self._proceed(ctx)
            case WhichChildren(reply):
                reply.send({child.spec.id: child.ref if child.alive else None for child in self._children})

    def signal(self, signal: Signal, ctx: Context[SupervisorInbox]) -> None:
        child = self._of(signal.ref)
        match signal:
            case Ready() if child is self._starting:
                self._started(child, ctx)
            case Exit(reason=reason) if child in self._ending:
                self._ending.remove(child)
            case Exit(reason=reason) if child is self._starting:
                self._starting = None
                self._start_failed(child, reason, ctx)
            case Exit(reason=reason) if should_restart(child.spec.restart, abnormal=is_abnormal(reason)):
                self._failed(child, reason, ctx)
            case Exit():
                child.wanted = False
            case _:
                pass
        self._proceed(ctx)

    def _child(self, id_: str) -> _Child:
        return next(child for child in self._children if child.spec.id == id_)

    def _of(self, ref: Ref[Any]) -> _Child:
        return next(child for child in self._children if child.ref is ref)

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
        child.up_since = ctx.clock.monotonic()

    def _start_failed(self, child: _Child, reason: Reason, ctx: Context[SupervisorInbox]) -> None:
        if not self._announced:
            self._give_up(child, reason, ctx)
        elif self._may_restart(child, reason, ctx) and not child.held:
            child.held = True  # tried again by a message, so that a shutdown can get in between
            ctx.self_ref.report(RestartChild(child.spec.id))

    def _failed(self, child: _Child, reason: Reason, ctx: Context[SupervisorInbox]) -> None:
        """A child that was up has ended and must come back, with those that the strategy ties to it."""
        if not self._may_restart(child, reason, ctx):
            return
        for other in self._tied_to(child):
            if other is not child and other.alive and other not in self._ending:
                self._ending.append(other)
                self._make_due(other)

    def _may_restart(self, child: _Child, reason: Reason, ctx: Context[SupervisorInbox]) -> bool:
        """Make the child due, now or after its back-off; or give up."""
        wait_s = self._backoff_s(child, ctx)
        if wait_s is None and not self._intensity.restart_allowed(ctx.clock.monotonic()):
            self._give_up(child, reason, ctx)
            return False
        if ctx.probe.wanted:
            ctx.probe.emit(ChildRestarting(ctx.path, child.spec.id, reason, wait_s or 0.0))
        self._make_due(child)
        if wait_s is not None:
            child.held = True
            ctx.send_after(wait_s, RestartChild(child.spec.id))
        return True

    def _make_due(self, child: _Child) -> None:
        if child not in self._due and (child.spec.restart != "temporary"):
            self._due.append(child)
            self._due.sort(key=lambda due: due.place)

    def _tied_to(self, child: _Child) -> list[_Child]:
        if self._spec.strategy == "one_for_one":
            return []
        return self._children[child.place :] if self._spec.strategy == "rest_for_one" else self._children

    def _backoff_s(self, child: _Child, ctx: Context[SupervisorInbox]) -> float | None:
        backoff = child.spec.backoff
        if backoff is None:
            return None
        if child.up_since is not None and ctx.clock.monotonic() - child.up_since >= backoff.reset_after_s:
            child.failures = 0
        child.failures += 1
        child.up_since = None
        return delay_s(backoff, child.failures, self._random.random())

    def _give_up(self, child: _Child, reason: Reason, ctx: Context[SupervisorInbox]) -> None:
        if ctx.probe.wanted:
            ctx.probe.emit(SupervisorGaveUp(ctx.path, child.spec.id, reason))
        ctx.stop(GaveUp(ctx.path, child.spec.id, reason))


def _as_child(spec: ChildSpec | SupervisorSpec) -> ChildSpec:
    """A supervisor as somebody's child: it may take as long as its own children need to end."""
    if isinstance(spec, ChildSpec):
        return spec
    return ChildSpec(id=spec.id, start=partial(Supervisor, spec), restart=spec.restart, shutdown_s=float("inf"), backoff=spec.backoff)
