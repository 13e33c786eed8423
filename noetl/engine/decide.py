"""What an execution does about a message: `decide(state, message) -> events`.

The turn gathers the events and applies each at once (see `turn`). Work that one event makes possible is queued in the turn and done in order, until
nothing is left or a value is missing.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

from noetl.dsl.lookup import NotLoaded
from noetl.engine import messages
from noetl.engine.ending import rest
from noetl.engine.evolve import SINCE
from noetl.engine.failure import Error, failure, located, template_failure
from noetl.engine.firing import fire, look_again
from noetl.engine.loops import advance
from noetl.engine.pipeline import enter, fail, settle
from noetl.engine.routing import begin_failure, route
from noetl.engine.state import Frame, Run
from noetl.engine.turn import MAX_ITEMS, Turn
from noetl.engine.workload import initial_values
from noetl.errors import TemplateError
from noetl.events import (
    AttemptCancelled,
    AttemptFailed,
    AttemptLost,
    AttemptSucceeded,
    CancelRequested,
    ChildStarted,
    ExecutionFailed,
    ExecutionRequested,
    ExecutionResumed,
    ExecutionStarted,
    GraceEnded,
    OutcomeLate,
)

LOSS_BUDGET: Final = 3


def decide(turn: Turn, message: messages.Decided) -> None:
    """Take one message in. Its events are in `turn.events` when this returns."""
    _TAKERS[type(message)](turn, message)
    work(turn)


def work(turn: Turn) -> None:
    """Do what can be done, then see whether the execution is at rest."""
    budget = MAX_ITEMS
    while True:
        budget = _drain(turn, budget)
        if turn.ending or turn.more:
            break
        before = len(turn.events)
        look_again(turn)
        budget = _drain(turn, budget)
        if len(turn.events) == before:
            break
    rest(turn)
    if turn.work:
        work(turn)


def _drain(turn: Turn, budget: int) -> int:
    """Do the queued work, at most `budget` items; what is left of the budget."""
    while turn.work and budget > 0:
        _do(turn)
        budget -= 1
    if turn.work:
        turn.work.clear()  # found again by the next turn's scan
        turn.more = True
    return budget


def _do(turn: Turn) -> None:
    name, key, detail = turn.work.popleft()
    try:
        _ITEMS[name](turn, key, detail)
    except NotLoaded as error:
        turn.lacks(error)


def scan(turn: Turn) -> None:
    """Find all work that follows from the state: after recovery, and when a missing value has come."""
    for run in list(turn.state.runs.values()):
        if run.phase == "routing":
            turn.do("route", run.id)
            continue
        for frame in run.frames.values():
            if frame.phase == "settling":
                turn.do("settle", run.id, frame.index)
        turn.do("advance", run.id)
    look_again(turn)


# -- work items --------------------------------------------------------------------------------------------------------


def _route_item(turn: Turn, run_id: int, _: Any) -> None:
    run = turn.state.runs.get(run_id)
    if run is not None and run.phase == "routing":
        route(turn, run)


def _settle_item(turn: Turn, run_id: int, index: int) -> None:
    run = turn.state.runs.get(run_id)
    frame = None if run is None else run.frames.get(index)
    if run is not None and frame is not None and frame.phase == "settling" and turn.may_go_on(run):
        settle(turn, run, frame)


def _advance_item(turn: Turn, run_id: int, _: Any) -> None:
    run = turn.state.runs.get(run_id)
    if run is None or run.phase != "running" or not turn.may_go_on(run):
        return
    if run.loop is not None:
        advance(turn, run)
    elif not run.frames:
        enter(turn, run, 0)


def _fire_item(turn: Turn, name: str, _: Any) -> None:
    if not turn.ending:
        fire(turn, name)


_ITEMS: Final[Mapping[str, Callable[[Turn, Any, Any], None]]] = {
    "advance": _advance_item,
    "fire": _fire_item,
    "route": _route_item,
    "settle": _settle_item,
}

# -- messages ----------------------------------------------------------------------------------------------------------


def _begin(turn: Turn, message: messages.Begin) -> None:
    state = turn.state
    if state.requested_at is None:
        turn.emit(
            ExecutionRequested(
                at=turn.now,
                path=message.path,
                net=message.net,
                payload=message.payload,
                merge=message.merge,
                env=message.env,
                parent=message.parent,
                requested_by=message.requested_by,
                version=message.version,
                labels=message.labels,
            )
        )
    if not state.started:
        _start(turn)


def _start(turn: Turn) -> None:
    """Render the workload and put the first token."""
    playbook = turn.program.playbook
    try:
        workload, spec = initial_values(turn)
    except TemplateError as error:
        turn.emit(ExecutionFailed(at=turn.now, error=template_failure(error, "")))
        return
    ctx = {key: workload[key] for key in playbook.vars}
    turn.emit(ExecutionStarted(entry=playbook.entry, workload=workload, spec=spec, ctx=ctx))
    turn.do("fire", playbook.entry)


def _current(turn: Turn, message: messages.CallMessage) -> tuple[Run, Frame] | None:
    """The frame that waits for this very attempt; None when the message is late or doubled."""
    run = turn.state.runs.get(message.run)
    frame = None if run is None else run.frames.get(message.index)
    if run is None or frame is None or frame.phase != "attempting" or frame.cancelled:
        return None
    same = frame.current_task == message.task and frame.attempt == message.attempt and frame.call == message.call
    return (run, frame) if same else None


def _succeeded(turn: Turn, message: messages.Succeeded) -> None:
    current = _current(turn, message)
    if current is not None:
        _take_success(turn, *current, message)
    else:
        _late(turn, message, "succeeded")


def _failed(turn: Turn, message: messages.Failed) -> None:
    current = _current(turn, message)
    if current is not None:
        _take_failure(turn, *current, message)
    else:
        _late(turn, message, "failed")


def _late(turn: Turn, message: messages.Succeeded | messages.Failed, status: Literal["succeeded", "failed"]) -> None:
    """For whoever asks why effects were seen twice: the attempt that was taken for lost did run."""
    run = turn.state.runs.get(message.run)
    frame = None if run is None else run.frames.get(message.index)
    if run is None or frame is None or (message.task, message.attempt) not in frame.lost or turn.format < SINCE[OutcomeLate]:
        return
    turn.emit(
        OutcomeLate(
            step=run.step,
            run=run.id,
            index=frame.index,
            task=message.task,
            attempt=message.attempt,
            status=status,
            node=message.node,
            duration_s=message.duration_s,
        )
    )


def _stopped(turn: Turn, message: messages.Stopped) -> None:
    current = _current(turn, message)
    if current is not None:
        _take_stop(turn, *current, confirmed=message.confirmed)


def _take_success(turn: Turn, run: Run, frame: Frame, given: messages.Succeeded) -> None:
    turn.emit(
        AttemptSucceeded(
            step=run.step,
            run=run.id,
            index=frame.index,
            task=frame.current_task,
            attempt=frame.attempt,
            started_at=given.started_at,
            duration_s=given.duration_s,
            result=given.result,
            helper=given.helper,
            node=given.node,
            directory=given.directory,
        )
    )
    turn.do("settle", run.id, frame.index)


def _take_failure(turn: Turn, run: Run, frame: Frame, given: messages.Failed) -> None:
    turn.emit(
        AttemptFailed(
            step=run.step,
            run=run.id,
            index=frame.index,
            task=frame.current_task,
            attempt=frame.attempt,
            started_at=given.started_at,
            duration_s=given.duration_s,
            error=located(given.error, run.step, frame),
            result=given.result,
            helper=given.helper,
            node=given.node,
            directory=given.directory,
        )
    )
    turn.do("settle", run.id, frame.index)


def _fail(turn: Turn, run: Run, frame: Frame, started_at: dt.datetime, error: Error) -> None:
    """An attempt that nobody has reported on."""
    _take_failure(turn, run, frame, messages.Failed(**_identity(run, frame), started_at=started_at, duration_s=0.0, error=error))


def _identity(run: Run, frame: Frame) -> dict[str, Any]:
    return {"run": run.id, "index": frame.index, "task": frame.current_task, "attempt": frame.attempt, "call": frame.call}


def _take_stop(turn: Turn, run: Run, frame: Frame, *, confirmed: bool) -> None:
    turn.emit(AttemptCancelled(step=run.step, run=run.id, index=frame.index, task=frame.current_task, attempt=frame.attempt, confirmed=confirmed))


def _lost(turn: Turn, message: messages.Lost) -> None:
    """The attempt runs again, on a budget of its own."""
    current = _current(turn, message)
    if current is not None:
        _lose(turn, *current, message.reason, counted=True)


def _step_lost(turn: Turn, message: messages.StepLost) -> None:
    run = turn.state.runs.get(message.run)
    if run is None:
        return
    for frame in list(run.frames.values()):
        if _was_under_way(turn, frame):
            _lose(turn, run, frame, message.reason, counted=True)


def _lose(turn: Turn, run: Run, frame: Frame, reason: str, *, counted: bool) -> None:
    task = frame.current_task
    turn.emit(AttemptLost(step=run.step, run=run.id, index=frame.index, task=task, attempt=frame.attempt, reason=reason, counted=counted))
    program = turn.program.step(run.step)
    retried = program.by_label[task].task.retry_on_loss if task in program.by_label else True
    if retried and frame.losses <= LOSS_BUDGET:
        return
    turn.touched.pop((run.id, frame.index), None)
    why = "it may not run again" if not retried else f"it was lost {frame.losses} times"
    _fail(turn, run, frame, turn.now, failure("worker_lost", f"{reason}; {why}"))


def _child_requested(turn: Turn, message: messages.ChildRequested) -> None:
    current = _current(turn, message)
    if current is None:
        return
    run, frame = current
    if frame.child is not None or turn.ending:
        return
    turn.emit(
        ChildStarted(
            step=run.step,
            run=run.id,
            index=message.index,
            task=message.task,
            child=message.child,
            path=message.path,
            net=message.net,
            call_id=message.call_id,
            payload={key: turn.keep(value) for key, value in message.payload.items()},
            return_step=message.return_step,
        )
    )


def _child_ended(turn: Turn, message: messages.ChildEnded) -> None:
    called = _call_of(turn, message)
    if called is None:
        return
    run, frame = called
    started_at = turn.now
    if frame.outcome is not None and frame.outcome.started_at is not None:
        started_at = frame.outcome.started_at
    match message.status:
        case "completed":
            given = messages.Succeeded(**_identity(run, frame), started_at=started_at, duration_s=0.0, result=message.result)
            _take_success(turn, run, frame, given)
        case "cancelled" if turn.ending:
            _take_stop(turn, run, frame, confirmed=True)
        case _:
            _fail(turn, run, frame, started_at, _child_error(message))


def _call_of(turn: Turn, message: messages.ChildEnded) -> tuple[Run, Frame] | None:
    """The call that waits for this child, if there still is one."""
    runs = turn.state.runs
    if message.run == 0:
        return next(((run, frame) for run in runs.values() for frame in run.frames.values() if frame.child == message.child), None)
    run = runs.get(message.run)
    frame = None if run is None else run.frames.get(message.index)
    return None if run is None or frame is None or frame.child != message.child else (run, frame)


def _child_error(message: messages.ChildEnded) -> dict[str, Any]:
    cause = message.error or {}
    if message.status == "cancelled":
        return failure("cancelled", f"execution {message.child} was cancelled", child=str(message.child))
    step = cause.get("step")
    place = f" at step '{step}'" if step else ""
    return failure(
        "playbook", f"execution {message.child} failed{place}: {cause.get('message', 'no reason given')}", child=str(message.child), cause=cause
    )


def _cancel(turn: Turn, message: messages.Cancel) -> None:
    if turn.state.cancel_reason is None and turn.state.status in ("pending", "running"):
        turn.emit(CancelRequested(at=turn.now, reason=message.reason))


def _step_timed_out(turn: Turn, message: messages.StepTimedOut) -> None:
    run = turn.state.runs.get(message.run)
    if run is not None and run.phase == "running" and run.timeout_s is not None and turn.may_go_on(run):
        fail(turn, run, failure("timeout", f"step '{run.step}' took longer than {run.timeout_s:g} s", step=run.step, retryable=True))


def _value_lost(turn: Turn, message: messages.ValueLost) -> None:
    if not turn.ending:
        begin_failure(turn, failure("not_found", message.message))


def _grace_over(turn: Turn, message: messages.GraceOver) -> None:
    if turn.state.failure is not None and not turn.state.stopping and turn.state.status == "running":
        turn.emit(GraceEnded())


def _resume(turn: Turn, message: messages.Resume) -> None:
    """Another process takes the execution up: attempts that were under way are lost, failed runs are tried again, a cancellation is finished."""
    state = turn.state
    lost = [(run, frame) for run in state.runs.values() for frame in run.frames.values() if _was_under_way(turn, frame)]
    turn.emit(ExecutionResumed(at=turn.now, node=message.node, retried=tuple(state.failed_runs), lost=len(lost)))
    for run, frame in lost:
        if state.cancel_reason is None:
            _lose(turn, run, frame, "the process that ran it is gone", counted=False)
        else:
            _take_stop(turn, run, frame, confirmed=False)
    for run in state.runs.values():
        turn.touched.update({(run.id, frame.index): None for frame in run.frames.values() if frame.phase == "attempting"})
    if not state.started:
        _start(turn)
    scan(turn)


def _was_under_way(turn: Turn, frame: Frame) -> bool:
    waits = frame.cancelled or frame.child is not None or (frame.due_at is not None and frame.due_at > turn.now)
    return frame.phase == "attempting" and not waits


def _proceed(turn: Turn, message: messages.Proceed) -> None:
    scan(turn)


_TAKERS: Final[Mapping[type, Callable[[Turn, Any], None]]] = {
    messages.Begin: _begin,
    messages.Cancel: _cancel,
    messages.ChildEnded: _child_ended,
    messages.ChildRequested: _child_requested,
    messages.Failed: _failed,
    messages.GraceOver: _grace_over,
    messages.Lost: _lost,
    messages.Proceed: _proceed,
    messages.Resume: _resume,
    messages.StepLost: _step_lost,
    messages.StepTimedOut: _step_timed_out,
    messages.Stopped: _stopped,
    messages.Succeeded: _succeeded,
    messages.ValueLost: _value_lost,
}
