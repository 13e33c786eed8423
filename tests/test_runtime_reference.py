"""docs/reference/runtime.md: each rule names tests, and they exist."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/reference/runtime.md"


class Row(NamedTuple):
    id: str
    otp: str
    here: str
    tests: list[str]


def rows() -> list[Row]:
    """All rows of the page's tables, without their heads."""
    found: list[Row] = []
    for line in PAGE.read_text().splitlines():
        if line.startswith("| ") and not line.startswith("| id |"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            assert len(cells) == 4, line
            found.append(Row(cells[0], cells[1], cells[2], re.findall(r"`([^`]+)`", cells[3])))
    return found


@functools.cache
def names_in(file: str) -> frozenset[str]:
    """Test functions, and the test cases of state machines."""
    if not (ROOT / file).is_file():
        return frozenset()
    nodes = ast.parse((ROOT / file).read_text()).body
    functions = {node.name for node in nodes if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_")}
    targets = [target for node in nodes if isinstance(node, ast.Assign) for target in node.targets]
    return frozenset(functions | {target.id for target in targets if isinstance(target, ast.Name) and target.id.startswith("Test")})


def exists(test: str) -> bool:
    file, _, name = test.partition("::")
    return name in names_in(file)


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.id)
def test_a_rule_names_the_tests_that_show_it(row: Row) -> None:
    assert row.otp
    assert row.here
    assert row.tests
    assert [test for test in row.tests if not exists(test)] == []


def test_a_rule_is_told_once() -> None:
    ids = [row.id for row in rows()]
    assert len(ids) == len(set(ids)) > 80


OBSERVATION = {"tests/actors/test_snapshot.py", "tests/actors/test_watchdog.py"}
"""Shows some rules, but is not about them."""


def test_every_test_of_the_semantics_stands_beside_a_rule() -> None:
    named = {test for row in rows() for test in row.tests}
    files = {test.partition("::")[0] for test in named} - OBSERVATION
    assert {f"{file}::{name}" for file in files for name in names_in(file)} - named == set()


def test_a_test_that_is_not_there_is_noticed() -> None:
    assert exists("tests/test_runtime_reference.py::test_a_rule_is_told_once")
    assert not exists("tests/test_runtime_reference.py::exists")
    assert not exists("tests/no_such_file.py::test_a_rule_is_told_once")
