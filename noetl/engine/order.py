"""What an attempt is given: the call's identity, the task, and the values of the names that it reads. Made by the execution, pure."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

from msgspec import Struct

from noetl.dsl.lookup import MISSING, Load
from noetl.dsl.playbook import Keychain, Output, Sink
from noetl.engine.program import ExtraNames, Program, StepProgram, TaskProgram
from noetl.engine.scope import Scope
from noetl.engine.state import Frame, Kept, Run, State
from noetl.events import Boundary, Value
from noetl.ids import ExecutionId, call_id
from noetl.tools.tool import Call

LOOP_NAMES: Final = frozenset({"iter", "loop", "loop_index"})


class Place(Struct, frozen=True):
    """Where in its net a task stands: the step, and the task's label, or the action of a rule that is a sink."""

    step: str
    task: str
    sink: tuple[Boundary, int, int] | None = None


class Order(Struct, frozen=True):
    """One attempt. `names` are those that its templates and its tool read; `inner` those of them that hide an arg of the same name."""

    call: Call
    key: tuple[str, int, int]
    """Task, attempt, call: which attempt of its frame this is."""
    place: Place
    program: TaskProgram
    args: dict[str, Value]
    names: dict[str, Any]
    inner: frozenset[str]
    wants: frozenset[str] | None
    """The names that the tool itself asked for."""
    iterator: str | None
    overrides: dict[str, Any]
    output: Output | None
    pool: str | None
    priority: int
    env: dict[str, Any]
    net: str
    """Hash of the net that the task belongs to."""
    path: str
    """Catalog path of the playbook."""
    depth: int
    max_depth: int
    requires: dict[str, Any] = {}
    """What the node must have that runs it."""
    fair_key: str = ""
    """Calls of one key take turns with those of others."""
    shares: bool = False
    """It shares a database with other calls of the execution, on the node that has it."""
    kept: Kept | None = None
    """Where that lies; None: nowhere yet."""
    is_sink: bool = False
    context: dict[str, Any] = {}
    keychain: tuple[Keychain, ...] = ()
    shared: dict[str, Any] = {}
    """Values of the names that the keychain's entries read: those that are the same for every step."""


def build(program: Program, state: State, run: Run, frame: Frame, load: Load, now: dt.datetime, extra_names: ExtraNames) -> Order:
    """The order for the attempt that the frame waits for. Raises `NotLoaded` when a name's value must be fetched first."""
    step = program.step(run.step)
    place = Place(run.step, frame.task, frame.sink)
    task = task_at(step, place)
    scope = Scope(program, state, load, now, run=run, frame=frame)
    wants = task.wants(extra_names)
    names = {name: found for name in task.reads | (wants or frozenset()) if (found := scope.get(name, MISSING)) is not MISSING}
    if frame.sink is not None:
        names |= _sink_names(scope)
    return Order(
        call=Call(
            id=call_id(ExecutionId(state.execution_id), run.step, run.id, frame.index, frame.current_task, frame.call),
            execution_id=state.execution_id,
            step=run.step,
            run=run.id,
            index=frame.index,
            task=frame.current_task,
            attempt=frame.attempt,
        ),
        key=(frame.current_task, frame.attempt, frame.call),
        place=place,
        program=task,
        args=run.args,
        names=names,
        inner=_inner(step, run, frame),
        wants=wants,
        overrides=frame.overrides.get(frame.current_task, {}),
        requires=step.requires.render(scope, load) if step.step.requires else {},
        fair_key=_fair_key(program, state, scope, load),
        kept=state.kept if task.shares else None,
        env=state.env,
        net=state.net,
        path=state.path,
        depth=0 if state.parent is None else state.parent.depth,
        is_sink=frame.sink is not None,
        context=_everything(scope, step, run) if wants is None else {},
        shared=_shared(program, state, load, now),
        **written(program, step, task),
    )


def _fair_key(program: Program, state: State, scope: Scope, load: Load) -> str:
    """What the author says, else the domain."""
    key = None if program.fair_key is None else program.fair_key.render(scope, load)
    return state.path.partition("/")[0] if key is None else str(key)


def written(program: Program, step: StepProgram, task: TaskProgram) -> dict[str, Any]:
    """Fields of an order that are as the author wrote them: whoever has the net has them."""
    return {
        "iterator": step.step.loop.iterator if step.step.loop is not None else None,
        "output": task.task.output or (step.step.output if task.position == step.last else None),
        "pool": step.step.pool,
        "priority": program.playbook.priority if step.step.priority is None else step.step.priority,
        "max_depth": program.playbook.limits.max_depth,
        "keychain": program.playbook.keychain,
        "shares": task.shares,
    }


def _shared(program: Program, state: State, load: Load, now: dt.datetime) -> dict[str, Any]:
    if not program.keychain_reads:
        return {}
    scope = Scope(program, state, load, now)
    return {name: found for name in program.keychain_reads if (found := scope.get(name, MISSING)) is not MISSING}


def task_at(step: StepProgram, place: Place) -> TaskProgram:
    if place.sink is None:
        return step.by_label[place.task]
    boundary, rule, action = place.sink
    if boundary == "save":
        return step.tasks[rule]
    rules = step.by_label[place.task].rules if boundary == "task" else step.rules
    sink = rules[rule].actions[action]
    assert isinstance(sink, Sink)
    return step.sink(sink)


def _inner(step: StepProgram, run: Run, frame: Frame) -> frozenset[str]:
    loop = {step.step.loop.iterator, "loop", "loop_index"} if run.loop is not None and step.step.loop is not None else set()
    return frozenset(loop | set(frame.local) | set(frame.labels))


def _sink_names(scope: Scope) -> dict[str, Any]:
    """A sink sees the call's result under these names; `data` is also what it stores when its author does not say."""
    outcome = scope.get("outcome")
    data = None if outcome is None else outcome.get("data")
    result = scope.get("result")
    return {"_prev": result, "result": result, "response": scope.get("response"), "data": data}


def _everything(scope: Scope, step: StepProgram, run: Run) -> dict[str, Any]:
    """All that code which reads `context` may see."""
    names = scope.context()
    if run.loop is not None and step.step.loop is not None:
        names |= {name: scope.get(name) for name in (step.step.loop.iterator, *LOOP_NAMES)}
    return names
