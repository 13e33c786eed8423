"""A frame's way through the tasks of its step: entering, judging outcomes, leaving."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from noetl.engine.boundary import CALL_DONE, CALL_ERROR, LOOP_DONE, STEP_ENTER, STEP_EXIT, Event, EventName
from noetl.engine.draft import FrameDraft
from noetl.engine.evolve import frame_value
from noetl.engine.failure import Error, failure, located, template_failure
from noetl.engine.program import StepProgram
from noetl.engine.rules import GO, Verdict, act, counts_for, judge
from noetl.engine.scope import Scope
from noetl.engine.state import Frame, Run
from noetl.engine.turn import Turn
from noetl.errors import TemplateError
from noetl.events import Boundary, IterationCompleted, IterationFailed, StepCompleted, StepFailed, TaskScheduled

LOOP_FRAME: Final = -1
"""Index of the frame in which a loop answers its own end."""


def enter(turn: Turn, run: Run, index: int) -> None:
    """Start a frame: the rules for `step.enter`, then the first task."""
    step = turn.program.step(run.step)
    if not step.answers_events:
        turn.emit(TaskScheduled(step=run.step, run=run.id, index=index, task=step.tasks[0].task.label))
        return
    draft = _draft(turn, run, Frame(index=index, prev=run.prev), STEP_ENTER)
    _carry_out(draft, step, lambda: _after_enter(draft, step, judge(draft, step, step.rules, "enter")))


def settle(turn: Turn, run: Run, frame: Frame) -> None:
    """Judge what has ended in the frame: its call, or the sink of one of its rules."""
    step = turn.program.step(run.step)
    failed = frame.outcome is not None and frame.outcome.error is not None
    event = CALL_ERROR if failed else CALL_DONE
    if frame.sink is None:
        draft = _draft(turn, run, frame, event)
        _carry_out(draft, step, lambda: _after_call(draft, step, _judge_call(draft, step)))
        return
    boundary, position, number = frame.sink
    draft = _draft(turn, run, frame, _BOUNDARY_EVENTS.get(boundary, event))
    _carry_out(draft, step, lambda: _after_sink(draft, step, boundary, position, number))


def leave_loop(turn: Turn, run: Run) -> None:
    """All iterations are over: the rules for `loop.done`, then the step is done."""
    step = turn.program.step(run.step)
    if not step.answers_events:
        complete(turn, run)
        return
    draft = _draft(turn, run, Frame(index=LOOP_FRAME, prev=run.prev), LOOP_DONE)
    _carry_out(draft, step, lambda: _after_loop(draft, judge(draft, step, step.rules, "loop")))


def complete(turn: Turn, run: Run) -> None:
    turn.emit(StepCompleted(step=run.step, run=run.id, at=turn.now))
    turn.do("route", run.id)


def fail(turn: Turn, run: Run, error: Error) -> None:
    """The step fails; its arcs may handle it."""
    turn.emit(StepFailed(step=run.step, run=run.id, at=turn.now, error=error))
    turn.do("route", run.id)


_BOUNDARY_EVENTS: Final[Mapping[str, EventName]] = {"enter": STEP_ENTER, "exit": STEP_EXIT, "loop": LOOP_DONE}


def _draft(turn: Turn, run: Run, frame: Frame, event: EventName) -> FrameDraft:
    return FrameDraft(turn, lambda: _scope(turn, run, frame, event), run, frame)


def _scope(turn: Turn, run: Run, frame: Frame, event: EventName) -> Scope:
    """What rules see at a boundary."""
    outcome = frame.outcome
    status, payload = ("running", None) if outcome is None else (outcome.status, outcome.result)
    scope = turn.scope(run=run, frame=frame, extra={"event": Event(event, step=run.step, status=status, payload=payload, load=turn.load)})
    if outcome is not None:
        task = turn.program.step(run.step).by_label[frame.task]
        if args := {name: value for name, value in task.args.items() if not task.declares(name, run.args)}:
            scope.with_task_args(args, turn.scope(run=run, frame=msgspec.structs.replace(frame, outcome=None)))
    return scope


def _carry_out(draft: FrameDraft, step: StepProgram, work: Callable[[], None]) -> None:
    """Do the work, emit what it gave, and end the frame if it is over. A template that fails on the way fails the frame."""
    try:
        work()
    except TemplateError as error:
        draft.events = [event for event in draft.events if not isinstance(event, TaskScheduled)]
        draft.end(located(template_failure(error, step.step.name), step.step.name, draft.frame))
    draft.emit()
    if draft.ended:
        _end(draft.turn, draft.run, draft.frame.index, draft.error)


def _end(turn: Turn, run: Run, index: int, error: Error | None) -> None:
    if run.loop is None or index == LOOP_FRAME:
        if error is None:
            complete(turn, run)
        else:
            fail(turn, run, error)
        return
    if error is None:
        turn.emit(IterationCompleted(step=run.step, run=run.id, index=index, result=frame_value(run.frames[index])))
    else:
        turn.emit(IterationFailed(step=run.step, run=run.id, index=index, error=error))
    turn.do("advance", run.id)


def _judge_call(draft: FrameDraft, step: StepProgram) -> Verdict:
    """The task's policy, then the step's rules. A task that did not fail the step writes its own `set` in between."""
    task = step.by_label[draft.frame.task]
    verdict = judge(draft, step, task.rules, "task")
    if verdict.kind in ("wait", "fail"):
        return verdict
    if draft.call_error is None or verdict.kind != "none":
        draft.write(draft.writes(task.writes))
    return judge(draft, step, step.rules, "call") if verdict.kind == "none" else verdict


def _after_enter(draft: FrameDraft, step: StepProgram, verdict: Verdict) -> None:
    """`skip` and `next` at `step.enter` leave before the first call."""
    if verdict.kind == "fail":
        draft.end(verdict.error)
    elif verdict.kind == "leave" or (verdict.kind != "wait" and draft.has_chosen):
        draft.end()
    elif verdict.kind != "wait":
        _schedule(draft, step.tasks[0].task.label, call=0)


def _after_call(draft: FrameDraft, step: StepProgram, verdict: Verdict) -> None:
    error = draft.call_error
    if verdict.kind == "none":
        verdict = GO if error is None else Verdict("fail")
    match verdict.kind:
        case "fail":
            draft.end(located(verdict.error or error or failure("policy", "a rule ended the step"), step.step.name, draft.frame))
        case "go":
            _go_on(draft, step, step.by_label[draft.frame.task].position)
        case "jump":
            _jump(draft, step, verdict.to)
        case "leave":
            _leave(draft, step)
        case _:
            pass  # wait: an attempt was scheduled


def _after_sink(draft: FrameDraft, step: StepProgram, boundary: Boundary, position: int, number: int) -> None:
    """Its failure fails the step; else the rule goes on behind it."""
    frame = draft.frame
    if frame.sink_error is not None:
        draft.end(located(frame.sink_error, step.step.name, frame))
        return
    if boundary == "save":
        _go_on(draft, step, position)
        return
    rules = step.by_label[frame.task].rules if boundary == "task" else step.rules
    verdict = act(draft, step, rules, boundary, position, number + 1)
    match boundary:
        case "enter":
            _after_enter(draft, step, verdict)
        case "exit" | "loop":
            _after_loop(draft, verdict)
        case _:
            _after_call(draft, step, verdict)


def _go_on(draft: FrameDraft, step: StepProgram, position: int) -> None:
    """Run the task behind the one at `position`; behind the last, leave."""
    following = position + 1
    if following == len(step.tasks):
        _leave(draft, step)
        return
    task = step.tasks[following].task
    if task.sink:
        draft.schedule(task.label, attempt=draft.frame.attempt, call=draft.frame.call, sink=("save", following, 0))
    else:
        _schedule(draft, task.label, call=draft.frame.call)


def _leave(draft: FrameDraft, step: StepProgram) -> None:
    """The pipeline is over: the rules for `step.exit`, unless one has chosen where to go; then the frame ends."""
    _name_results(draft, step)
    if draft.has_chosen or not step.rules:
        draft.end()
        return
    draft.scope.bind(event=draft.scope["event"].renamed(STEP_EXIT))
    _after_loop(draft, judge(draft, step, step.rules, "exit"))


def _name_results(draft: FrameDraft, step: StepProgram) -> None:
    """A pipeline that is left after its first task has the results by label, too: from the state alone one can't tell that there are more tasks."""
    frame = draft.frame
    value = frame_value(frame)
    if draft.run.loop is None and step.last > 0 and len(frame.labels) == 1 and isinstance(value, dict) and "results" not in value:
        draft.replace_result({**value, "results": dict(frame.labels)})


def _after_loop(draft: FrameDraft, verdict: Verdict) -> None:
    """The last boundary was answered."""
    if verdict.kind == "fail":
        draft.end(verdict.error or draft.call_error or failure("policy", "a rule ended the step"))
    elif verdict.kind != "wait":
        draft.end()


def _jump(draft: FrameDraft, step: StepProgram, to: str) -> None:
    """Go on at a task; the counters of the tasks at and after it start again."""
    again = {program.task.label for program in step.tasks[step.by_label[to].position :]}
    retries = {counter: count for counter, count in draft.frame.retries.items() if not counts_for(counter, again)}
    _schedule(draft, to, call=draft.frame.call + 1, retries=retries)


def _schedule(draft: FrameDraft, label: str, *, call: int, retries: dict[str, int] | None = None) -> None:
    limit = draft.turn.program.playbook.limits.max_tasks_per_run
    if draft.frame.executed >= limit:
        draft.end(located(failure("limit", f"the pipeline has run {limit} tasks"), draft.run.step, draft.frame))
    else:
        draft.schedule(label, call=call, retries=retries)
