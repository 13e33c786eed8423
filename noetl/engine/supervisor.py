"""The supervisor of one execution: of the actor that decides, and of the steps that it has started.

The steps do not end with the decider: when it crashes it is started again and folds its log, while attempts go on. Its crashes are counted here, so
that an execution that can't go on is quarantined and takes nobody else along.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Final

from msgspec import Struct

from noetl.actors.actor import NORMAL, Actor, Context, Exit, Reason, Signal, is_abnormal
from noetl.actors.ref import Ref
from noetl.engine.messages import StepLost
from noetl.engine.step import Claimed, Close, Step, StepInbox
from noetl.errors import StoreError
from noetl.probe import ChildRestarting, SupervisorGaveUp
from noetl.supervisors.intensity import Intensity

INTENSITY: Final = 5
PERIOD_S: Final = 60.0
_STEP_S: Final = 15.0


class Quarantined(Exception):
    """The execution's actor crashed more often than allowed."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(f"it crashed more than {INTENSITY} times in {PERIOD_S:g} s, the last time with {reason!r}")
        self.reason = reason


class ExecutionSupervisorMessage(Struct, frozen=True):
    """Anything the supervisor of an execution may be told."""


class Dispatch(ExecutionSupervisorMessage, frozen=True):
    """Hand a message to the step of a run; `start`: start the step if it does not run."""

    run: int
    step: str
    message: StepInbox
    start: bool = False


class CloseStep(ExecutionSupervisorMessage, frozen=True):
    """The run is over."""

    run: int


class Forward(ExecutionSupervisorMessage, frozen=True):
    """For the execution's actor."""

    message: Any


SupervisorInbox = Dispatch | CloseStep | Forward


class ExecutionSupervisor(Actor[SupervisorInbox]):
    """`execution(self_ref)` makes the actor that decides; `step(execution)` the actor of a run."""

    __slots__ = ("_execution", "_intensity", "_make_execution", "_make_step", "_steps")
    trap_exit: ClassVar[bool] = True
    capacity: ClassVar[int] = 1_000_000

    def __init__(self, execution: Callable[[Ref[SupervisorInbox]], Actor[Any]], step: Callable[[Ref[Any]], Step]) -> None:
        self._make_execution = execution
        self._make_step = step
        self._intensity = Intensity(INTENSITY, PERIOD_S)
        self._steps: dict[int, Ref[StepInbox]] = {}
        self._execution: Ref[Any] | None = None

    def init(self, ctx: Context[SupervisorInbox]) -> None:
        own = ctx.self_ref
        self._execution = ctx.spawn(lambda: self._make_execution(own), "execution")

    def handle(self, message: SupervisorInbox, ctx: Context[SupervisorInbox]) -> None:
        match message:
            case Dispatch(run, step, inner, start):
                ref = self._steps.get(run)
                if ref is None and start:
                    ref = self._start_step(run, step, ctx)
                if ref is not None:
                    ref.report(inner)
                elif isinstance(inner, Claimed):
                    inner.deny()
            case CloseStep(run):
                ref = self._steps.pop(run, None)
                if ref is not None:
                    ref.report(Close())
            case Forward(inner):
                if self._execution is not None:
                    self._execution.report(inner)

    def signal(self, signal: Signal, ctx: Context[SupervisorInbox]) -> None:
        if not isinstance(signal, Exit):
            return
        if signal.ref is not self._execution:
            self._step_ended(signal, ctx)
            return
        reason = signal.reason
        if not is_abnormal(reason) or isinstance(reason, StoreError):
            ctx.stop(reason if isinstance(reason, StoreError) else NORMAL)
        elif self._intensity.restart_allowed(ctx.clock.monotonic()):
            if ChildRestarting in ctx.probe.wanted:
                ctx.probe.emit(ChildRestarting(ctx.path, "execution", reason, 0.0))
            ctx.respawn(signal.ref)
        else:
            if SupervisorGaveUp in ctx.probe.wanted:
                ctx.probe.emit(SupervisorGaveUp(ctx.path, "execution", reason))
            ctx.stop(Quarantined(reason))

    def _step_ended(self, ended: Exit, ctx: Context[SupervisorInbox]) -> None:
        run = ctx.record(ended.ref)
        ctx.forget(ended.ref)
        if self._steps.get(run) is not ended.ref:
            return
        del self._steps[run]
        if self._execution is not None:
            self._execution.report(StepLost(run=run, reason=f"its actor ended: {ended.reason!r}"))

    def _start_step(self, run: int, step: str, ctx: Context[SupervisorInbox]) -> Ref[StepInbox]:
        execution = self._execution
        assert execution is not None
        ref = ctx.spawn(lambda: self._make_step(execution), f"{step}#{run}", shutdown_s=_STEP_S, record=run)
        self._steps[run] = ref
        return ref
