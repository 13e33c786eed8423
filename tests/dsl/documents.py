"""Playbook texts for tests: a small frame around the steps, and the parts of what comes out."""

from __future__ import annotations

import textwrap
from pathlib import Path

from noetl.dsl.load import Loaded, load
from noetl.dsl.playbook import Playbook, Step, Task

PLAYBOOKS = Path(__file__).parents[1] / "fixtures" / "playbooks"


def framed(steps: str) -> str:
    """A playbook of these steps, which are written without indentation. They begin on line 5."""
    head = "apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {name: test}\nworkflow:\n"
    return head + textwrap.indent(textwrap.dedent(steps).strip("\n"), "  ") + "\n"


def loaded(text: str) -> Playbook:
    """The playbook in a text that is valid."""
    result = load(text)
    assert result.playbook is not None, result.errors
    return result.playbook


def steps_of(steps: str) -> tuple[Step, ...]:
    return loaded(framed(steps)).steps


def step_of(steps: str) -> Step:
    """The first step."""
    return steps_of(steps)[0]


def task_of(steps: str) -> Task:
    """The first task of the first step."""
    return step_of(steps).tasks[0]


def errors_of(steps: str) -> list[str]:
    """The messages of the errors."""
    return [problem.message for problem in load(framed(steps)).errors]


def warnings_of(steps: str) -> list[str]:
    return [problem.message for problem in load(framed(steps)).warnings]


def messages(result: Loaded, *, errors: bool) -> list[str]:
    """`line:column message` of each error or warning."""
    return [f"{problem.line}:{problem.column} {problem.message}" for problem in (result.errors if errors else result.warnings)]


def fixture(name: str) -> Playbook:
    """A playbook of tests/fixtures/playbooks that is valid."""
    return loaded((PLAYBOOKS / name).read_text())


def fixture_step(name: str, step: str) -> Step:
    return next(found for found in fixture(name).steps if found.name == step)
