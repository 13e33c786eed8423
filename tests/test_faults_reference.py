"""docs/reference/faults.md: each fault names tests, and they exist."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/reference/faults.md"


class Row(NamedTuple):
    section: str
    fault: str
    tests: list[str]


def rows() -> list[Row]:
    """All rows of the page's tables, without their heads."""
    found: list[Row] = []
    section = ""
    for line in PAGE.read_text().splitlines():
        if line.startswith("## "):
            section = line[3:]
        elif line.startswith("| ") and not line.startswith("| fault |"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            found.append(Row(section, cells[0], re.findall(r"`([^`]+)`", cells[-1])))
    return found


@functools.cache
def names_in(file: str) -> frozenset[str]:
    if not (ROOT / file).is_file():
        return frozenset()
    nodes = ast.parse((ROOT / file).read_text()).body
    return frozenset(node.name for node in nodes if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_"))


def exists(test: str) -> bool:
    file, _, name = test.partition("::")
    return name in names_in(file)


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.fault)
def test_a_fault_names_the_tests_that_show_it(row: Row) -> None:
    assert row.tests
    assert [test for test in row.tests if not exists(test)] == []


def test_a_fault_is_told_once() -> None:
    faults = [(row.section, row.fault) for row in rows()]
    assert len(faults) == len(set(faults)) > 60


def test_a_test_that_is_not_there_is_noticed() -> None:
    assert exists("tests/test_faults_reference.py::test_a_fault_is_told_once")
    assert not exists("tests/test_faults_reference.py::exists")
    assert not exists("tests/no_such_file.py::test_a_fault_is_told_once")
