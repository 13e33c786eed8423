"""The workbook: tasks that steps call by name (docs/reference/language.md, 8.10)."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from noetl.dsl.problem import nearest
from noetl.dsl.read.reader import Reader
from noetl.dsl.read.scope import StepScope
from noetl.dsl.read.shapes import unfolded, with_kind
from noetl.dsl.tree import Entry, Map, Node, Scalar, entry, is_null, word

_CALL_KEYS: Final = ("args", "spec", "set", "set_ctx", "set_iter", "output", "output_select", "timeout", "timeout_seconds", "retry")
"""What a call of a workbook task may say besides its name."""


def read_workbook(read: Reader, node: Node | None) -> dict[str, Map]:
    """Name -> the task as one flat mapping with `kind`. A list of `{name, tool}`, a mapping name -> task, or either under `tasks`."""
    if isinstance(node, Map) and tuple(node.entries) == ("tasks",):
        node = node.get("tasks")
    found: dict[str, Map] = {}
    first: dict[str, int] = {}
    for name, item in _named(read, node):
        if name in found:
            read.error(item, f"workbook task '{name}' is defined twice (first on line {first[name]})", key="name")
            continue
        task = _task(read.part(f"workbook task '{name}'"), item)
        if task is not None:
            found[name], first[name] = task, item.line
    return found


def _named(read: Reader, node: Node | None) -> list[tuple[str, Map]]:
    if isinstance(node, Map):
        tables = [(name, read.item(item.value, "a workbook task")) for name, item in node.entries.items()]
        return [(name, item) for name, item in tables if item is not None]
    named: list[tuple[str, Map]] = []
    for item in read.rows(node, "workbook"):
        task = read.item(item, "a workbook task")
        if task is None:
            continue
        name = read.text(task.get("name"), "name")
        if name is None:
            read.require(task, "name", "a workbook task needs 'name'")
        else:
            named.append((name, task.without("name")))
    return named


def _task(read: Reader, node: Map) -> Map | None:
    """A definition as one mapping: `tool` may be a kind, with its fields beside it, or a mapping."""
    task = with_kind(read, unfolded(read, node))
    if task is not None and word(task.get("kind")) == "workbook":
        read.error(task.entries["kind"], "a workbook task can't call the workbook", key="kind")
        return None
    return task


class Expanded(Struct, frozen=True):
    """A task; and the name and declared args of the workbook task that it was made from, if it was."""

    node: Map
    workbook: str | None = None
    declared: Map | None = None


def expanded(scope: StepScope, node: Map) -> Expanded | None:
    """The task itself, or what `{kind: workbook, name: N, ...}` stands for: the workbook's task, with what the call says on top."""
    if word(node.get("kind")) != "workbook":
        return Expanded(node)
    name = _name(scope, node)
    if name is None:
        return None
    task = scope.workbook[name]
    declared = task.get("args")
    if not isinstance(declared, Map) or "table" in task:  # the args of a table write are its rows
        declared = None
    own = node.only(_CALL_KEYS)
    merged = (task if declared is None else task.without("args")).plus(own.entries).plus(_settings(task, own))
    return Expanded(Map(merged.entries, node.line, node.column, node.path), name, declared)


def _name(scope: StepScope, call: Map) -> str | None:
    """The name of the workbook task that is called, if there is one."""
    given = call.get("task") or call.get("name")
    scope.read.keys(call, ("kind", "name", "task", "desc", "description", *_CALL_KEYS), "a workbook call", fatal=False)
    if not isinstance(given, Scalar) or is_null(given):
        scope.read.error(call, "workbook needs 'task' or 'name'", key="name")
        return None
    if given.text not in scope.workbook:
        scope.read.error(given, f"workbook task '{given.text}' is not defined", key="name", hint=nearest(given.text, scope.workbook))
        return None
    return given.text


def _settings(task: Map, call: Map) -> dict[str, Entry]:
    """The `spec` of the task, overlaid with that of the call."""
    below, above = task.get("spec"), call.get("spec")
    return {"spec": entry(below.plus(above.entries), above)} if isinstance(below, Map) and isinstance(above, Map) else {}
