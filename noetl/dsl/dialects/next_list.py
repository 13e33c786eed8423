"""Older spellings of `next`: a name, a list of names and conditions, one condition (docs/reference/language.md, 10.2)."""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from noetl.dsl.playbook import Arc, Target
from noetl.dsl.read.arcs import ARC_KEYS, ARGS, Routes, mention, read_arc, read_args, read_step_name
from noetl.dsl.read.reader import Reader
from noetl.dsl.read.writes import read_sets
from noetl.dsl.tree import Map, Node, Row, Scalar, is_null

ITEM_KEYS: Final = (*ARC_KEYS, "then", "else")
TARGET_KEYS: Final = ("step", *ARGS)


class _Item(Struct, frozen=True):
    """The arcs of one item: those under its guard (or under none), and those of its `else`."""

    arcs: tuple[Arc, ...]
    otherwise: tuple[Arc, ...] = ()
    guarded: bool = False


def read_next_list(read: Reader, node: Node) -> Routes:
    items = node.items if isinstance(node, Row) else (node,)
    return _routes([_item(read, item) for item in items])


def _routes(items: list[_Item]) -> Routes:
    """All arcs whose guards hold, unless the list is a ladder: guards all the way down to an `else`. There the first that holds is the only one."""
    has_else = any(item.otherwise for item in items)
    ladder = has_else and all(item.guarded or item.otherwise for item in items) and not any(item.otherwise for item in items[:-1])
    inclusive = len(items) > 1 or has_else or any(len(item.arcs) > 1 for item in items)
    arcs: list[Arc] = []
    earlier: tuple[int, ...] = ()  # one arc for each guard so far
    for item in items:
        above = earlier if ladder else ()
        if item.guarded and item.arcs:
            earlier += (len(arcs),)
        arcs += [replace(arc, unless=above) for arc in item.arcs]
        arcs += [replace(arc, unless=earlier) for arc in item.otherwise]
    if ladder and all(len(item.arcs) <= 1 and len(item.otherwise) <= 1 for item in items):
        return Routes(tuple(replace(arc, unless=()) for arc in arcs), inclusive=False)
    return Routes(tuple(arcs), inclusive)


def _item(read: Reader, node: Node) -> _Item:
    if isinstance(node, Scalar) and not is_null(node):
        return _Item((Arc(mention(read, node), line=node.line),))
    table = read.item(node, "an item of next")
    if table is None:
        return _Item(())
    if "then" not in table and "else" not in table:
        arc = read_arc(read, table)
        return _Item((arc,), guarded=arc.when is not None)
    read.keys(table, ITEM_KEYS, "an item of next")
    if "step" in table:
        read.error(table.entries["step"], "'step' stands beside 'then' or 'else'", key="step", hint="name the step under 'then'")
    when = read.guard(read.either(table, ("when", "cond")))
    if "then" in table and when is None:
        read.require(table, "when", "'then' needs 'when' beside it")
    args = read_args(read, table)
    then = [_arc(target, args, when, node.line) for target in read_targets(read, table.get("then"))]
    if "then" in table and not then:
        read.error(table.entries["then"], "'then' names no step", key="then")
    writes = read_sets(read, table, "ctx")
    then[:1] = [replace(arc, set=writes) for arc in then[:1]]  # one write for all the targets of an item
    otherwise = tuple(_arc(target, args, None, node.line) for target in read_targets(read, _else(table)))
    return _Item(tuple(then), otherwise, guarded=when is not None)


def _else(table: Map) -> Node | None:
    node = table.get("else")
    return node.get("then") if isinstance(node, Map) and "then" in node else node


def _arc(target: Target, args: dict[str, Any], when: Any, line: int) -> Arc:
    return Arc(target.step, when, {**args, **target.args}, line=line)


def read_targets(read: Reader, node: Node | None) -> tuple[Target, ...]:
    """`x`, `{step: x, args}` or a list of these."""
    if is_null(node):
        return ()
    targets: list[Target] = []
    for item in node.items if isinstance(node, Row) else (node,):
        if isinstance(item, Map):
            read.keys(item, TARGET_KEYS, "a target of next")
            targets.append(Target(read_step_name(read, item), read_args(read, item)))
        else:
            targets.append(Target(mention(read, item)))
    return tuple(targets)
