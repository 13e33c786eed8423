"""`set`: what is written, and to which scope."""

from __future__ import annotations

from typing import Final

from noetl.dsl.playbook import Scope, Write
from noetl.dsl.read.reader import Reader
from noetl.dsl.tree import Entry, Map, Node, Row, Scalar

_SCOPES: Final[dict[str, Scope]] = {"ctx": "ctx", "vars": "ctx", "iter": "iter", "step": "step"}
_READ_ONLY: Final = frozenset({"workload", "keychain", "event", "outcome", "payload", "env", "steps", "args", "input", "output"})
SET_KEYS: Final = ("set", "set_ctx", "set_iter")


def read_sets(read: Reader, node: Map, default: Scope) -> tuple[Write, ...]:
    """The writes of `set`, `set_ctx` and `set_iter` beside each other. Bare keys of `set` go to the scope `default`."""
    writes = read_set(read, node.get("set"), default)
    for key, scope in (("set_ctx", "ctx"), ("set_iter", "iter")):
        if key in node:
            read.deprecated(node.entries[key], f"'{key}'", f"set: {{{scope}.x: ...}}")
            writes += read_set(read, node.get(key), "ctx" if scope == "ctx" else "iter", key)
    return writes


def read_set(read: Reader, node: Node | None, default: Scope, name: str = "set") -> tuple[Write, ...]:
    """`{key: value}`, `{scope.key: value}`, `{scope: {key: value}}` or `[{name, value}]`. `name` is the key that holds it."""
    if isinstance(node, Row):
        return tuple(write for item in node.items for write in _named(read, item, default))
    table = read.mapping(node, name)
    if table is None:
        return ()
    return tuple(write for key, entry in table.entries.items() for write in _entry(read, key, entry, default))


def _named(read: Reader, item: Node, default: Scope) -> tuple[Write, ...]:
    """An item `{name, value}` of the list form."""
    table = read.item(item, "an item of set")
    if table is None:
        return ()
    read.keys(table, ("name", "value"), "an item of set")
    name = read.text(table.get("name"), "name")
    if name is None or "value" not in table:
        read.require(table, "name" if name is None else "value")
        return ()
    return _entry(read, name, table.entries["value"], default)


def _entry(read: Reader, key: str, entry: Entry, default: Scope) -> tuple[Write, ...]:
    read.raw(Scalar(key, key, entry.line, entry.column, entry.path))  # a key may be a template
    scope, _, rest = key.partition(".")
    if scope in _SCOPES and rest:
        return (Write(_SCOPES[scope], rest, read.raw(entry.value)),)
    if scope in _SCOPES and isinstance(entry.value, Map):
        return tuple(Write(_SCOPES[scope], inner, read.raw(item.value)) for inner, item in entry.value.entries.items())
    if scope in _READ_ONLY and (rest or isinstance(entry.value, Map)):
        read.error(entry, f"'{scope}' can't be written", key=key, hint=f"write ctx.{rest or '<name>'}")
        return ()
    return (Write(default, key, read.raw(entry.value)),)
