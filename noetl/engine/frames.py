"""What events do inside a step: to its iterations, their attempts, and the tasks of their pipelines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from noetl.engine.patches import patched
from noetl.engine.state import Frame, Kept, Outcome, State
from noetl.events import (
    AttemptCancelled,
    AttemptFailed,
    AttemptLost,
    AttemptSucceeded,
    ChildStarted,
    FrameEvent,
    IterationCompleted,
    IterationFailed,
    OutcomeLate,
    TargetsChosen,
    TaskScheduled,
    Written,
)
from noetl.values import encode


def _frame(state: State, event: FrameEvent) -> Frame:
    run = state.runs[event.run]
    frame = run.frames.get(event.index)
    if frame is None:
        frame = run.frames[event.index] = Frame(index=event.index)
        if run.loop is not None and event.index >= run.loop.next:
            run.loop.next = event.index + 1
        frame.prev = run.prev
    return frame


def _task_scheduled(state: State, event: TaskScheduled) -> None:
    frame = _frame(state, event)
    frame.phase = "attempting"
    if event.sink is not None:
        frame.sink_task = event.task
    else:
        frame.task = event.task
        if event.attempt == 1 and frame.good is not None:  # a retry has the same task before it
            frame.prev = frame.good
    frame.attempt = event.attempt
    frame.call = event.call
    frame.due_at = event.due_at
    frame.sink = event.sink
    frame.child = None
    if event.retries is not None:
        frame.retries = event.retries
    if event.overrides is not None:
        frame.overrides = {**frame.overrides, event.task: event.overrides}


def _attempt_succeeded(state: State, event: AttemptSucceeded) -> None:
    frame = _frame(state, event)
    _keep(state, event)
    frame.phase = "settling"
    frame.executed += 1
    frame.child = None
    if frame.sink is not None:
        frame.sink_error = None
        return
    frame.outcome = Outcome(
        "ok", event.task, event.attempt, result=event.result, helper=event.helper, started_at=event.started_at, duration_s=event.duration_s
    )
    frame.labels = {**frame.labels, event.task: event.result}
    if event.result is not None:
        frame.good = event.result


def _keep(state: State, event: AttemptSucceeded | AttemptFailed) -> None:
    if event.directory:
        state.kept = Kept(event.node, event.directory)


def _attempt_failed(state: State, event: AttemptFailed) -> None:
    frame = _frame(state, event)
    _keep(state, event)
    frame.phase = "settling"
    frame.executed += 1
    frame.child = None
    if frame.sink is not None:
        frame.sink_error = event.error
        return
    frame.outcome = Outcome(
        "error",
        event.task,
        event.attempt,
        result=event.result,
        error=event.error,
        helper=event.helper,
        started_at=event.started_at,
        duration_s=event.duration_s,
    )
    frame.labels = {**frame.labels, event.task: None}


def _attempt_cancelled(state: State, event: AttemptCancelled) -> None:
    """It did not come to an end: a resume runs it again, as the next attempt."""
    frame = _frame(state, event)
    frame.cancelled = True
    frame.attempt = event.attempt + 1
    frame.due_at = None
    frame.child = None


def _attempt_lost(state: State, event: AttemptLost) -> None:
    frame = _frame(state, event)
    frame.attempt = event.attempt + 1
    frame.due_at = None
    frame.lost = [*frame.lost, (event.task, event.attempt)]
    if event.counted:
        frame.losses += 1


def _outcome_late(state: State, event: OutcomeLate) -> None:
    frame = _frame(state, event)
    frame.lost = [lost for lost in frame.lost if lost != (event.task, event.attempt)]


def _child_started(state: State, event: ChildStarted) -> None:
    frame = _frame(state, event)
    frame.child = event.child


def _written(state: State, event: Written) -> None:
    for patch in event.writes:
        if patch.scope == "ctx":
            state.ctx = patched(state.ctx, patch)
            continue
        frame = _frame(state, event)
        if patch.scope == "iter":
            frame.iter = patched(frame.iter, patch)
        elif patch.scope == "step":
            frame.local = patched(frame.local, patch)
        else:
            frame.replaced = True
            frame.result = patch.value


def _targets_chosen(state: State, event: TargetsChosen) -> None:
    frame = _frame(state, event)
    frame.targets = [*(frame.targets or ()), *event.targets]


def _iteration_completed(state: State, event: IterationCompleted) -> None:
    run = state.runs[event.run]
    loop = run.loop
    frame = run.frames.pop(event.index)
    if loop is None:
        return
    loop.success += 1
    loop.size += len(encode(event.result))
    if frame.targets is not None:
        loop.targets = [*(loop.targets or ()), *frame.targets]


def _iteration_failed(state: State, event: IterationFailed) -> None:
    run = state.runs[event.run]
    loop = run.loop
    if loop is None:
        return
    loop.failed += 1
    loop.error = loop.error or {**event.error, "iteration": event.index}
    if loop.best_effort:
        run.frames.pop(event.index)
    else:
        run.frames[event.index].phase = "failed"


FRAME_FOLDERS: Final[Mapping[type, Callable[[State, Any], None]]] = {
    TaskScheduled: _task_scheduled,
    AttemptSucceeded: _attempt_succeeded,
    AttemptFailed: _attempt_failed,
    AttemptCancelled: _attempt_cancelled,
    AttemptLost: _attempt_lost,
    OutcomeLate: _outcome_late,
    ChildStarted: _child_started,
    Written: _written,
    TargetsChosen: _targets_chosen,
    IterationCompleted: _iteration_completed,
    IterationFailed: _iteration_failed,
}
