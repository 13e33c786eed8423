"""Older places of a loop: inside `tool`, and the step type `iterator` (docs/reference/language.md, 5.1 and 10.8)."""

from __future__ import annotations

from typing import Final

from noetl.dsl.read.loop import ELEMENTS, ITERATOR, WINDOW
from noetl.dsl.read.reader import Reader
from noetl.dsl.read.shapes import KIND_KEYS, unfolded
from noetl.dsl.tree import Map, Node, Scalar, entry, table, word

_LOOP_KEYS: Final = (*ELEMENTS, *ITERATOR, *WINDOW, "mode", "spec")
_ITERATOR_KEYS: Final = (*_LOOP_KEYS, "chunk", "task", "tool")


def hoisted(read: Reader, node: Map) -> Map:
    """The step with the loop that stood inside its tool."""
    tool = node.get("tool")
    if not isinstance(tool, Map) or "loop" not in tool:
        return node
    loop = tool.entries["loop"]
    read.deprecated(loop, "'loop' inside 'tool'", "'loop' on the step")
    node = node.plus({"tool": entry(tool.without("loop"), node.entries["tool"])})
    if "loop" not in node:
        return node.plus({"loop": loop})
    read.error(loop, "the loop is given both on the step and in its tool", key="loop", hint="keep one of the two")
    return node


def from_iterator(read: Reader, node: Map) -> Map:
    """An iterator step as a step with a loop, whose pipeline is the nested task."""
    inner, outer = _parts(node)
    if inner is None:
        return node
    read.deprecated(node.entries.get("tool") or node.entries["type"], "a step of type iterator", "a 'loop' on the step")
    if "loop" in outer:
        read.error(outer.entries["loop"], "an iterator has no loop besides its own", key="loop")
    if "chunk" in inner:
        read.warn(
            inner.entries["chunk"], "'chunk' has no effect: elements are handled one by one", key="chunk", hint="bound the work with max_in_flight"
        )
    read.keys(inner, _ITERATOR_KEYS, "an iterator")
    body = read.either(inner, ("task", "tool"))
    if body is None:
        read.require(inner, "task", f"{read.where}: iterator needs 'task'")
        return outer.without("tool", "type")
    loop = table(inner.only(_LOOP_KEYS).entries, inner)
    return outer.without("tool", "type").plus({"loop": entry(loop, inner), "tool": entry(_body(read, body), body)})


def _parts(node: Map) -> tuple[Map | None, Map]:
    """The keys of the iterator, and those of the step. No iterator: None and the step."""
    tool = node.get("tool")
    if isinstance(tool, Map) and "iterator" in [word(tool.get(key)) for key in KIND_KEYS]:
        key = next(key for key in KIND_KEYS if word(tool.get(key)) == "iterator")
        return tool.without(key), node.without("tool")
    for key in ("type", "tool"):
        if word(node.get(key)) == "iterator":
            keys = tuple(name for name in _ITERATOR_KEYS if name not in (key, "spec"))
            return node.only(keys), node.without(key, *keys)
    return None, node


def _body(read: Reader, node: Node) -> Node:
    """The nested task. `task: name` in it is its name."""
    if not isinstance(node, Map):
        return node
    node = unfolded(read, node)
    if isinstance(node.get("task"), Scalar) and "name" not in node:
        node = node.without("task").plus({"name": node.entries["task"]})
    return node
