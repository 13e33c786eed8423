"""What each event does to the state. Recovery folds these and decides nothing again.

`evolve` changes its state in place and returns it. It reads nothing but the state and the event: no net, no clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from noetl.engine.frames import FRAME_FOLDERS
from noetl.engine.patches import patched
from noetl.engine.state import Frame, LoopState, Run, State, StepState, WaitingToken
from noetl.events import (
    AnyEvent,
    CancelRequested,
    Event,
    ExecutionCancelled,
    ExecutionCompleted,
    ExecutionFailed,
    ExecutionRequested,
    ExecutionResumed,
    ExecutionStarted,
    ExecutionStopping,
    GraceEnded,
    OutcomeLate,
    StepCompleted,
    StepFailed,
    StepRouted,
    StepScheduled,
    StepSkipped,
    Token,
    Value,
    WarningRaised,
)
from noetl.values import Handle

FORMAT: Final = 3
"""The newest format of logs that this code reads; it names this code in snapshots, too. Raise it whenever there is a new kind of event, an event
comes to mean something else, or the state gets another shape."""
SINCE: Final[Mapping[type[Event], int]] = {OutcomeLate: 3}
"""Kinds of events that not every format has -> the first that has them. `decide` gives one only when `Turn.format` is as new."""


def evolve(state: State, event: AnyEvent) -> State:
    _FOLDERS[type(event)](state, event)
    return state


def fold(state: State, events: Iterable[AnyEvent]) -> State:
    for event in events:
        _FOLDERS[type(event)](state, event)
    return state


# -- the execution -----------------------------------------------------------------------------------------------------


def _requested(state: State, event: ExecutionRequested) -> None:
    state.path = event.path
    state.net = event.net
    state.requested_at = event.at
    state.parent = event.parent
    state.payload = event.payload
    state.merge = event.merge
    state.env = event.env


def _started(state: State, event: ExecutionStarted) -> None:
    state.status = "running"
    state.started = True
    state.workload = event.workload
    state.spec = event.spec
    state.ctx = dict(event.ctx)
    _put(state, Token(id=state.next_token, target=event.entry), None)


def _cancel_requested(state: State, event: CancelRequested) -> None:
    state.cancel_reason = event.reason
    state.stopping = True


def _stopping(state: State, event: ExecutionStopping) -> None:
    state.failure = event.error
    state.draining = event.until is None
    state.grace_until = event.until


def _grace_ended(state: State, event: GraceEnded) -> None:
    state.stopping = True


def _completed(state: State, event: ExecutionCompleted) -> None:
    state.status = "completed"
    state.ended_at = event.at
    state.result = event.result


def _failed(state: State, event: ExecutionFailed) -> None:
    state.status = "failed"
    state.ended_at = event.at
    state.error = event.error
    _mark_cut_off(state)


def _cancelled(state: State, event: ExecutionCancelled) -> None:
    state.status = "cancelled"
    state.ended_at = event.at
    state.error = {"kind": "cancelled", "message": event.reason or "cancelled"}
    state.unconfirmed = list(event.unconfirmed)
    _mark_cut_off(state)


def _mark_cut_off(state: State) -> None:
    for run in state.runs.values():
        if run.phase == "running":
            state.steps[run.step].status = "cancelled"


def _resumed(state: State, event: ExecutionResumed) -> None:
    """Failed runs are live again, each at the task that failed; what was cut off goes on where it was."""
    state.resumes += 1
    state.status = "running"
    state.ended_at = state.error = state.failure = state.grace_until = None
    state.draining = False
    state.stopping = state.cancel_reason is not None
    state.final_run = None
    for run_id in event.retried:
        _retry_run(state, state.failed_runs.pop(run_id))
    for run in state.runs.values():
        if run.phase == "running":
            state.steps[run.step].status = "running"
            state.steps[run.step].error = None
        for frame in run.frames.values():
            frame.losses = 0
            frame.cancelled = False


def _retry_run(state: State, run: Run) -> None:
    if not run.frames:  # it failed before anything ran: it fires again
        for source, token in run.consumed:
            _waiting(state, run.step, source).insert(0, token)
        state.steps[run.step].runs -= 1
        return
    run.phase = "running"
    run.error = None
    state.runs[run.id] = run
    if run.loop is not None:
        run.loop.failed -= sum(1 for frame in run.frames.values() if frame.phase == "failed")
        run.loop.error = None
    for frame in run.frames.values():
        if frame.phase in ("failed", "attempting"):
            frame.phase = "attempting"
            frame.attempt += 1
            frame.retries = {}
            frame.due_at = frame.outcome = None


# -- steps -------------------------------------------------------------------------------------------------------------


def _scheduled(state: State, event: StepScheduled) -> None:
    run = Run(id=event.run, step=event.step, started_at=event.at, args=event.args, timeout_s=event.timeout_s)
    run.consumed = _take(state, event.step, event.tokens)
    if run.consumed:
        run.prev = max((token for _, token in run.consumed), key=lambda token: token.id).value
    if event.loop is not None:
        plan = event.loop
        run.loop = LoopState(items=plan.items, total=plan.total, in_flight=plan.in_flight, best_effort=plan.best_effort)
    if event.final:
        state.final_run = event.run
    state.runs[event.run] = run
    state.next_run = event.run + 1
    step = state.steps.get(event.step)
    if step is None:
        step = state.steps[event.step] = StepState("running", started_at=event.at)
    step.status = "running"
    step.runs += 1
    step.error = None


def _take(state: State, target: str, ids: tuple[int, ...]) -> list[tuple[str, WaitingToken]]:
    taken: list[tuple[str, WaitingToken]] = []
    places = state.places.get(target, {})
    for source, tokens in list(places.items()):
        for token in [token for token in tokens if token.id in ids]:
            tokens.remove(token)
            taken.append((source, token))
        if not tokens:
            del places[source]
    if not places:
        state.places.pop(target, None)
    return taken


def _skipped(state: State, event: StepSkipped) -> None:
    _take(state, event.step, event.tokens)
    if event.step not in state.steps:
        state.steps[event.step] = StepState("skipped")
    elif state.steps[event.step].status != "running":
        state.steps[event.step].status = "skipped"


def _step_completed(state: State, event: StepCompleted) -> None:
    run = state.runs[event.run]
    run.phase = "routing"
    run.result, labels = _result_of(state, run)
    state.results[event.step] = run.result
    if labels is not None:
        state.labels[event.step] = labels
    step = state.steps[event.step]
    step.ended_at = event.at
    if not _runs_elsewhere(state, run):
        step.status = "completed"
    state.last_completed = event.step


def _runs_elsewhere(state: State, run: Run) -> bool:
    return any(other.step == run.step and other is not run and other.phase == "running" for other in state.runs.values())


def _result_of(state: State, run: Run) -> tuple[Value, dict[str, Value] | None]:
    """The step's result, and its tasks' by label where it has several."""
    if run.loop is not None:
        return _loop_result(state, run, run.loop), None
    frame = run.frames.get(0)
    return (None, None) if frame is None else frame_result(frame)


def _loop_result(state: State, run: Run, loop: LoopState) -> Value:
    own = run.frames.get(-1)
    if own is not None and own.replaced:
        return own.result
    results = loop_handle(state.execution_id, run.id, loop)
    stats = {"total": loop.total, "success": loop.success, "failed": loop.failed}
    return {"results": results, "data": results, "count": loop.total, "stats": stats}


def loop_handle(execution_id: int, run_id: int, loop: LoopState) -> Handle:
    """The list of a loop's results, which lies in the table of loop items."""
    return Handle.of_loop(execution_id, run_id, loop.total, loop.size)


