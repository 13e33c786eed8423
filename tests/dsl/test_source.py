"""YAML text to positioned nodes."""

from __future__ import annotations

from typing import Any

import pytest

from noetl.dsl.problem import Problem, Report
from noetl.dsl.source import MAX_NODES, parse
from noetl.dsl.tree import Map, Node, Row, Scalar, plain


def read(text: str) -> tuple[Any, tuple[Problem, ...]]:
    """The plain data in a text, and the errors."""
    report = Report()
    node = parse(text, report)
    return (None if node is None else plain(node)), report.errors


def data(text: str) -> Any:
    value, errors = read(text)
    assert not errors
    return value


def error(text: str) -> tuple[int, int, str]:
    (problem,) = read(text)[1]
    return problem.line, problem.column, problem.message


def tree(text: str) -> Node:
    node = parse(text, Report())
    assert node is not None
    return node


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("yes", "yes"),
        ("on", "on"),
        ("12", 12),
        ("017", 17),
        ("0o17", 15),
        ("0x1F", 31),
        ("1_000", 1000),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("~", None),
        ("null", None),
        ("'12'", "12"),
        ("!!str 12", "12"),
        ("1:30", "1:30"),
        ("2024-01-31", "2024-01-31"),
        ("2024-01-31 10:00:00", "2024-01-31T10:00:00"),
        ("2024-01-31T10:00:00Z", "2024-01-31T10:00:00+00:00"),
        ("2024-13-45", "2024-13-45"),
        ("99999999999999999999999", "99999999999999999999999"),
        ("9" * 5000, "9" * 5000),
        ("-_", "-_"),
        ("!!binary aGk=", "aGk="),
        ('"\\ud83d\\ude00"', "\U0001f600"),
    ],
)
def test_scalars_are_those_of_yaml_1_2_and_dates_are_iso_text(text: str, value: object) -> None:
    assert data(f"key: {text}") == {"key": value}


def test_an_anchor_can_be_used_again_and_merged() -> None:
    text = "base: &base {a: 1, b: 2}\nsame: *base\nmore: {<<: *base, b: 3, c: 4}\nboth: {<<: [*base, {a: 9, d: 5}]}\n"
    assert data(text) == {"base": {"a": 1, "b": 2}, "same": {"a": 1, "b": 2}, "more": {"b": 3, "c": 4, "a": 1}, "both": {"a": 1, "b": 2, "d": 5}}


def test_keys_are_the_texts_that_were_written() -> None:
    assert data("1: a\ntrue: b\nnull: c\n'': d\n2024-01-01: e") == {"1": "a", "true": "b", "null": "c", "": "d", "2024-01-01": "e"}


def test_every_node_knows_its_line_column_and_path() -> None:
    root = tree("a:\n  - b: 1\n    c-d: [x, y]\n'e f': |\n  one\n  two\n")
    assert isinstance(root, Map)
    row = root.get("a")
    assert isinstance(row, Row)
    item = row.items[0]
    assert isinstance(item, Map)
    assert (item.line, item.column, item.path) == (2, 5, "a[0]")
    inner = item.get("c-d")
    assert isinstance(inner, Row)
    assert (inner.items[1].line, inner.items[1].column, inner.items[1].path) == (3, 14, "a[0].c-d[1]")
    assert (item.entries["c-d"].line, item.entries["c-d"].column) == (3, 5)
    assert root.entries["e f"].path == "['e f']"


def test_the_lines_of_a_block_scalar_start_after_its_key() -> None:
    root = tree("key: |\n  one\n  two\nplain: text\n")
    assert isinstance(root, Map)
    block, text = root.get("key"), root.get("plain")
    assert isinstance(block, Scalar)
    assert isinstance(text, Scalar)
    assert [(block.place(line).line, block.place(line).column) for line in (0, 1, 9)] == [(2, 1), (3, 1), (3, 1)]
    assert (text.place(0).line, text.place(0).column) == (4, 8)


