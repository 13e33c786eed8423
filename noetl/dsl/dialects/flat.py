"""A step with its tool's fields on itself: `tool: http` and `url: ...` side by side (docs/reference/language.md, 10.1)."""

from __future__ import annotations

from typing import Final

from noetl.dsl.kinds import KINDS
from noetl.dsl.read.reader import Reader
from noetl.dsl.tree import Entry, Map, Node, Scalar, entry, is_null, table

STEP_KEYS: Final = ("step", "desc", "description", "spec", "args", "input", "with", "loop", "tool", "set", "output", "next")
OLDER_STEP_KEYS: Final = ("case", "retry", "save", "sink", "vars", "enabled", "set_ctx", "set_iter", "result")
_KEPT: Final = frozenset((*STEP_KEYS, *OLDER_STEP_KEYS)) - {"tool", "result"}
_TOOL_FIELDS: Final = frozenset(field for kind in KINDS.values() for field in (*kind.fields, *kind.same, *kind.ignored, "timeout", "name")) - {"tool"}


def unflattened(read: Reader, node: Map) -> Map:
    """The step with its tool's fields under `tool`. Such a field beside a `tool` mapping is an error."""
    key = "type" if "type" in node and "tool" not in node else "tool"
    tool = node.get(key)
    if isinstance(tool, Scalar) and not is_null(tool):
        read.deprecated(node.entries[key], "a tool's fields on the step", "tool: {kind: ..., ...}")
        kept = _KEPT | ({"result"} if is_alias(node.get("result")) else set())
        fields = node.without(*kept, key)
        task = table({"kind": entry(tool, node.entries[key]), **fields.entries}, node)
        return node.only(kept).plus({"tool": entry(task, node.entries[key])})
    stray = {name: item for name, item in node.entries.items() if _is_stray(name, item)}
    for name, item in stray.items():
        place = "belongs inside 'tool'" if key in node else "belongs inside 'tool', which is missing"
        read.error(item, f"{read.where}: key '{name}' {place}", key=name, hint="move it under 'tool:'")
    if isinstance(tool, Map):  # read as if it were there, so that nothing else is missing
        node = node.plus({key: entry(tool.plus({name: item for name, item in stray.items() if name not in tool}), node.entries[key])})
    return node.without(*stray)


def _is_stray(name: str, item: Entry) -> bool:
    return name in _TOOL_FIELDS and name not in _KEPT and not (name == "result" and is_alias(item.value))


def is_alias(node: Node | None) -> bool:
    """Whether a `result` is `{as: x}`: a name for the step's result, and no field of a tool."""
    return isinstance(node, Map) and tuple(node.entries) == ("as",)
