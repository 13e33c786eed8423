"""When an execution is at rest, and how it ends."""

from __future__ import annotations

from typing import Any

from noetl.engine.failure import failure
from noetl.engine.firing import force, start
from noetl.engine.routing import begin_failure
from noetl.engine.state import State
from noetl.engine.turn import Turn
from noetl.events import ExecutionCancelled, ExecutionCompleted, ExecutionFailed


def rest(turn: Turn) -> None:
    """All work that could be done is done: end the execution if it has come to rest."""
    state = turn.state
    if state.status not in ("pending", "running") or not state.started or turn.needs or turn.more:
        return
    if turn.ending:
        if not under_way(state):
            _end(turn)
        return
    if state.runs:
        return
    if state.places:
        _wake_or_fail(turn)
    elif state.failure is not None:
        _end(turn)
    else:
        _complete(turn)


def under_way(state: State) -> bool:
    """Whether an attempt may still be running somewhere."""
    return any(frame.phase == "attempting" and not frame.cancelled for run in state.runs.values() for frame in run.frames.values())


def _wake_or_fail(turn: Turn) -> None:
    """Only tokens are left. `auto` joins that wait for each other: the oldest fires. Anything else will never move."""
    waiting = _by_age(turn.state)
    if any(force(turn, name) for name in waiting):
        return
    if turn.state.failure is None:
        begin_failure(turn, _never(turn, waiting[0]))
    _end(turn)


def _by_age(state: State) -> list[str]:
    """Steps with waiting tokens, the one with the oldest first."""
    oldest = {name: min(tokens[0].id for tokens in places.values()) for name, places in state.places.items()}
    return sorted(oldest, key=oldest.__getitem__)


def _never(turn: Turn, name: str) -> dict[str, Any]:
    step = turn.program.step(name).step
    if step.join not in ("auto", "any"):
        sources = turn.program.inputs(name)
        missing = [source for source in sources if not turn.state.places[name].get(source)]
        why = f"no token from {', '.join(missing)}" if missing else f"it takes {step.join}, and only {len(sources)} can come"
        return failure("policy", f"join '{name}' never completed: {why}", step=name)
    return failure("policy", f"step '{name}' was never admitted", step=name)


def _complete(turn: Turn) -> None:
    if _start_final(turn, "completed"):
        return
    state = turn.state
    turn.emit(ExecutionCompleted(at=turn.now, result=state.results.get(result_step(state) or "")))


def result_step(state: State) -> str | None:
    """Whose result is the execution's: the step that the parent asked for, else `end`, else the last one that completed."""
    if state.parent is not None and state.parent.return_step:
        return state.parent.return_step
    return "end" if "end" in state.results else state.last_completed


def _end(turn: Turn) -> None:
    state = turn.state
    if state.cancel_reason is not None:
        turn.emit(ExecutionCancelled(at=turn.now, reason=state.cancel_reason, unconfirmed=tuple(state.unconfirmed)))
    elif state.failure is not None and not _start_final(turn, "failed"):
        turn.emit(ExecutionFailed(at=turn.now, error=state.failure))


def _start_final(turn: Turn, status: str) -> bool:
    """Fire the playbook's `final_step`, once. Whether it has just started."""
    name = turn.program.playbook.final_step
    state = turn.state
    if name is None or state.final_run is not None:
        return False
    failed = [step for step, of in state.steps.items() if of.status == "failed"]
    arguments = {"execution_id": str(state.execution_id), "status": status, "failed_steps": failed}
    start(turn, turn.program.step(name), [], arguments, final=True)
    return True
