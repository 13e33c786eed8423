"""What templates read: names that nothing defines, secrets in guards, events that never come."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from msgspec import Struct

from noetl.dsl.playbook import AnyAction, Collect, Emit, Playbook, Rule, Set, Sink, Step, Task, Write
from noetl.dsl.problem import Place, nearest
from noetl.dsl.read.reader import Reader, TemplateUse
from noetl.dsl.sandbox import sandbox
from noetl.dsl.template import guard_paths, has_template, paths
from noetl.dsl.tree import Map

ENGINE_NAMES: Final = frozenset(
    (
        *("workload", "ctx", "vars", "iter", "step", "steps", "args", "input", "keychain", "event", "outcome", "output", "spec"),
        *("_prev", "_task", "_attempt", "result", "response", "error", "execution_id", "job", "payload", "env", "now", "token"),
    )
)
"""Names that the engine gives a meaning in every template (docs/reference/language.md, 2.1)."""

_ALSO_BOUND: Final = frozenset(
    (
        *("loop", "loop_index", "item", "data", "status_code", "success", "attempt", "exit_code", "stdout", "stderr"),
        *("status", "failed_steps"),  # arguments of the final step
    )
)
_SECRETS: Final = frozenset({"keychain", "token"})
_MAPPING_METHODS: Final = frozenset({"get", "items", "keys", "values"})
EVENTS: Final = ("step.enter", "call.done", "call.error", "step.exit", "step.done", "step.failed", "loop.done")
_EVENT_TEST: Final = re.compile(r"event\.name\s*(?:==|!=)\s*(['\"])(.*?)\1")


class _Known(Struct, frozen=True):
    """What a playbook defines. `ctx` is None when it writes keys that are templates."""

    names: frozenset[str]
    ctx: frozenset[str] | None
    keychain: frozenset[str]


def check_names(read: Reader, playbook: Playbook, root: Map) -> None:
    known = _known(playbook)
    seen: set[tuple[str, ...]] = set()
    for use in read.templates:
        text = use.node.value
        found = guard_paths(text) if use.guard else paths(text)
        if use.guard:
            _check_guard(read, use, found)
        for path in sorted({path[:2] if path[0] in known.names else path[:1] for path in found} - seen):
            _check_path(read, use, path, known)
            seen.add(path)  # the first use is the one to look at
    _check_engine_names(read, playbook, root)
    _check_lost_updates(read, playbook)


def _check_guard(read: Reader, use: TemplateUse, found: Iterable[tuple[str, ...]]) -> None:
    for secret in sorted(_SECRETS.intersection(path[0] for path in found)):
        read.error(use.node, f"a guard can't read a secret: '{secret}'", hint="let a task test it, and guard on its result")
    for match in _EVENT_TEST.finditer(use.node.value):
        if match[2] not in EVENTS:
            read.warn(use.node, f"event '{match[2]}' is never emitted", hint=nearest(match[2], EVENTS))


def _check_path(read: Reader, use: TemplateUse, path: tuple[str, ...], known: _Known) -> None:
    name = path[0]
    if name not in known.names:
        hint = nearest(name, known.names) or "only a payload could bring it, as a key of workload"
        read.warn(use.node, f"nothing in this playbook defines '{name}'", hint=hint)
    elif len(path) == 1 or path[1] in _MAPPING_METHODS:
        return
    elif name in ("ctx", "vars") and known.ctx is not None and path[1] not in known.ctx:
        read.warn(use.node, f"nothing writes '{name}.{path[1]}'", hint=nearest(path[1], known.ctx))
    elif name == "keychain" and path[1] not in known.keychain:
        read.warn(use.node, f"credential '{path[1]}' is not declared under keychain", hint=nearest(path[1], known.keychain))


def _check_engine_names(read: Reader, playbook: Playbook, root: Map) -> None:
    """A bare engine name means the engine's value, also where a workload key or a step has that name."""
    workload = root.get("workload")
    entries = workload.entries if isinstance(workload, Map) else {}
    for key in ENGINE_NAMES.intersection(entries):
        read.warn(entries[key], f"'{key}' is also a name of the engine, which wins", key=key, hint=f"read it as workload.{key}")
    for index, step in enumerate(playbook.steps):
        if step.name in ENGINE_NAMES:
            place = Place(step.line, step.column, f"workflow[{index}].step")
            read.warn(place, f"'{step.name}' is also a name of the engine, which wins", key="step", hint=f"read its result as steps['{step.name}']")


def _check_lost_updates(read: Reader, playbook: Playbook) -> None:
    """Iterations that run at once and each add to what they read may overwrite each other."""
    for index, step in enumerate(playbook.steps):
        if step.loop is None or step.loop.mode != "parallel":
            continue
        for write in _writes_within(step):
            if write.scope == "ctx" and any((root, write.key) in _heads(write.value) for root in ("ctx", "vars")):
                place = Place(step.line, step.column, f"workflow[{index}]")
                message = f"step '{step.name}': parallel iterations read and write ctx.{write.key}, and may lose updates"
                read.warn(place, message, key="set", hint="use the loop's result, or mode: sequential")


def _heads(raw: Any) -> set[tuple[str, ...]]:
    return {path[:2] for path in paths(raw)}


def _known(playbook: Playbook) -> _Known:
    tasks = [task for step in playbook.steps for task in _all_tasks(step)]
    writes = [write for step in playbook.steps for write in _all_writes(step)]
    names = {*ENGINE_NAMES, *_ALSO_BOUND, *sandbox().globals, *playbook.workload, *playbook.spec}
    names.update(step.name for step in playbook.steps)
    names.update(step.loop.iterator for step in playbook.steps if step.loop)
    names.update(task.label for task in tasks)
    names.update(name for args in _all_args(playbook, tasks) for name in args)
    names.update(write.key.partition(".")[0] for write in writes if write.scope == "step")
    return _Known(frozenset(names), _ctx_keys(playbook, writes), frozenset(entry.name for entry in playbook.keychain))


def _ctx_keys(playbook: Playbook, writes: list[Write]) -> frozenset[str] | None:
    keys = [write.key for write in writes if write.scope == "ctx"]
    keys += [action.into for step in playbook.steps for action in _actions(step) if isinstance(action, Collect)]
    if any(has_template(key) for key in keys):
        return None
    return frozenset((*(key.partition(".")[0] for key in keys), *playbook.vars))


def _all_args(playbook: Playbook, tasks: Iterable[Task]) -> Iterator[dict[str, Any]]:
    for task in tasks:
        yield task.args
    for step in playbook.steps:
        yield step.args
        for arc in step.arcs:
            yield arc.args
        for action in _actions(step):
            if isinstance(action, Emit):
                yield from (target.args for target in action.targets)


def _all_tasks(step: Step) -> Iterator[Task]:
    yield from step.tasks
    yield from (action.task for action in _of_rules(step.rules) if isinstance(action, Sink))


def _actions(step: Step) -> Iterator[AnyAction]:
    """Every action of the step's rules and of its tasks' rules."""
    yield from _of_rules(step.rules)
    for task in _all_tasks(step):
        yield from _of_rules(task.rules)


def _of_rules(rules: Iterable[Rule]) -> Iterator[AnyAction]:
    return (action for rule in rules for action in rule.actions)


def _writes_within(step: Step) -> Iterator[Write]:
    """The writes of each iteration of a step."""
    for task in _all_tasks(step):
        yield from task.set
    for action in _actions(step):
        if isinstance(action, Set):
            yield from action.writes


def _all_writes(step: Step) -> Iterator[Write]:
    yield from _writes_within(step)
    yield from step.set
    for arc in step.arcs:
        yield from arc.set
