"""The attempts that an execution has under way: orders, timers, stops. What the actor does after each append."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from msgspec import Struct

from noetl.actors.actor import Context, Timer
from noetl.actors.ref import Ref
from noetl.dsl.lookup import NotLoaded
from noetl.engine.cache import Hold
from noetl.engine.engine import Engine
from noetl.engine.messages import DueNow, ExecutionInbox, Fetched, StepTimedOut, Stopped
from noetl.engine.order import Order, build
from noetl.engine.program import Program
from noetl.engine.state import Frame, Run, State
from noetl.engine.step import Committed, StartAttempt, StopAttempts
from noetl.engine.supervisor import CloseStep, Dispatch, SupervisorInbox
from noetl.engine.timeline import Timeline
from noetl.events import AnyEvent, AttemptCancelled, AttemptFailed, AttemptLost, AttemptSucceeded, ChildStarted, StepScheduled
from noetl.values import Handle

_OVER: Final = frozenset({AttemptSucceeded, AttemptFailed, AttemptCancelled, AttemptLost, ChildStarted})
"""Events that say of an attempt that it does not run any more."""

Key = tuple[int, int]
"""Run and iteration: a frame."""


class Due(Struct, frozen=True):
    """When a frame's attempt may start, and when that is by the monotonic clock: a wall clock that jumps meanwhile changes nothing."""

    at: dt.datetime
    at_s: float


