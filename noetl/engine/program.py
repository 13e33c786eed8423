"""A net made ready to run: templates compiled, once each, when they are first needed."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, Final

from noetl.dsl.kinds import KINDS, OWN_DATABASE
from noetl.dsl.net import START, Net, reach_sets
from noetl.dsl.playbook import Action, Admission, Arc, Emit, Raw, Rule, Sink, Step, Target, Task, Write
from noetl.dsl.template import Renderable, compile_code, compile_guard, compile_raw, compile_text, guard_names, guard_paths, names

FAILURE_NAMES: Final = frozenset({"event", "error", "outcome", "output"})
_STEP_FAILURE_KEYS: Final = frozenset({"status", "status_code", "error"})
_UNASKED: Final = object()
_CODE_FIELDS: Final = frozenset({"code", "cmds"})


ExtraNames = Callable[[str, Mapping[str, Any]], frozenset[str] | None]
"""Kind and raw fields -> names that the tool reads besides those of its templates; None for all."""


class WriteProgram:
    """`name` is how messages call it."""

    __slots__ = ("key", "name", "scope", "value")

    def __init__(self, write: Write) -> None:
        self.scope = write.scope
        self.name = f"{write.scope}.{write.key}"
        self.key = compile_text(write.key)
        self.value = compile_raw(write.value)


class RuleProgram:
    """A rule and its guard. `events` is whether the guard speaks of events: only then it is read at `step.enter` and `loop.done`."""

    __slots__ = ("actions", "events", "guard", "is_retry", "legacy", "source")

    def __init__(self, rule: Rule) -> None:
        self.source = rule
        self.guard = None if rule.when is None else compile_guard(rule.when)
        self.events = rule.when is not None and "event" in guard_names(rule.when)
        self.legacy = rule.legacy
        self.actions = rule.actions


class TargetProgram:
    __slots__ = ("args", "step")

    def __init__(self, target: Target | Arc) -> None:
        self.step = target.step
        self.args = compile_raw(target.args)


class ArcProgram:
    """`on_failure`: the arc may be taken after a failure, since its guard speaks of it."""

    __slots__ = ("guard", "on_failure", "source", "target", "writes")

    def __init__(self, arc: Arc, step: str) -> None:
        self.source = arc
        self.guard = None if arc.when is None else compile_guard(arc.when)
        self.on_failure = arc.when is not None and _speaks_of_failure(arc.when, step)
        self.target = TargetProgram(arc)
        self.writes = tuple(WriteProgram(write) for write in arc.set)


def _speaks_of_failure(when: Raw, step: str) -> bool:
    if guard_names(when) & FAILURE_NAMES:
        return True
    own = ((step,), ("steps", step))
    return any(path[: len(start)] == start and set(path[len(start) :]) & _STEP_FAILURE_KEYS for path in guard_paths(when) for start in own)


class TaskProgram:
    """A task of a pipeline, or a sink of a rule. `reads` are the names that its templates use."""

    def __init__(self, task: Task, position: int) -> None:
        self.task = task
        self.position = position
        self.rules = tuple(RuleProgram(rule) for rule in task.rules)
        self.writes = tuple(WriteProgram(write) for write in task.set)
        self._wants: object = _UNASKED

    def wants(self, extra_names: ExtraNames) -> frozenset[str] | None:
        """What the tool itself reads, asked once."""
        if self._wants is _UNASKED:
            self._wants = extra_names(self.task.kind, self.task.fields)
        return self._wants  # type: ignore[return-value]  # asked by now

    @functools.cached_property
    def shares(self) -> bool:
        """Whether its calls use the database that those of an execution share."""
        kind = KINDS.get(self.task.kind)
        return kind is not None and kind.own_database is not None and self.task.fields.get(kind.own_database, OWN_DATABASE) == OWN_DATABASE

    def declares(self, name: str, given: Mapping[str, Any]) -> bool:
        """Whether an input is declared only: a null that the author wrote hides nothing that is given."""
        return self.task.args[name] is None and name in given

    @functools.cached_property
    def args(self) -> dict[str, Renderable]:
        return {name: compile_raw(value) for name, value in self.task.args.items()}

    @functools.cached_property
    def defaults(self) -> dict[str, Renderable]:
        return {name: compile_raw(value) for name, value in self.task.defaults.items()}

    @functools.cached_property
    def fields(self) -> dict[str, Renderable]:
        return {name: (compile_code if name in _CODE_FIELDS else compile_raw)(value) for name, value in self.task.fields.items()}

    @functools.cached_property
    def timeout(self) -> Renderable:
        return compile_raw(self.task.timeout)

    @functools.cached_property
    def memory_bytes(self) -> Renderable:
        return compile_raw(self.task.memory_bytes)

    @functools.cached_property
    def reads(self) -> frozenset[str]:
        return names((self.task.fields, self.task.args, self.task.defaults, self.task.timeout, self.task.memory_bytes))


class StepProgram:
    def __init__(self, step: Step) -> None:
        self.step = step
        self.tasks = tuple(TaskProgram(task, position) for position, task in enumerate(step.tasks))
        self.last = max((program.position for program in self.tasks if not program.task.sink), default=-1)
        """Position of the task whose result is the step's, if nothing else is said."""
        self.by_label = {program.task.label: program for program in self.tasks}
        self.args = compile_raw(step.args)
        self.rules = tuple(RuleProgram(rule) for rule in step.rules)
        self.answers_events = any(rule.events for rule in self.rules)
        self.writes = tuple(WriteProgram(write) for write in step.set)
        self.arcs = tuple(ArcProgram(arc, step.name) for arc in step.arcs)
        self.timeout = compile_raw(step.timeout)
        self.requires = compile_raw(step.requires)
        self.items = None if step.loop is None else compile_raw(step.loop.items)
        self.in_flight = None if step.loop is None else compile_raw(step.loop.max_in_flight)
        self.admission = _admission(step.admission)
        self._actions: dict[int, Any] = {}

    def compiled(self, action: Action, make: Callable[[Any], Any]) -> Any:
        """What `make` gives for an action of this step's rules, made once."""
        found = self._actions.get(id(action))
        if found is None:
            found = self._actions[id(action)] = make(action)
        return found

    def sink(self, action: Sink) -> TaskProgram:
        made: TaskProgram = self.compiled(action, lambda sink: TaskProgram(sink.task, -1))
        return made

    def targets(self, action: Emit) -> tuple[TargetProgram, ...]:
        made: tuple[TargetProgram, ...] = self.compiled(action, lambda emit: tuple(TargetProgram(target) for target in emit.targets))
        return made


