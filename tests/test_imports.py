"""Who may import whom: read top to bottom, a package may import the ground and the packages named in its line."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "noetl"
GROUND = {"errors", "ids", "clock", "values", "blobs", "events", "probe", "settings", "machine"}
MAY_IMPORT: dict[str, set[str]] = {
    "dsl": set(),
    "store": set(),
    "vault": {"store"},
    "tools": set(),
    "mailbox": set(),
    "actors": {"mailbox"},
    "supervisors": {"mailbox", "actors"},
    "cluster": {"store", "mailbox", "actors", "supervisors"},
    "engine": {"dsl", "store", "vault", "tools", "mailbox", "actors", "supervisors", "cluster"},
    "client": {"engine"},
    "gateway": {"store"},
    "api": {"dsl", "store", "vault", "tools", "mailbox", "actors", "engine", "gateway"},
    "node": {"gateway", "api", "dsl", "store", "vault", "tools", "mailbox", "actors", "supervisors", "cluster", "engine"},
    "cli": {"dsl", "store", "vault", "tools", "actors", "engine", "client", "node"},
    "testing": {"dsl", "engine", "mailbox", "actors", "supervisors"},
}
ROOT_VERSION = "noetl"
"""`from noetl import __version__` is for everybody."""


def module_name(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(file): file for file in PACKAGE.rglob("*.py")}


def imported(module: str) -> Iterator[tuple[str, bool]]:
    """All modules that a module imports anywhere in it, and whether only for type checkers."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    guarded = [node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)]
    typing_only = {id(inner) for node in guarded for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) in typing_only) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            base = node.module or ""
            for alias in node.names:
                yield f"{base}.{alias.name}" if f"{base}.{alias.name}" in MODULES else base, id(node) in typing_only


def imports(module: str) -> Iterator[tuple[str, bool]]:
    """Those that are ours."""
    return ((name, typing_only) for name, typing_only in imported(module) if name.partition(".")[0] == "noetl")


def package_of(module: str) -> str:
    """First part below noetl: a package, or a module of the ground; empty for the root."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_module_imports_only_what_its_package_may(module: str) -> None:
    own = package_of(module)
    if own in ("", "__main__"):
        return
    allowed = GROUND if own in GROUND else GROUND | MAY_IMPORT[own] | {own}
    wrong = [name for name, _ in imports(module) if name != ROOT_VERSION and package_of(name) not in allowed]
    assert wrong == []


def test_the_client_needs_no_more_of_the_engine_than_what_is_said() -> None:
    """A program that only asks does not load what runs playbooks."""
    found = {name for module in MODULES if package_of(module) == "client" for name, _ in imports(module)}
    assert {name for name in found if package_of(name) == "engine"} == {"noetl.engine.client"}


def test_no_package_is_missing_in_the_table() -> None:
    packages = {package_of(module) for module in MODULES} - {"", "__main__"}
    assert packages == GROUND | set(MAY_IMPORT)


@pytest.mark.parametrize("module", sorted(GROUND))
def test_the_ground_needs_the_standard_library_and_msgspec_only(module: str) -> None:
    tops = {name.partition(".")[0] for name, _ in imported(f"noetl.{module}")}
    assert tops <= {"noetl", "msgspec", *sys.stdlib_module_names}


def test_there_is_no_import_cycle() -> None:
    """Imports for type checkers count too, except inside of one package."""
    graph = {
        module: {name for name, typing_only in imports(module) if not (typing_only and package_of(name) == package_of(module))} for module in MODULES
    }
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"imports go in a circle: {' -> '.join(error.args[1])}")