def test_nothing_after_a_colon_stands_where_its_key_stands() -> None:
    root = tree("a: 1\nempty:\nb: 2\n")
    assert isinstance(root, Map)
    node = root.get("empty")
    assert node is not None
    assert (node.line, node.column) == (2, 1)


def test_an_alias_has_the_line_of_its_anchor_and_the_path_of_its_use() -> None:
    root = tree("a: &x\n  k: 1\nb: *x\n")
    assert isinstance(root, Map)
    used = root.get("b")
    assert isinstance(used, Map)
    assert (used.entries["k"].line, used.entries["k"].path) == (2, "b.k")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: b\n\tc: d", (2, 1, "YAML: found character '\\t' that cannot start any token (while scanning for the next token)")),
        (
            "a:\n  - b\n c: d",
            (3, 2, "YAML: expected <block end>, but found '<block mapping start>' (while parsing a block mapping that starts on line 1)"),
        ),
        ("a: b: c", (1, 5, "YAML: mapping values are not allowed here")),
        ("a: {{ x }}", (1, 5, "YAML: a key must be a text")),
        ("a: 1\n---\nb: 2", (2, 1, "expected one document")),
        ("*a", (1, 1, "YAML: alias '*a' has no anchor before it")),
        ("&a [*a]", (1, 5, "YAML: alias '*a' stands inside its own anchor")),
        ("a: !secret x", (1, 4, "YAML: unknown tag '!secret'")),
        ("a: !!set {x}", (1, 4, "YAML: unknown tag 'tag:yaml.org,2002:set'")),
        ("a: {<<: 1}", (1, 9, "YAML: '<<' merges mappings only")),
        ("a:\n  b\x01", (2, 4, "YAML: character #x0001 is not allowed")),
        ('"\\ud800"', (1, 1, "YAML: half a character: a \\u escape of a surrogate stands alone")),
        ("[" * 5000, (1, 101, "YAML: nested more than 100 levels deep")),
        ("- " * 5000, (1, 201, "YAML: nested more than 100 levels deep")),
    ],
)
def test_what_is_no_yaml_is_reported_at_the_parsers_mark(text: str, expected: tuple[int, int, str]) -> None:
    assert error(text) == expected


@pytest.mark.parametrize("text", ["%YAML 1.3\n---\na", '"\\UFFFFFFFF"'])
def test_text_on_which_the_parser_itself_breaks_is_an_error_in_the_text(text: str) -> None:
    assert error(text)[2].startswith("YAML: can't be read from here on")


def test_a_template_without_quotes_gets_a_hint() -> None:
    (problem,) = read("a: {{ x }}")[1]
    assert problem.hint == 'a value that starts with {{ needs quotes: "{{ ... }}"'


def test_aliases_count_as_what_they_stand_for() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, 12)]
    assert error("\n".join(lines))[2] == f"YAML: more than {MAX_NODES} values, aliases counted as what they stand for"


def test_aliases_that_nest_too_deeply_are_an_error() -> None:
    lines = ["a0: &a0 [x]", *(f"a{level}: &a{level} [*a{level - 1}]" for level in range(1, 200))]
    assert error("\n".join(lines))[2] == "YAML: nested more than 100 levels deep"


def test_a_key_that_is_given_twice_is_an_error_unless_both_values_are_the_same() -> None:
    report = Report()
    parse("a: 1\nb: {x: [1]}\na: 2\nb: {x: [1]}\ndesc: one\ndesc: two\n", report)
    assert [(problem.line, problem.message) for problem in report.errors] == [(3, "key 'a' is given twice (first on line 1)")]
    assert [(problem.line, problem.key) for problem in report.warnings] == [(4, "b"), (6, "desc")]


def test_lines_end_as_on_any_system() -> None:
    assert data("a: 1\r\nb: |\r\n  x\r\n  y\r\n") == {"a": 1, "b": "x\ny\n"}