class Attempts:
    """What runs, what waits for its time, and what has a time limit. All of it follows from the state, and is found again from it."""

    def __init__(self, engine: Engine, supervisor: Ref[SupervisorInbox], line: Timeline) -> None:
        self._engine = engine
        self._supervisor = supervisor
        self._line = line
        self._running: dict[Key, tuple[str, int, int]] = {}
        self._due: dict[Key, Due] = {}
        self._limits: dict[int, Timer] = {}
        self._alarm: tuple[float, Timer] | None = None

    def idle_after(self, events: Sequence[AnyEvent]) -> bool:
        """Whether nothing runs any more when these events are in the log."""
        if not self._running:
            return True
        return self._running.keys() <= {(event.run, event.index) for event in _over(events)}

    def take(self, events: Sequence[AnyEvent], state: State) -> None:
        """Attempts whose outcome is in the log are over; their steps need not keep it."""
        done: dict[int, list[int]] = {}
        for event in _over(events):
            self._running.pop((event.run, event.index), None)
            self._engine.claims.release(state.execution_id, event.run, event.index)
            if event.run in state.runs:
                done.setdefault(event.run, []).append(event.index)
        for run, indexes in done.items():
            self._supervisor.report(Dispatch(run, "", Committed(tuple(indexes))))

    def close(self, run_ids: Iterable[int], state: State) -> None:
        """These runs are over: whatever they still have running is stopped."""
        for run_id in run_ids:
            self._engine.claims.release_run(state.execution_id, run_id)
            self._supervisor.report(CloseStep(run_id))
            for key in [key for key in (*self._running, *self._due) if key[0] == run_id]:
                self._running.pop(key, None)
                self._due.pop(key, None)
            limit = self._limits.pop(run_id, None)
            if limit is not None:
                limit.cancel()

    def limit(self, runs: Iterable[Run], ctx: Context[ExecutionInbox]) -> None:
        """Set the timers of steps that have a timeout."""
        for run in runs:
            if run.timeout_s is not None and run.id not in self._limits:
                left = self._line.moment(run.started_at) + run.timeout_s - ctx.clock.monotonic()
                self._limits[run.id] = ctx.send_after(max(left, 0.0), StepTimedOut(run=run.id))

    def start(self, keys: Iterable[Key], program: Program, state: State, ctx: Context[ExecutionInbox]) -> None:
        """Start the attempts of these frames, or set them waiting for their time."""
        passed_s = ctx.clock.monotonic()
        for key in keys:
            found = _wanted(state, key)
            if found is None or key in self._running:
                continue
            run, frame = found
            due = self._due_of(frame, self._due.pop(key, None))
            if due is not None and due.at_s > passed_s:
                self._due[key] = due
            else:
                self._order(program, state, run, frame, ctx)
        self._set_alarm(passed_s, ctx)

    def _due_of(self, frame: Frame, known: Due | None) -> Due | None:
        if frame.due_at is None:
            return None
        if known is not None and known.at == frame.due_at:
            return known
        return Due(frame.due_at, self._line.moment(frame.due_at))

    def start_due(self, program: Program, state: State, ctx: Context[ExecutionInbox]) -> None:
        """The alarm has gone off. Timers are coarser than the clock: what is due in a moment gets another."""
        self._alarm = None
        self.start(list(self._due), program, state, ctx)

    def stop(self, state: State, ctx: Context[ExecutionInbox], *, running: bool) -> None:
        """The execution ends: attempts that wait never start; those that run are stopped if `running`."""
        for run in state.runs.values():
            if run.id == state.final_run and state.cancel_reason is None:
                continue
            for frame in run.frames.values():
                key = (run.id, frame.index)
                if frame.phase == "attempting" and not frame.cancelled and frame.child is None and key not in self._running:
                    self._due.pop(key, None)
                    ctx.self_ref.report(_never_started(run, frame))
            if running:
                self._supervisor.report(Dispatch(run.id, run.step, StopAttempts()))

    def ordered(self, order: Order, state: State) -> None:
        """An order whose values had to be read first is ready."""
        key = (order.call.run, order.call.index)
        if self._running.get(key) == order.key and _wanted(state, key) is not None:
            self._supervisor.report(Dispatch(order.call.run, order.call.step, StartAttempt(order), start=True))

    def _order(self, program: Program, state: State, run: Run, frame: Frame, ctx: Context[ExecutionInbox]) -> None:
        engine, now = self._engine, self._line.now()
        self._running[run.id, frame.index] = (frame.current_task, frame.attempt, frame.call)
        try:
            self.ordered(build(program, state, run, frame, engine.cache.load, now, engine.extra_names), state)
        except NotLoaded as error:
            hold = engine.cache.hold()
            work = _read_and_build(hold, error.handle, lambda: build(program, state, run, frame, hold.load, now, engine.extra_names))
            ctx.run(work, lambda answer: Fetched(what="order", answer=answer))

    def _set_alarm(self, passed_s: float, ctx: Context[ExecutionInbox]) -> None:
        """One timer for the first that is due."""
        first = min((due.at_s for due in self._due.values()), default=None)
        if self._alarm is not None:
            if self._alarm[0] == first:
                return
            self._alarm[1].cancel()
            self._alarm = None
        if first is not None:
            self._alarm = (first, ctx.send_after(max(first - passed_s, 0.0), DueNow()))


async def _read_and_build(hold: Hold, first: Handle, make: Callable[[], Order]) -> Order:
    with hold:
        await hold.fetch(first)
        order: Order = await hold.run(make)
        return order


def _over(events: Sequence[AnyEvent]) -> list[Any]:
    return [event for event in events if type(event) in _OVER]


def _wanted(state: State, key: Key) -> tuple[Run, Frame] | None:
    """The frame, if it waits for an attempt of ours."""
    run = state.runs.get(key[0])
    frame = None if run is None else run.frames.get(key[1])
    if run is None or frame is None or frame.phase != "attempting" or frame.cancelled or frame.child is not None:
        return None
    return run, frame


def _never_started(run: Run, frame: Frame) -> Stopped:
    return Stopped(run=run.id, index=frame.index, task=frame.current_task, attempt=frame.attempt, call=frame.call)


def scheduled_runs(events: Sequence[AnyEvent], state: State) -> list[Run]:
    return [state.runs[event.run] for event in events if isinstance(event, StepScheduled) and event.run in state.runs]
