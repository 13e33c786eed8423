"""The shapes in which `tool` is written, as one: a list of labelled mappings that each have `kind` (docs/reference/language.md, 4.1)."""

from __future__ import annotations

from typing import Final

from noetl.dsl.kinds import KINDS, SAME_KINDS, Kind, canonical_kind
from noetl.dsl.problem import nearest
from noetl.dsl.read.reader import Reader
from noetl.dsl.tree import Entry, Map, Node, Row, Scalar, entry, is_null, word

KIND_KEYS: Final = ("kind", "tool", "type")
SETTINGS: Final = ("policy", "memory_bytes", "retry_on_loss")
"""Keys of a task's `spec` that are its own; every other key there is lifted to the task."""

ARGS: Final = ("args", "input", "with")
"""Spellings of a task's inputs."""

Labelled = tuple[str, Map]


def shapes(read: Reader, node: Node | None, step: str) -> list[Labelled]:
    """The tasks of a step's `tool`. A task whose kind is wrong is noted and left out."""
    if node is None:
        return []
    if isinstance(node, Row):
        found = [_listed(read, item, index) for index, item in enumerate(node.items)]
        return _unique(read, [labelled for labelled in found if labelled is not None])
    if is_null(node) or not isinstance(node, Map):
        read.error(node, f"{read.where}: 'kind' is required", key="kind", hint="write tool: {kind: ...}")
        return []
    task = with_kind(read, node)
    return [] if task is None else [(_single_label(read, task, step), task)]


def with_kind(read: Reader, node: Map) -> Map | None:
    """The task with its canonical `kind`, which may be written `tool: K` or `type: K`, with its `spec` lifted and
    its inputs under one key."""
    key = next((key for key in KIND_KEYS if isinstance(node.get(key), Scalar) and not is_null(node.get(key))), None)
    if key is None:
        read.error(node, f"{read.where}: 'kind' is required", key="kind", hint="write kind: http, python, postgres, ...")
        return None
    given = node.entries[key]
    name = read.text(given.value, "kind") or ""
    kind = canonical_kind(name)
    if kind is None:
        read.error(given.value, f"unknown tool kind '{name}'", key=key, hint=nearest(name, (*KINDS, *SAME_KINDS)))
        read.raw(node.without("code", "cmds"))  # the templates in it are checked all the same
        return None
    if key != "kind":
        read.deprecated(given, f"'{key}' for a tool's kind", "'kind'")
    return _with_inputs(read, KINDS[kind], lifted(read, node.without(key).plus({"kind": entry(kind, given)})))


def unfolded(read: Reader, node: Map, keys: tuple[str, ...] = ("tool",)) -> Map:
    """`{tool: {kind: K, ...}, ...}` as one mapping. `keys` are the words for `tool`."""
    inner = read.either(node, keys)
    if not isinstance(inner, Map):
        return node
    outer = node.without(*keys)
    for key in outer.entries:
        if key in inner:
            read.error(outer.entries[key], f"'{key}' is given both beside the tool and in it", key=key, hint="keep one of the two")
    return outer.plus(inner.entries)


def lifted(read: Reader, node: Map) -> Map:
    """The task with what stands in its `spec` but belongs to the tool."""
    spec = read.mapping(node.get("spec"), "spec")
    if spec is None:
        return node.without("spec")
    lift = {key: item for key, item in spec.entries.items() if key not in SETTINGS}
    for key, item in lift.items():
        if key in node:
            read.error(item, f"'{key}' is given both in the task and in its spec", key=key, hint="keep one of the two")
    return node.plus({**lift, "spec": Entry(node.entries["spec"].line, node.entries["spec"].column, spec.only(SETTINGS))})


def _with_inputs(read: Reader, kind: Kind, node: Map) -> Map:
    """The task with its inputs under one key, however they are spelled. Where `args` is a field of the tool that key is `input`."""
    keys = tuple(key for key in ARGS if key not in kind.fields)
    read.either(node, keys)
    given = next((key for key in keys if key in node), None)
    if given is None or given == keys[0]:
        return node
    read.deprecated(node.entries[given], f"'{given}' of a task", f"'{keys[0]}'")
    return node.without(*keys).plus({keys[0]: node.entries[given]})


def _single_label(read: Reader, task: Map, step: str) -> str:
    """The label of a task that stands alone: its own name, unless that is a field of its tool."""
    own_name = KINDS[word(task.get("kind"))].own_name
    return (None if own_name else read.text(task.get("name"), "name")) or step


def _listed(read: Reader, node: Node, index: int) -> Labelled | None:
    """An item of a list: `{name: L, kind: K, ...}` or `{L: {kind: K, ...}}`."""
    table = read.item(node, "a task")
    if table is None:
        return None
    label, table = _under_label(read, table)
    if "loop" in table:
        read.error(table.entries["loop"], "a task of a list has no loop", key="loop", hint="put 'loop' beside 'tool' on the step")
    task = with_kind(read, table.without("loop"))
    if task is None:
        return None
    return label or read.text(task.get("name"), "name") or f"task_{index}", task


def _under_label(read: Reader, table: Map) -> tuple[str | None, Map]:
    if len(table.entries) == 1:
        ((label, inner),) = table.entries.items()
        if isinstance(inner.value, Map) and label not in KIND_KEYS:
            read.deprecated(inner, "a task under its label as key", "{name: label, kind: ...}")
            return label, inner.value
    return None, table


def _unique(read: Reader, tasks: list[Labelled]) -> list[Labelled]:
    first: dict[str, int] = {}
    for label, task in tasks:
        if label in first:
            at = task.entries.get("name", task)
            read.error(at, f"label '{label}' is used twice in {read.where} (first on line {first[label]})", key="name")
        first.setdefault(label, task.line)
    return tasks
