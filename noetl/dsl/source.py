"""YAML text to a tree of positioned nodes.

The tree is built from the parser's events, so that depth and size are bounded before they hurt, and an alias costs what it stands for.
"""

from __future__ import annotations

from typing import Any, Final

from msgspec.structs import replace
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    MappingStartEvent,
    ScalarEvent,
)
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.reader import ReaderError

from noetl.dsl.problem import Place, Report
from noetl.dsl.tree import Entry, Map, Node, Row, Scalar, child_path, plain
from noetl.values import to_plain

MAX_NODES: Final = 200_000
MAX_DEPTH: Final = 100

_CORE: Final = "tag:yaml.org,2002:"
_COLLECTION_TAGS: Final = frozenset({None, "!", _CORE + "map", _CORE + "seq"})
_TEXT_TAGS: Final = frozenset({_CORE + "str", _CORE + "merge", _CORE + "value", "!"})
_CONSTRUCTED: Final = {name: _CORE + name for name in ("null", "bool", "int", "float", "timestamp", "binary")}
_DESCRIPTIONS: Final = ("desc", "description")
_TEMPLATE_HINT: Final = 'a value that starts with {{ needs quotes: "{{ ... }}"'
_HINTS: Final = {
    "found character '\\t' that cannot start any token": "indent with spaces, not tabs",
    "mapping values are not allowed here": "quote a text that contains ': ', and check the indentation",
}


class _Stop(Exception):
    """Ends the building. What is wrong is already in the report."""


def parse(text: str, report: Report) -> Node | None:
    """The one document in `text`. None when it can't be read; the report says why. Never raises."""
    builder = _Builder(report)
    try:
        return builder.document(text)
    except _Stop:
        return None
    except MarkedYAMLError as error:
        _report_marked(error, report)
    except ReaderError as error:
        line = text.count("\n", 0, error.position)
        column = error.position - (text.rfind("\n", 0, error.position) + 1)
        report.error(Place(line + 1, column + 1), f"YAML: character #x{error.character:04x} is not allowed")
    except (YAMLError, ArithmeticError, AssertionError, LookupError, TypeError, ValueError, AttributeError) as error:
        # the parser has bugs of its own on odd text (a bad \U escape, %YAML 1.3): to the author they are errors in the text
        report.error(Place(*builder.last), f"YAML: can't be read from here on ({str(error) or type(error).__name__})")
    return None


def _report_marked(error: MarkedYAMLError, report: Report) -> None:
    mark = error.problem_mark or error.context_mark
    text = str(error.problem or error.context)
    if error.context and error.problem:
        begun = f" that starts on line {error.context_mark.line + 1}" if error.context_mark else ""
        text = f"{text} ({error.context}{begun})"
    place = Place(mark.line + 1, mark.column + 1) if mark else Place(1, 1)
    report.error(place, f"YAML: {text}", hint=_HINTS.get(str(error.problem)))


class _Open:
    """A collection whose end has not come yet. `key` is the key that waits for its value."""

    __slots__ = ("anchor", "column", "entries", "is_map", "items", "key", "line", "merged", "path")

    def __init__(self, is_map: bool, line: int, column: int, path: str, anchor: str | None) -> None:
        self.is_map = is_map
        self.line = line
        self.column = column
        self.path = path
        self.anchor = anchor
        self.items: list[Node] = []
        self.entries: dict[str, Entry] = {}
        self.merged: list[Map] = []
        self.key: Scalar | None = None

    def next_path(self) -> str:
        """The path of the node that comes next."""
        if not self.is_map:
            return child_path(self.path, len(self.items))
        return child_path(self.path, self.key.text) if self.key is not None else self.path


