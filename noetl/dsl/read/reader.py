"""Nodes to plain values: a method for each sort of value. What is wrong goes to the report, and a harmless value comes back."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from noetl.dsl.problem import Placed, Report, nearest
from noetl.dsl.template import guard_error, has_template, is_code_template, syntax_error
from noetl.dsl.tree import Map, Node, Row, Scalar, is_null, plain

_ARTICLES: Final = {Map: "a mapping", Row: "a list", Scalar: "a single value"}


class TemplateUse(Struct, frozen=True):
    """A text with templates, or a guard."""

    node: Scalar
    guard: bool


class Mention(Struct, frozen=True):
    """A place that names a step which must exist. `what` says how, such as `next step`."""

    step: str
    at: Scalar
    what: str


class Reader:
    """Reads one file, or one part of it: `where` is `the playbook`, `step 'x'` or the like, for messages."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.where = "the playbook"
        self.templates: list[TemplateUse] = []
        self.mentions: list[Mention] = []
        self.sources: list[Scalar] = []
        """Python code."""

    def part(self, where: str) -> Reader:
        """A reader for a part of the same file."""
        part = Reader(self.report)
        part.where = where
        part.templates, part.mentions, part.sources = self.templates, self.mentions, self.sources
        return part

    def error(self, at: Placed, message: str, *, key: str | None = None, hint: str | None = None) -> None:
        self.report.error(at, message, key=key, hint=hint)

    def warn(self, at: Placed, message: str, *, key: str | None = None, hint: str | None = None) -> None:
        self.report.warn(at, message, key=key, hint=hint)

    def deprecated(self, at: Placed, spelling: str, instead: str) -> None:
        self.report.deprecated(at, spelling, instead)

    # values with templates

    def raw(self, node: Node | None) -> Any:
        """JSON-like data; the templates in its texts and keys must parse."""
        if node is None:
            return None
        self._check_templates(node)
        return plain(node)

    def guard(self, node: Node | None) -> Any:
        """A guard: a bool, a number, or a text that is an expression or holds templates."""
        if is_null(node):
            return None
        if not isinstance(node, Scalar):
            self.mistyped(node, "a guard", "an expression")
            return None
        if isinstance(node.value, str):
            self._check(node, guard=True)
        return node.value

    def expression(self, node: Node | None) -> Any:
        """A value; a text without templates is an expression, and becomes a template."""
        if isinstance(node, Scalar) and isinstance(node.value, str) and not has_template(node.value):
            node = replace(node, value=f"{{{{ {node.value} }}}}")
        return self.raw(node)

    def code(self, node: Node, *, python: bool = False) -> Any:
        """Source text of another language: braces in it may be its own, so that a template that does not parse is only a warning."""
        if python and isinstance(node, Scalar):
            self.sources.append(node)
        for text in _code_texts(node):
            if (wrong := syntax_error(text.value)) is not None:
                self.warn(text.place(wrong[1]), f"template: {wrong[0]}; the text is used as it is")
        return plain(node)

    def _check_templates(self, node: Node) -> None:
        if isinstance(node, Scalar):
            if isinstance(node.value, str) and has_template(node.value):
                self._check(node, guard=False)
        elif isinstance(node, Row):
            for item in node.items:
                self._check_templates(item)
        else:
            for key, entry in node.entries.items():
                if has_template(key):
                    self._check(Scalar(key, key, entry.line, entry.column, entry.path), guard=False)
                self._check_templates(entry.value)

    def _check(self, node: Scalar, *, guard: bool) -> None:
        wrong = guard_error(node.value) if guard else syntax_error(node.value)
        if wrong is None:
            self.templates.append(TemplateUse(node, guard))
        else:
            self.error(node.place(wrong[1]), f"template: {wrong[0]}")

    # values without templates

    def text(self, node: Node | None, name: str) -> str | None:
        """A text, None when it is empty; a number or bool is the text that was written."""
        if isinstance(node, Scalar):
            return None if node.value is None else (node.value if isinstance(node.value, str) else node.text) or None
        self.mistyped(node, name, "a text")
        return None

    def flag(self, node: Node | None, name: str, *, default: bool) -> bool:
        if is_null(node):
            return default
        if isinstance(node, Scalar) and isinstance(node.value, bool):
            return node.value
        self.mistyped(node, name, "true or false")
        return default

    def integer(self, node: Node | None, name: str, default: int, *, least: int = 0, most: int | None = None) -> int:
        if is_null(node):
            return default
        number = _number(node)
        if isinstance(number, int) and number >= least and (most is None or number <= most):
            return number
        self.mistyped(node, name, f"a whole number, at least {least}" if most is None else f"a whole number from {least} to {most}")
        return default

    def number(self, node: Node | None, name: str, default: float) -> float:
        """A number that is not negative."""
        return float(self._bounded(node, name, default, 0))

    def quantity(self, node: Node | None, name: str, default: Any = None, *, least: float = 0) -> Any:
        """A number of at least `least`, or a template for one."""
        if isinstance(node, Scalar) and isinstance(node.value, str) and has_template(node.value):
            return self.raw(node)
        return self._bounded(node, name, default, least)

    def _bounded(self, node: Node | None, name: str, default: Any, least: float) -> Any:
        if is_null(node):
            return default
        number = _number(node)
        if number is not None and number >= least:
            return number
        self.mistyped(node, name, f"a number, at least {least}")
        return default

    def choice(
        self,
        node: Node | None,
        name: str,
        options: Collection[str],
        default: str,
        *,
        same: Mapping[str, str] | None = None,
        beside: str | None = None,
    ) -> Any:
        """One of `options`. `same` maps further spellings to them; `beside` says what else the caller takes."""
        if node is None or is_null(node):
            return default
        word = (same or {}).get(node.text, node.text) if isinstance(node, Scalar) else ""
        for option in options:
            if option == word:
                return option  # the constant itself, so that a default that is spelled out is left out of the encoded playbook
        shown = f", not '{node.text}'" if isinstance(node, Scalar) else ""
        self.error(node, f"{name} must be {listed((*options, beside) if beside else options)}{shown}", key=name, hint=nearest(word.lower(), options))
        return default

    # collections

    def mapping(self, node: Node | None, name: str) -> Map | None:
        """A mapping, or None when there is none."""
        if is_null(node):
            return None
        if isinstance(node, Map):
            return node
        self.mistyped(node, name, "a mapping")
        return None

    def item(self, node: Node | None, name: str) -> Map | None:
        """An item of a list, which has to be a mapping."""
        if is_null(node) and node is not None:
            self.error(node, f"{name} is empty: it must be a mapping")
        return self.mapping(node, name)

    def rows(self, node: Node | None, name: str) -> tuple[Node, ...]:
        """The items of a list; none when there is no list."""
        if is_null(node):
            return ()
        if isinstance(node, Row):
            return node.items
        self.mistyped(node, name, "a list")
        return ()

    def texts(self, node: Node | None, name: str) -> tuple[str, ...]:
        """A list of texts; a single text is a list of one."""
        items = (node,) if isinstance(node, Scalar) and not is_null(node) else self.rows(node, name)
        found = (self.text(item, name) for item in items)
        return tuple(text for text in found if text is not None)

    def keys(self, node: Map, known: Iterable[str], inside: str = "", *, fatal: bool = True) -> None:
        """Note every key that is not known. `inside` says what the mapping is, such as `an arc`; '' for the part that is read."""
        known = tuple(known)
        for key, entry in node.entries.items():
            if key in known:
                continue
            where = " of ".join(part for part in (inside, self.where) if part)
            hint = nearest(key, known)
            if key.startswith("-"):
                hint = f"put a space after the dash: '- {key[1:]}'"
            note = self.report.error if fatal else self.report.warn
            note(entry, f"unknown key '{key}' in {where}", key=key, hint=hint)

    def either(self, node: Map, names: Iterable[str]) -> Node | None:
        """The value under the one of several spellings of a key that is there. Two of them are an error."""
        present = [name for name in names if name in node]
        for name in present[1:]:
            self.error(node.entries[name], f"'{present[0]}' and '{name}' are two spellings of one key", key=name, hint="keep one of the two")
        return node.get(present[0]) if present else None

    def require(self, node: Map, key: str, message: str | None = None) -> None:
        self.error(node, message or f"'{key}' is required", key=key)

    def mistyped(self, node: Node | None, name: str, wanted: str) -> None:
        if node is not None:
            got = f"'{node.text}'" if isinstance(node, Scalar) else _ARTICLES[type(node)]
            self.error(node, f"{name} must be {wanted}, not {got}", key=None if " " in name else name.rpartition(".")[2])


def listed(words: Collection[str]) -> str:
    """`a, b or c`"""
    *head, last = words
    return f"{', '.join(head)} or {last}" if head else last


def _code_texts(node: Node) -> Iterable[Scalar]:
    if isinstance(node, Scalar):
        if isinstance(node.value, str) and is_code_template(node.value):
            yield node
    elif isinstance(node, Row):
        for item in node.items:
            yield from _code_texts(item)


def _number(node: Node | None) -> int | float | None:
    """The finite number that a scalar is or spells, None when it is none."""
    value = node.value if isinstance(node, Scalar) else None
    if isinstance(value, str):
        try:
            value = int(value) if value.strip().lstrip("+-").isdecimal() else float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return value if math.isfinite(value) else None
