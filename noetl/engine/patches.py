"""Writes of the author's rules, done to the data that they go to."""

from __future__ import annotations

from collections.abc import Mapping

from noetl.events import Patch, Value


def patched(data: Mapping[str, Value], patch: Patch) -> dict[str, Value]:
    """A copy of `data` with the write done. A dotted key writes inside a mapping, made where there is none."""
    head, _, rest = patch.key.partition(".")
    before = data.get(head)
    if rest and patch.key not in data:
        inner = Patch(scope=patch.scope, key=rest, value=patch.value, op=patch.op)
        return {**data, head: patched(before if isinstance(before, dict) else {}, inner)}
    before = data.get(patch.key)
    if patch.op == "set":
        return {**data, patch.key: patch.value}
    gathered = list(before) if isinstance(before, list) else [] if before is None else [before]
    added = patch.value if isinstance(patch.value, list) else [] if patch.value is None else [patch.value]
    return {**data, patch.key: gathered + (added if patch.op == "extend" else [patch.value])}


def value_at(data: Mapping[str, Value], key: str) -> Value:
    """What `patched` would write over."""
    head, _, rest = key.partition(".")
    if not rest or key in data:
        return data.get(key)
    inner = data.get(head)
    return value_at(inner, rest) if isinstance(inner, dict) else None