class _Builder:
    def __init__(self, report: Report) -> None:
        self._report = report
        self._yaml = YAML(typ="safe", pure=True)
        self._open: list[_Open] = []
        self._anchors: dict[str, Node] = {}
        self._count = 0
        self.last = (1, 1)
        """Where the latest event stands."""

    def document(self, text: str) -> Node | None:
        root: Node | None = None
        documents = 0
        for event in self._yaml.parse(text):
            self.last = (event.start_mark.line + 1, event.start_mark.column + 1)
            if isinstance(event, DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise self._stop("expected one document")
            elif (node := self._node(event)) is not None:
                root = node
        return root

    def _node(self, event: Any) -> Node | None:
        """Take one event in; the root node once it is complete."""
        if isinstance(event, ScalarEvent):
            return self._add(self._scalar(event), event.anchor)
        if isinstance(event, AliasEvent):
            return self._add(self._alias(event.anchor), None)
        if isinstance(event, CollectionStartEvent):
            self._begin(event)
        elif isinstance(event, CollectionEndEvent):
            done = self._open.pop()
            return self._add(self._close(done), done.anchor)
        return None

    def _begin(self, event: CollectionStartEvent) -> None:
        if event.tag not in _COLLECTION_TAGS:
            raise self._stop(f"YAML: unknown tag '{event.tag}'")
        if len(self._open) >= MAX_DEPTH:
            raise self._stop(f"YAML: nested more than {MAX_DEPTH} levels deep")
        self._open.append(_Open(isinstance(event, MappingStartEvent), *self.last, self._path(), event.anchor))

    def _path(self) -> str:
        return self._open[-1].next_path() if self._open else ""

    def _add(self, node: Node, anchor: str | None) -> Node | None:
        """Put a complete node where it belongs; the node itself when it is the root."""
        if anchor:
            self._anchors[anchor] = node
        self._spend(1)
        if not self._open:
            return node
        parent = self._open[-1]
        if not parent.is_map:
            parent.items.append(node)
        elif parent.key is None:
            parent.key = self._key(node)
        else:
            self._put(parent, parent.key, node)
            parent.key = None
        return None

    def _key(self, node: Node) -> Scalar:
        if isinstance(node, Scalar):
            return node if isinstance(node.value, str) or node.text else Scalar("null", "null", node.line, node.column, node.path)
        around = self._open[-1]
        double_brace = isinstance(node, Map) and (around.line, around.column + 1) == (node.line, node.column)
        raise self._stop("YAML: a key must be a text", at=node, hint=_TEMPLATE_HINT if double_brace else None)

    def _put(self, parent: _Open, key: Scalar, node: Node) -> None:
        if key.text == "<<" and not key.block:
            self._merge(parent, node)
            return
        first = parent.entries.get(key.text)
        if first is not None:
            self._twice(key, first, node)
        if isinstance(node, Scalar) and node.value is None and not node.text:
            node = replace(node, line=key.line, column=key.column)  # nothing after the colon: the key is all there is to point at
        parent.entries[key.text] = Entry(key.line, key.column, node)

    def _twice(self, key: Scalar, first: Entry, node: Node) -> None:
        message = f"key '{key.text}' is given twice (first on line {first.line})"
        at = Place(key.line, key.column, node.path)
        if key.text in _DESCRIPTIONS or plain(first.value) == plain(node):
            self._report.warn(at, message, key=key.text)
        else:
            self._report.error(at, message, key=key.text, hint="keep one of the two")

    def _merge(self, parent: _Open, node: Node) -> None:
        sources = node.items if isinstance(node, Row) else (node,)
        for source in sources:
            if not isinstance(source, Map):
                raise self._stop("YAML: '<<' merges mappings only", at=source)
            parent.merged.append(source)

    def _close(self, done: _Open) -> Node:
        if not done.is_map:
            return Row(tuple(done.items), done.line, done.column, done.path)
        for source in done.merged:
            for key, entry in source.entries.items():
                if key not in done.entries:
                    value = self._moved(entry.value, child_path(done.path, key), len(self._open) + 1)
                    done.entries[key] = Entry(entry.line, entry.column, value)
        return Map(done.entries, done.line, done.column, done.path)

    def _alias(self, name: str) -> Node:
        if name in self._anchors:
            return self._moved(self._anchors[name], self._path(), len(self._open))
        inside = any(collection.anchor == name for collection in self._open)
        raise self._stop(f"YAML: alias '*{name}' stands inside its own anchor" if inside else f"YAML: alias '*{name}' has no anchor before it")

    def _moved(self, node: Node, path: str, depth: int) -> Node:
        """A copy of an anchored node, as the node at `path`. It keeps its line and column."""
        self._spend(1)
        if depth > MAX_DEPTH:
            raise self._stop(f"YAML: nested more than {MAX_DEPTH} levels deep")
        if isinstance(node, Scalar):
            return Scalar(node.value, node.text, node.line, node.column, path, node.block)
        if isinstance(node, Row):
            items = tuple(self._moved(item, child_path(path, index), depth + 1) for index, item in enumerate(node.items))
            return Row(items, node.line, node.column, path)
        entries = {
            key: Entry(entry.line, entry.column, self._moved(entry.value, child_path(path, key), depth + 1)) for key, entry in node.entries.items()
        }
        return Map(entries, node.line, node.column, path)

    def _spend(self, nodes: int) -> None:
        self._count += nodes
        if self._count > MAX_NODES:
            raise self._stop(f"YAML: more than {MAX_NODES} values, aliases counted as what they stand for")

    def _scalar(self, event: ScalarEvent) -> Scalar:
        tag = event.tag
        if tag is None:
            tag = str(self._yaml.resolver.resolve(ScalarNode, event.value, event.implicit))
        if tag in _TEXT_TAGS:
            value: Any = event.value
        elif tag in _CONSTRUCTED.values():
            value = self._constructed(tag, event)
        else:
            raise self._stop(f"YAML: unknown tag '{tag}'")
        if not event.value.isascii():
            value = self._paired(value)
        return Scalar(value, event.value, *self.last, self._path(), event.style in ("|", ">"))

    def _paired(self, value: Any) -> Any:
        """A text whose \\u escapes may be halves of characters, as in JSON."""
        try:
            return value.encode("utf-16", "surrogatepass").decode("utf-16") if isinstance(value, str) else value
        except UnicodeDecodeError as error:
            raise self._stop("YAML: half a character: a \\u escape of a surrogate stands alone") from error

    def _constructed(self, tag: str, event: ScalarEvent) -> Any:
        """What a scalar that is no text stands for; a date is its ISO text, and what only looks like a number or date stays text."""
        node = ScalarNode(tag, event.value, event.start_mark)
        construct = self._yaml.constructor.yaml_constructors[tag]
        try:
            value = construct(self._yaml.constructor, node)
        except (ValueError, LookupError, ArithmeticError, YAMLError):
            return event.value
        return event.value if tag == _CONSTRUCTED["binary"] else to_plain(value)

    def _stop(self, message: str, *, at: Node | None = None, hint: str | None = None) -> _Stop:
        """Note what is wrong; what comes back ends the building."""
        place = Place(*self.last) if at is None else Place(at.line, at.column, at.path)
        self._report.error(place, message, hint=hint)
        return _Stop()
