"""Which rule answers an outcome or a boundary of a step, and what its actions do."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any, Final, Literal

from msgspec import Struct

from noetl.dsl.playbook import Break, Collect, Continue, Emit, Fail, Jump, Result, Retry, Set, Sink, Skip
from noetl.dsl.template import Renderable, compile_raw
from noetl.engine.draft import FrameDraft
from noetl.engine.failure import Error, failure
from noetl.engine.program import RuleProgram, StepProgram, WriteProgram
from noetl.engine.state import Frame
from noetl.events import Boundary

_AFTER_ERROR: Final = 3
_SPEAKS_OF_EVENTS: frozenset[Boundary] = frozenset({"enter", "loop"})
"""Boundaries that only rules with an event in their guard answer."""


class Verdict(Struct, frozen=True):
    """What follows from the rules.

    none: no rule said; wait: an attempt (a retry, a sink) was scheduled and must end first; go: to the next task; jump: to task `to`;
    leave: out of the pipeline, success; fail: with `error`, or with the call's own when it is None.
    """

    kind: Literal["none", "wait", "go", "jump", "leave", "fail"]
    to: str = ""
    error: Error | None = None


NONE = Verdict("none")
WAIT = Verdict("wait")
GO = Verdict("go")
LEAVE = Verdict("leave")
FAIL = Verdict("fail")


def judge(draft: FrameDraft, step: StepProgram, rules: Sequence[RuleProgram], boundary: Boundary) -> Verdict:
    """The first rule that matches, carried out."""
    spent = False
    for position, rule in enumerate(rules):
        if (boundary in _SPEAKS_OF_EVENTS and not rule.events) or (rule.guard is None and spent):
            continue
        with draft.scope.also(**_legacy_names(draft.frame) if rule.legacy else {}):
            if not draft.holds(rule.guard, f"the guard of rule {position + 1}"):
                continue
            retry = next((action for action in rule.actions if isinstance(action, Retry)), None)
            if retry is None or retry.spent == "end" or not _is_spent(draft, retry, _counter(draft.frame, boundary, position)):
                return act(draft, step, rules, boundary, position)
        spent = True
    if not spent:
        return NONE
    if draft.call_error is not None:
        return FAIL
    return Verdict("fail", error=failure("policy", "the attempts of a retry rule are used up"))


def act(draft: FrameDraft, step: StepProgram, rules: Sequence[RuleProgram], boundary: Boundary, position: int, start: int = 0) -> Verdict:
    """Carry out a rule's actions from `start` on. A sink interrupts them: what follows waits for its end."""
    verdict = NONE
    for number, action in enumerate(rules[position].actions[start:], start):
        match action:
            case Set():
                draft.write(draft.writes(step.compiled(action, _writes)))
            case Collect():
                draft.collect(action)
            case Result():
                draft.replace_result(draft.render(step.compiled(action, _value), "result"))
            case Sink():
                draft.schedule(action.task.label, attempt=draft.frame.attempt, call=draft.frame.call + 1, sink=(boundary, position, number))
                return WAIT
            case Retry():
                counter = _counter(draft.frame, boundary, position)
                if not _is_spent(draft, action, counter):
                    _retry(draft, action, counter)
                    return WAIT
                verdict = LEAVE if draft.call_error is None else FAIL
            case Emit():
                draft.choose(tuple((target.step, draft.args(target.args)) for target in step.targets(action)))
                verdict = verdict if draft.call_error is None else LEAVE
            case Skip():
                draft.choose(())
                verdict = LEAVE
            case Continue():
                verdict = GO
            case Break():
                verdict = LEAVE
            case Jump(to=to):
                verdict = Verdict("jump", to=to)
            case Fail():
                verdict = _fail(draft, draft.render(step.compiled(action, _message), "message"))
    return verdict


def _writes(action: Set) -> tuple[WriteProgram, ...]:
    return tuple(WriteProgram(write) for write in action.writes)


def _value(action: Result) -> Renderable:
    return compile_raw(action.value)


def _message(action: Fail) -> Renderable:
    return compile_raw(action.message)


def _legacy_names(frame: Frame) -> dict[str, Any]:
    """What the guards of a step's `retry` see: the error is text there."""
    outcome = frame.outcome
    if outcome is None:
        return {}
    error = outcome.error or {}
    data = outcome.result.get("data", outcome.result) if isinstance(outcome.result, dict) else outcome.result
    return {
        "error": error.get("message") if outcome.error is not None else None,
        "status_code": error.get("status_code", outcome.helper.get("http", {}).get("status")),
        "success": outcome.error is None,
        "data": data,
        "attempt": outcome.attempt,
    }


def _fail(draft: FrameDraft, message: Any) -> Verdict:
    """The step fails, with the call's error if it has one, in the author's words if there are any."""
    words = message if isinstance(message, str) and message else None
    if draft.call_error is None:
        return Verdict("fail", error=failure("policy", words or "a rule ended the step"))
    return FAIL if words is None else Verdict("fail", error={**draft.call_error, "message": words})


def _counter(frame: Frame, boundary: Boundary, position: int) -> str:
    """The name of a rule's count of retries: tasks have their own, so that a jump can start some again."""
    return f"{frame.task}:{boundary}:{position}"


def counts_for(counter: str, tasks: set[str]) -> bool:
    return counter.rsplit(":", 2)[0] in tasks


def _is_spent(draft: FrameDraft, retry: Retry, counter: str) -> bool:
    attempts = retry.attempts
    if attempts is None:  # paging goes on as long as there are pages; a failure does not
        if draft.call_error is None:
            return False
        attempts = _AFTER_ERROR
    return draft.frame.retries.get(counter, 0) + 1 >= draft.number(attempts, "attempts")


def _retry(draft: FrameDraft, retry: Retry, counter: str) -> None:
    """The same task again: after a failure the same call, after a success a new one."""
    frame = draft.frame
    count = frame.retries.get(counter, 0) + 1
    wait_s = _wait_s(draft, retry, count)
    overrides = draft.render(compile_raw(retry.overrides), "retry") if retry.overrides else None
    draft.schedule(
        frame.task,
        attempt=frame.attempt + 1,
        call=frame.call + 1 if draft.call_error is None else frame.call,
        due_at=draft.turn.now + dt.timedelta(seconds=wait_s) if wait_s > 0 else None,
        retries={**frame.retries, counter: count},
        overrides=None if overrides is None else merged(frame.overrides.get(frame.task, {}), overrides),
    )


def _wait_s(draft: FrameDraft, retry: Retry, count: int) -> float:
    """Seconds before the `count`-th retry, from 1. A `Retry-After` of the other side raises it, up to the cap."""
    delay = draft.number(retry.delay, "delay", least=0)
    cap = draft.number(retry.max_delay, "max_delay", least=0)
    if retry.backoff == "linear":
        delay *= count
    elif retry.backoff == "exponential":
        delay = _grown(delay, draft.number(retry.factor, "backoff_multiplier", least=0), count, cap)
    if retry.jitter:
        delay *= 0.5 + draft.turn.chance
    asked: float = (draft.call_error or {}).get("retry_after_s") or 0.0
    return min(max(delay, asked), cap)


def _grown(delay: float, factor: float, count: int, cap: float) -> float:
    try:
        return delay * factor ** (count - 1)
    except OverflowError:
        return cap


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` laid over `base`: mappings merge, everything else is replaced."""
    result = dict(base)
    for key, value in over.items():
        before = result.get(key)
        result[key] = merged(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return result
