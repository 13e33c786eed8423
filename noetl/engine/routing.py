"""Where the tokens of a step that has ended go."""

from __future__ import annotations

from typing import Any

import msgspec

from noetl.dsl.lookup import MISSING
from noetl.engine.boundary import LOOP_DONE_ARCS, STEP_DONE_ARCS, STEP_FAILED_ARCS, Event
from noetl.engine.draft import Draft
from noetl.engine.failure import failure, template_failure
from noetl.engine.pipeline import LOOP_FRAME, fail
from noetl.engine.program import ArcProgram, StepProgram
from noetl.engine.scope import Scope
from noetl.engine.state import Outcome, Run
from noetl.engine.turn import Turn
from noetl.errors import TemplateError
from noetl.events import ExecutionStopping, Patch, StepRouted, Token, Value
from noetl.values import encode

Targets = list[tuple[str, dict[str, Value]]]


def route(turn: Turn, run: Run) -> None:
    """Apply the step's `set`, choose its arcs, put the tokens into their places."""
    step = turn.program.step(run.step)
    draft = Draft(turn, lambda: _scope(turn, run))
    try:
        writes, targets = _succeeded(draft, step, run) if run.error is None else _failed(draft, step)
    except TemplateError as error:
        _template_failed(turn, run, draft, error)
        return
    if targets is None and run.error is None and _must_match(turn, step):
        fail(turn, run, failure("policy", f"no arc of step '{run.step}' matched", step=run.step))
        return
    draft.emit()
    handled = run.error is None or targets is not None
    _emit_routed(turn, run, writes, targets or [], handled=handled)


def _emit_routed(turn: Turn, run: Run, writes: list[Patch], targets: Targets, *, handled: bool) -> None:
    first = turn.state.next_token
    tokens = tuple(Token(id=first + number, target=target, source=run.step, args=args) for number, (target, args) in enumerate(targets))
    turn.emit(StepRouted(step=run.step, run=run.id, tokens=tokens, writes=tuple(writes), handled=handled))
    if not handled and turn.state.failure is None:
        begin_failure(turn, {"step": run.step, **(run.error or {})})
    for target in dict.fromkeys(target for target, _ in targets):
        turn.do("fire", target)


def begin_failure(turn: Turn, error: dict[str, Any]) -> None:
    """The execution fails: at once, after a grace for what runs, or when the other branches have ended."""
    playbook = turn.program.playbook
    until = None if playbook.drain_on_failure else turn.after(playbook.cancel_grace_s)
    turn.emit(ExecutionStopping(error=error, until=until))


def _scope(turn: Turn, run: Run) -> Scope:
    """What guards of arcs see: the step's result, its last call, and the event."""
    frame = run.frames.get(0) if run.loop is None else run.frames.get(LOOP_FRAME)
    name = STEP_FAILED_ARCS if run.error is not None else LOOP_DONE_ARCS if run.loop is not None else STEP_DONE_ARCS
    status = "failed" if run.error is not None else "completed"
    scope = turn.scope(run=run, frame=frame)
    seen = scope.step_result(run.step)
    extra: dict[str, Any] = {"event": Event(name, step=run.step, status=status, payload=run.result, load=turn.load), "result": seen}
    if run.error is None:
        extra |= {"_prev": seen, "response": seen}
    else:
        extra |= {"error": run.error, "response": MISSING}
    outcome = None if frame is None else frame.outcome
    extra["outcome"] = extra["output"] = scope.envelope(_outcome_of(run, outcome))
    answer = outcome.result if outcome is not None and isinstance(outcome.result, dict) else {}
    extra |= {name: answer[name] for name in ("exit_code", "stdout", "stderr") if name in answer}  # a shell step's guards read these bare
    scope.bind(**extra)
    return scope


def _outcome_of(run: Run, last: Outcome | None) -> Outcome:
    """The outcome of the step: that of its last call, unless there was none, or the step has failed for another reason."""
    if last is None:
        return Outcome("ok" if run.error is None else "error", run.step, 1, result=run.result, error=run.error)
    return last if run.error is None or last.error is not None else msgspec.structs.replace(last, status="error", error=run.error)


def _succeeded(draft: Draft, step: StepProgram, run: Run) -> tuple[list[Patch], Targets | None]:
    """The writes, and the targets; None when no arc matched."""
    writes = draft.writes(step.writes)
    chosen = _chosen_by_rules(run)
    if chosen is not None:
        return writes, chosen
    return _arcs(draft, step, step.arcs, writes)


def _failed(draft: Draft, step: StepProgram) -> tuple[list[Patch], Targets | None]:
    """Only arcs that speak of failure are considered."""
    writes, targets = _arcs(draft, step, tuple(arc for arc in step.arcs if arc.on_failure), [])
    return writes, targets


def _arcs(draft: Draft, step: StepProgram, arcs: tuple[ArcProgram, ...], writes: list[Patch]) -> tuple[list[Patch], Targets | None]:
    held: dict[int, bool] = {}
    targets: Targets = []
    for arc in arcs:
        if not _arc_holds(draft, step, arc, held):
            continue
        writes = writes + draft.writes(arc.writes)
        targets.append((arc.target.step, draft.args(arc.target.args)))
        if not step.step.inclusive:
            break
    return writes, targets or None


def _arc_holds(draft: Draft, step: StepProgram, arc: ArcProgram, held: dict[int, bool]) -> bool:
    if any(_guard_holds(draft, step, position, held) for position in arc.source.unless):
        return False
    return _guard_holds(draft, step, step.arcs.index(arc), held)


def _guard_holds(draft: Draft, step: StepProgram, position: int, held: dict[int, bool]) -> bool:
    """Each guard is evaluated once."""
    if position not in held:
        arc = step.arcs[position]
        held[position] = draft.holds(arc.guard, f"the guard of the arc to '{arc.target.step}'")
    return held[position]


def _chosen_by_rules(run: Run) -> Targets | None:
    """A loop's iterations choose for the whole loop: equal pairs of target and args once."""
    frames = [run.frames[index] for index in (0, LOOP_FRAME) if index in run.frames and (run.loop is None or index == LOOP_FRAME)]
    chosen = [*(run.loop.targets or ())] if run.loop is not None else []
    said = run.loop is not None and run.loop.targets is not None
    for frame in frames:
        if frame.targets is not None:
            said = True
            chosen += frame.targets
    if not said:
        return None
    return chosen if run.loop is None else list({encode(pair): pair for pair in chosen}.values())


def _must_match(turn: Turn, step: StepProgram) -> bool:
    return bool(step.arcs) and (step.step.fail_on_no_match or turn.program.playbook.no_next_is_error)


def _template_failed(turn: Turn, run: Run, draft: Draft, error: TemplateError) -> None:
    """A `set` or an arc's args can't be rendered: the step fails; if it has failed already, nobody handles it."""
    problem = template_failure(error, run.step)
    if run.error is None:
        fail(turn, run, problem)
        return
    draft.warn(f"an arc for the failure can't be taken: {problem['message']}")
    draft.emit()
    _emit_routed(turn, run, [], [], handled=False)
