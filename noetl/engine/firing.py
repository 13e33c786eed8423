"""Which transitions are enabled, and what happens when one fires."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from noetl.dsl.lookup import Load, not_loaded, whole
from noetl.engine.draft import Draft
from noetl.engine.failure import failure, template_failure
from noetl.engine.loops import advance
from noetl.engine.pipeline import complete, enter, fail
from noetl.engine.program import StepProgram
from noetl.engine.routing import begin_failure
from noetl.engine.state import State, WaitingToken
from noetl.engine.turn import Turn
from noetl.errors import TemplateError
from noetl.events import LoopPlan, StepScheduled, StepSkipped, Value
from noetl.values import Handle

Taken = list[tuple[str, WaitingToken]]
"""Tokens that a firing takes, with the sources of their places."""


def fire(turn: Turn, name: str) -> None:
    """Fire a step once if it is enabled, and look again afterwards."""
    taken = enabled(turn, name)
    if taken is not None:
        _fire(turn, name, taken)


def force(turn: Turn, name: str) -> bool:
    """Fire a step whose `auto` join waits for tokens that never come, with those it has. False when it does not wait for that, or is not admitted."""
    if turn.program.step(name).step.join != "auto" or enabled(turn, name) is not None:
        return False
    before = len(turn.events)
    places = turn.state.places[name]
    _fire(turn, name, [(source, places[source][0]) for source in turn.program.inputs(name) if places.get(source)])
    return len(turn.events) > before


def _fire(turn: Turn, name: str, taken: Taken) -> None:
    step = turn.program.step(name)
    arguments = _token_args(turn, name, taken)
    draft = _draft(turn, name, arguments, _prev(taken))
    if not _admitted(draft, step):
        _refuse(turn, step, taken, draft)
        return
    if turn.state.next_run > turn.program.playbook.limits.max_step_runs:
        begin_failure(turn, failure("limit", f"the execution has run {turn.program.playbook.limits.max_step_runs} steps", step=name))
        return
    draft.emit()
    start(turn, step, taken, arguments)
    turn.do("fire", name)


def enabled(turn: Turn, name: str) -> Taken | None:
    """The tokens that the step would take now; None when its join is not satisfied."""
    places = turn.state.places.get(name)
    if not places:
        return None
    inputs = turn.program.inputs(name)
    join = turn.program.step(name).step.join
    filled = [source for source in inputs if places.get(source)]
    if join == "any" or (len(inputs) < 2 and not isinstance(join, int)):
        source = min(filled, key=lambda source: places[source][0].id)
        return [(source, places[source][0])]
    if join == "all":
        ready = len(filled) == len(inputs)
    elif isinstance(join, int):
        filled = sorted(filled, key=lambda source: places[source][0].id)[:join]
        ready = len(filled) == join
    else:
        ready = not _more_can_come(turn, name, filled)
    return [(source, places[source][0]) for source in inputs if source in filled] if ready else None


def _more_can_come(turn: Turn, name: str, filled: Iterable[str]) -> bool:
    """Whether a live token elsewhere can still reach an empty place of the step without passing through it."""
    reach = turn.program.reach(name)
    live = live_steps(turn, apart_from=name)
    return any(live & mask for source, mask in reach.items() if source not in filled)


def live_steps(turn: Turn, *, apart_from: str) -> int:
    """Where tokens are: steps that run or have tokens waiting, as a set of bits."""
    state, program = turn.state, turn.program
    bits = 0
    for run in state.runs.values():
        if run.step != apart_from:
            bits |= program.bit(run.step)
    for name in state.places:
        if name != apart_from:
            bits |= program.bit(name)
    return bits


def _token_args(turn: Turn, name: str, taken: Taken) -> dict[str, Value]:
    """The tokens' args, merged in the document order of the arcs: later wins."""
    if len(taken) == 1:
        return taken[0][1].args
    arguments: dict[str, Value] = {}
    for _, token in sorted(taken, key=lambda pair: turn.program.inputs(name).index(pair[0])):
        arguments = {**arguments, **token.args}
    return arguments


def _prev(taken: Taken) -> Value:
    """The result of the step whose token came last."""
    if len(taken) == 1:
        return taken[0][1].value
    return max((token for _, token in taken), key=lambda token: token.id).value if taken else None


