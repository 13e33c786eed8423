"""YAML data in which every piece knows where it stands.

Loading rewrites and reads this tree; plain values come out of it only at the end. Lines and columns count from 1; `path` is the path in the source,
also after rewriting.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from noetl.dsl.problem import Place


class Scalar(Struct, frozen=True):
    """`value` is a str, int, float, bool or None; `text` is how it was written; `block` marks a `|` or `>` scalar."""

    value: Any
    text: str
    line: int
    column: int
    path: str
    block: bool = False

    def place(self, offset: int) -> Place:
        """Where a line of the text stands, counted from 0; what lies behind the end is on the last line."""
        offset = min(offset, self.text.rstrip("\n").count("\n"))
        if offset == 0 and not self.block:
            return Place(self.line, self.column, self.path)
        return Place(self.line + offset + self.block, 1, self.path)


class Row(Struct, frozen=True):
    items: tuple[Node, ...]
    line: int
    column: int
    path: str


class Entry(Struct, frozen=True):
    """A key of a mapping and what it holds. The position is the key's."""

    line: int
    column: int
    value: Node

    @property
    def path(self) -> str:
        return self.value.path


class Map(Struct, frozen=True):
    entries: Mapping[str, Entry]
    line: int
    column: int
    path: str

    def get(self, key: str) -> Node | None:
        entry = self.entries.get(key)
        return None if entry is None else entry.value

    def __contains__(self, key: str) -> bool:
        return key in self.entries

    def only(self, keys: Iterable[str]) -> Map:
        wanted = set(keys)
        return replace(self, entries={key: entry for key, entry in self.entries.items() if key in wanted})

    def without(self, *keys: str) -> Map:
        return replace(self, entries={key: entry for key, entry in self.entries.items() if key not in keys})

    def plus(self, entries: Mapping[str, Entry]) -> Map:
        """With these entries added; they replace those of the same key."""
        return replace(self, entries={**self.entries, **entries})


Node = Scalar | Row | Map


def is_null(node: Node | None) -> bool:
    """Whether a value is missing or null."""
    return node is None or (isinstance(node, Scalar) and node.value is None)


def word(node: Node | None) -> str:
    """The text of a scalar, '' for anything else."""
    return node.text if isinstance(node, Scalar) else ""


def scalar(value: Any, like: Node | Entry) -> Scalar:
    """A scalar that rewriting makes, standing where `like` stands."""
    return Scalar(value, str(value), like.line, like.column, like.path)


def table(entries: Mapping[str, Entry], like: Node | Entry) -> Map:
    """A mapping that rewriting makes."""
    return Map(entries, like.line, like.column, like.path)


def entry(value: Any, like: Node | Entry) -> Entry:
    """An entry that rewriting makes. `value` is a node or plain scalar data."""
    node = value if isinstance(value, (Scalar, Row, Map)) else scalar(value, like)
    return Entry(like.line, like.column, node)


def plain(node: Node) -> Any:
    """The JSON-like data that a node stands for."""
    if isinstance(node, Scalar):
        return node.value
    if isinstance(node, Row):
        return [plain(item) for item in node.items]
    return {key: plain(item.value) for key, item in node.entries.items()}


def child_path(path: str, key: str | int) -> str:
    if isinstance(key, int):
        return f"{path}[{key}]"
    if key.replace("-", "_").isidentifier():
        return f"{path}.{key}" if path else key
    return f"{path}[{key!r}]"
