"""`case`: rules that are asked at every boundary event of a step (docs/reference/language.md, 10.3)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from noetl.dsl.dialects.next_list import TARGET_KEYS, read_targets
from noetl.dsl.dialects.retry import TIMING_KEYS, is_off, read_timing
from noetl.dsl.dialects.sink import read_sinks
from noetl.dsl.kinds import HTTP_BODIES, KINDS
from noetl.dsl.playbook import AnyAction, Collect, Emit, Fail, Result, Retry, Rule, Set, Sink, Skip, Task
from noetl.dsl.read.policy import RULE_KEYS, branch, warn_if_closed
from noetl.dsl.read.scope import StepScope
from noetl.dsl.read.writes import SET_KEYS, read_sets
from noetl.dsl.tree import Map, Node, Row, Scalar, is_null

COLLECT_KEYS: Final = ("from", "into", "mode", "path", "strategy")
CASE_MODES: Final = ("append", "extend", "replace")


class Actions(Struct, frozen=True):
    """What the actions of one rule may look at. `taken` are labels that a sink can't have."""

    scope: StepScope
    tasks: tuple[Task, ...]
    taken: set[str]


def read_case(scope: StepScope, items: Iterable[Node], tasks: tuple[Task, ...]) -> tuple[Rule, ...]:
    read = scope.read
    rules: list[Rule] = []
    taken = {task.label for task in tasks}
    for item in items:
        table = read.item(item, "a case rule")
        if table is None:
            continue
        read.keys(table, RULE_KEYS, "a case rule")
        warn_if_closed(read, rules, table)
        when = read.guard(table.get("when"))
        about = Actions(scope, tasks, taken)
        rules.append(Rule(tuple(read_actions(about, branch(read, table))), when, line=table.line))
    return tuple(rules)


def read_actions(about: Actions, then: Node | None) -> Iterable[AnyAction]:
    """The actions of a `then`: a mapping, or a list of them in list order."""
    for node in then.items if isinstance(then, Row) else (then,):
        table = about.scope.read.item(node, "then")
        if table is not None:
            yield from _of_table(about, table)


def _of_table(about: Actions, table: Map) -> Iterable[AnyAction]:
    """The actions of one mapping, in their fixed order."""
    read = about.scope.read
    if "step" in table:  # {step: x, args} alone is an arc
        read.keys(table, TARGET_KEYS, "a case rule")
        yield Emit(read_targets(read, table.only(TARGET_KEYS)))
        return
    read.keys(table, ACTION_KEYS, "a case rule")
    if writes := read_sets(read, table, "ctx"):
        yield Set(writes)
    for key, reader in _READERS.items():
        node = table.get(key)
        if node is not None:
            yield from reader(about, node)


def _collect(about: Actions, node: Node) -> Iterable[AnyAction]:
    read = about.scope.read
    table = read.mapping(node, "collect")
    if table is None:
        return
    read.keys(table, COLLECT_KEYS, "collect")
    into = read.text(table.get("into"), "into")
    if into is None:
        read.require(table, "into", "collect needs 'into'")
    if ("from" in table) == ("path" in table):
        read.require(table, "from", "collect needs one of 'from' or 'path'")
    mode: Any = read.choice(read.either(table, ("mode", "strategy")), "mode", CASE_MODES, "append")
    yield Collect(into or "", mode, read.expression(table.get("from")), read.text(table.get("path"), "path"))


def _sink(about: Actions, node: Node) -> Iterable[AnyAction]:
    for task in read_sinks(about.scope, node, about.taken):
        about.taken.add(task.label)
        yield Sink(task)


def _result(about: Actions, node: Node) -> Iterable[AnyAction]:
    read = about.scope.read
    yield Result(read.expression(node.get("from")) if isinstance(node, Map) and tuple(node.entries) == ("from",) else read.raw(node))


def _retry(about: Actions, node: Node) -> Iterable[AnyAction]:
    if is_off(node):
        return
    retry = read_timing(about.scope.read, node, Retry(attempts=None, backoff="exponential", spent="end"))
    yield replace(retry, overrides=read_overrides(about, node.without(*TIMING_KEYS))) if isinstance(node, Map) else retry


def _call(about: Actions, node: Node) -> Iterable[AnyAction]:
    table = about.scope.read.mapping(node, "call")
    yield Retry(attempts=None, overrides={} if table is None else read_overrides(about, table), spent="end")


def read_overrides(about: Actions, node: Map) -> dict[str, Any]:
    """Fields that the next call has instead: merged over those of the step's task. `body` is whichever body the task has."""
    task = called(about.tasks)
    kind = KINDS[task.kind] if task else KINDS["http"]
    about.scope.read.keys(node, (*kind.fields, *kind.same), "retry")
    overrides: dict[str, Any] = {}
    for key, item in node.entries.items():
        name = kind.same.get(key, key)
        if name == "body" and task is not None:
            name = next((body for body in HTTP_BODIES if body in task.fields), "body")
        overrides[name] = about.scope.read.raw(item.value)
    return overrides


def called(tasks: tuple[Task, ...]) -> Task | None:
    """The task that `retry` means: the pipeline's HTTP call, else its last task."""
    return next((task for task in tasks if task.kind == "http"), tasks[-1] if tasks else None)


def _next(about: Actions, node: Node) -> Iterable[AnyAction]:
    if not is_null(node):
        yield Emit(read_targets(about.scope.read, node))


def _fail(about: Actions, node: Node) -> Iterable[AnyAction]:
    read = about.scope.read
    if isinstance(node, Map):
        read.keys(node, ("message",), "fail")
        yield Fail(read.raw(node.get("message")))
    elif not (isinstance(node, Scalar) and not node.value):
        yield Fail(None if isinstance(node, Scalar) and node.value is True else read.raw(node))


def _skip(about: Actions, node: Node) -> Iterable[AnyAction]:
    if about.scope.read.flag(node, "skip", default=False):
        yield Skip()


_READERS: Final[dict[str, Callable[[Actions, Node], Iterable[AnyAction]]]] = {
    "collect": _collect,
    "sink": _sink,
    "result": _result,
    "call": _call,
    "retry": _retry,
    "next": _next,
    "fail": _fail,
    "skip": _skip,
}
"""Action -> its reader, in the order in which the actions of one mapping run."""

ACTION_KEYS: Final = (*SET_KEYS, *_READERS, "step")