def _admission(admission: Admission | None) -> tuple[tuple[bool, Renderable | None], ...]:
    if admission is None:
        return ()
    return tuple((rule.allow, None if rule.when is None else compile_guard(rule.when)) for rule in admission.rules)


class Program:
    """One per net and process, shared by all its executions."""

    def __init__(self, net: Net, net_hash: str) -> None:
        self.net = net
        self.hash = net_hash
        self.playbook = net.playbook
        self._sources = {step.name: step for step in net.playbook.steps}
        self._steps: dict[str, StepProgram] = {}
        self._order = {name: position for position, name in enumerate(self._sources)}
        self._reach: dict[str, dict[str, int]] = {}

    def step(self, name: str) -> StepProgram:
        program = self._steps.get(name)
        if program is None:
            program = self._steps[name] = StepProgram(self._sources[name])
        return program

    def inputs(self, name: str) -> tuple[str, ...]:
        """Sources of the step's places, in the document order of the arcs."""
        return self.net.inputs[name]

    def position(self, name: str) -> int:
        return self._order[name]

    def bit(self, name: str) -> int:
        return 1 << self._order[name]

    def reach(self, target: str) -> dict[str, int]:
        """For each place of a join, by source: the steps from which a token can still get there, as a set of bits."""
        masks = self._reach.get(target)
        if masks is None:
            masks = {source: sum(self.bit(name) for name in steps) for source, steps in reach_sets(self.net, target).items()}
            self._reach[target] = masks
        return masks

    @functools.cached_property
    def keychain_reads(self) -> frozenset[str]:
        """Names that the entries of the keychain use."""
        return names([entry.fields for entry in self.playbook.keychain])

    @functools.cached_property
    def fair_key(self) -> Renderable | None:
        return None if self.playbook.fair_key is None else compile_raw(self.playbook.fair_key)

    @functools.cached_property
    def kinds(self) -> frozenset[str]:
        """Tool kinds that the playbook may call."""
        kinds = {task.kind for step in self.playbook.steps for task in step.tasks}
        return frozenset(
            kinds | {action.task.kind for step in self.playbook.steps for rule in step.rules for action in rule.actions if isinstance(action, Sink)}
        )


__all__ = ["START", "ArcProgram", "Program", "RuleProgram", "StepProgram", "TargetProgram", "TaskProgram", "WriteProgram"]