def frame_value(frame: Frame) -> Value:
    """What the pipeline gave: the last result that is not null, unless a rule put another in its place."""
    return frame.result if frame.replaced else frame.good


def frame_result(frame: Frame) -> tuple[Value, dict[str, Value] | None]:
    """The result of a step without a loop: with the results of its tasks by label, where it has several."""
    value = frame_value(frame)
    if len(frame.labels) < 2:
        return value, None
    if isinstance(value, dict) and "results" not in value:
        value = {**value, "results": dict(frame.labels)}
    return value, dict(frame.labels)


def _step_failed(state: State, event: StepFailed) -> None:
    run = state.runs[event.run]
    run.phase = "routing"
    run.error = event.error
    if run.loop is None and 0 in run.frames:
        run.frames[0].phase = "failed"
    run.result = failed_result(event.error, _answer_of(run) if run.loop is None else _loop_result(state, run, run.loop))
    state.results[event.step] = run.result
    step = state.steps[event.step]
    step.status = "failed"
    step.error = event.error
    step.ended_at = event.at


def _answer_of(run: Run) -> Value:
    """What the tool answered in the failed frame, if it did."""
    frame = next((frame for frame in run.frames.values() if frame.phase == "failed"), None)
    return frame.outcome.result if frame is not None and frame.outcome is not None else None


def failed_result(error: dict[str, Any], answer: Value) -> Value:
    """What a failed call is seen as: the error, and the tool's answer over it where there is one."""
    about: dict[str, Any] = {"status": "error", "error": error}
    if "status_code" in error:
        about["status_code"] = error["status_code"]
    if isinstance(answer, dict):
        return {**about, **answer}
    return about if answer is None else {**about, "data": answer}


def _routed(state: State, event: StepRouted) -> None:
    run = state.runs.pop(event.run)
    for patch in event.writes:
        if patch.scope == "ctx":  # what is written elsewhere ends with the run
            state.ctx = patched(state.ctx, patch)
    for token in event.tokens:
        _put(state, token, run.result)
    if run.error is not None and not event.handled:
        state.failed_runs[run.id] = run


def _put(state: State, token: Token, value: Value) -> None:
    _waiting(state, token.target, token.source or "").append(WaitingToken(token.id, token.args, value))
    state.next_token = max(state.next_token, token.id + 1)


def _waiting(state: State, target: str, source: str) -> list[WaitingToken]:
    return state.places.setdefault(target, {}).setdefault(source, [])


def _warning(state: State, event: WarningRaised) -> None:
    """For readers only."""


_FOLDERS: Final[Mapping[type, Callable[[State, Any], None]]] = {
    **FRAME_FOLDERS,
    CancelRequested: _cancel_requested,
    ExecutionCancelled: _cancelled,
    ExecutionCompleted: _completed,
    ExecutionFailed: _failed,
    ExecutionRequested: _requested,
    ExecutionResumed: _resumed,
    ExecutionStarted: _started,
    ExecutionStopping: _stopping,
    GraceEnded: _grace_ended,
    StepCompleted: _step_completed,
    StepFailed: _step_failed,
    StepRouted: _routed,
    StepScheduled: _scheduled,
    StepSkipped: _skipped,
    WarningRaised: _warning,
}