def _draft(turn: Turn, name: str, arguments: dict[str, Value], prev: Value) -> Draft:
    """For what is rendered before the step has a run."""
    return Draft(turn, lambda: turn.scope(step=name).entering(arguments, prev))


def _admitted(draft: Draft, step: StepProgram) -> bool:
    """The first rule that holds decides; none: allowed."""
    for allow, guard in step.admission:
        if draft.holds(guard, "an admission rule"):
            return allow
    return True


def _refuse(turn: Turn, step: StepProgram, taken: Taken, draft: Draft) -> None:
    """Drop the tokens, or let them wait until `ctx` changes."""
    name = step.step.name
    if step.step.admission is not None and step.step.admission.wait:
        return
    draft.emit()
    turn.emit(StepSkipped(step=name, tokens=tuple(token.id for _, token in taken), reason="admission was denied"))
    turn.do("fire", name)


def start(turn: Turn, step: StepProgram, taken: Taken, arguments: dict[str, Value], *, final: bool = False) -> None:
    """Schedule a run of the step, and begin it."""
    name = step.step.name
    tokens = tuple(token.id for _, token in taken)
    run_id = turn.state.next_run
    error: dict[str, Any] | None = None
    loop: LoopPlan | None = None
    timeout_s: float | None = None
    prev = _prev(taken)
    try:
        arguments = {**_draft(turn, name, arguments, prev).args(step.args), **arguments}
        draft = _draft(turn, name, arguments, prev)
        loop = _loop_plan(draft, step)
        timeout_s = _timeout_s(draft, step)
    except TemplateError as problem:
        error = template_failure(problem, name)
    if step.step.loop is not None and step.step.loop.mode == "cursor":
        error = failure("unsupported", "cursor loops have no backend in this version", step=name)
    turn.emit(StepScheduled(step=name, run=run_id, at=turn.now, tokens=tokens, args=arguments, loop=loop, timeout_s=timeout_s, final=final))
    run = turn.state.runs[run_id]
    if error is not None:
        fail(turn, run, error)
    elif not step.tasks:
        complete(turn, run)
    elif loop is not None:
        advance(turn, run)
    else:
        enter(turn, run, 0)


def _timeout_s(draft: Draft, step: StepProgram) -> float | None:
    return None if step.step.timeout is None else draft.number(step.step.timeout, "timeout", least=0)


def _loop_plan(draft: Draft, step: StepProgram) -> LoopPlan | None:
    loop = step.step.loop
    if loop is None or step.items is None:
        return None
    items = elements(draft.render(step.items, "loop.in"), draft.turn.load)
    total = items.data.length or 0 if isinstance(items, Handle) else len(items)
    in_flight = 1 if loop.mode == "sequential" else int(draft.number(loop.max_in_flight, "max_in_flight", least=1))
    return LoopPlan(
        items=items if isinstance(items, Handle) else draft.turn.keep(items), total=total, in_flight=in_flight, best_effort=loop.best_effort
    )


def elements(value: Any, load: Load = not_loaded) -> list[Any] | Handle:
    """What a loop's `in` goes over: a list as it is, nothing for null, a JSON list in a text, pairs of a mapping, else the value alone."""
    if isinstance(value, Handle):
        return value if value.data.shape == "list" else elements(whole(value, load))
    if value is None:
        return []
    if isinstance(value, list):
        return value
    if isinstance(value, dict):
        return [{"key": key, "value": item} for key, item in value.items()]
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            parsed = msgspec.json.decode(value)
        except msgspec.DecodeError:
            return [value]
        return parsed if isinstance(parsed, list) else [value]
    return [value]


def look_again(turn: Turn) -> None:
    """Steps whose tokens wait may have become enabled by what ended elsewhere: joins, and steps that admission let wait."""
    for name in turn.state.places:
        turn.do("fire", name)


def oldest_waiting_join(state: State) -> str | None:
    """The step whose oldest token has waited longest."""
    waiting = [(tokens[0].id, name) for name, places in state.places.items() for tokens in places.values() if tokens]
    return min(waiting)[1] if waiting else None
