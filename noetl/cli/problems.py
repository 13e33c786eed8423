"""How what is wrong is shown to people."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any

import click

from noetl.dsl.problem import Problem


def show_problems(errors: Iterable[Problem], warnings: Iterable[Problem] = ()) -> None:
    """One line for each problem, as compilers write them, on standard error."""
    for problem in errors:
        _show(problem, click.style("error", fg="red", bold=True))
    for problem in warnings:
        _show(problem, click.style("warning", fg="yellow"))


def _show(problem: Problem, severity: str) -> None:
    place = f"{problem.file or '<playbook>'}:{problem.line}:{problem.column}"
    hint = f"\n    {click.style('hint:', dim=True)} {problem.hint}" if problem.hint else ""
    say(f"{place}: {severity}: {problem.message}{hint}")


def as_data(problem: Problem, *, with_file: bool = False) -> dict[str, Any]:
    data: dict[str, Any] = {
        "message": problem.message,
        "line": problem.line,
        "column": problem.column,
        "path": problem.path,
        "key": problem.key,
    }
    if problem.hint:
        data["hint"] = problem.hint
    if with_file:
        data["file"] = problem.file
    return data


def say(text: str) -> None:
    """A line on standard error, without colours where they are not wanted."""
    click.echo(text, err=True, color=None if _colours(sys.stderr.isatty()) else False)


def _colours(is_terminal: bool) -> bool:  # noqa: FBT001  one fact
    return is_terminal and not os.environ.get("NO_COLOR")


def fail(message: str, code: int = 1) -> None:
    """Say what went wrong, and end."""
    say(f"{click.style('error:', fg='red', bold=True)} {message}")
    raise SystemExit(code)
