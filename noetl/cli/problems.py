"""How what is wrong is shown to people."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable
from typing import Any, NoReturn

import click

from noetl.errors import Flaw


def show_problems(errors: Iterable[Flaw], warnings: Iterable[Flaw] = ()) -> None:
    """One line for each problem, as compilers write them, on standard error."""
    for problem in errors:
        _show(problem, click.style("error", fg="red", bold=True))
    for problem in warnings:
        _show(problem, click.style("warning", fg="yellow"))


def _show(problem: Flaw, severity: str) -> None:
    place = f"{problem.file or '<playbook>'}:{problem.line}:{problem.column}"
    hint = f"\n    {click.style('hint:', dim=True)} {problem.hint}" if problem.hint else ""
    say(f"{place}: {severity}: {problem.message}{hint}")


def as_data(problem: Flaw) -> dict[str, Any]:
    """{message, line, column, path, key, hint?}"""
    data: dict[str, Any] = {
        "message": problem.message,
        "line": problem.line,
        "column": problem.column,
        "path": problem.path,
        "key": problem.key,
    }
    if problem.hint:
        data["hint"] = problem.hint
    return data


def say(text: str) -> None:
    """A line on standard error, without colours where they are not wanted."""
    with contextlib.suppress(OSError):  # nobody reads it any more: there is no other place to say so
        click.echo(text, err=True, color=sys.stderr.isatty() and not os.environ.get("NO_COLOR"))


def say_error(message: str) -> None:
    say(f"{click.style('error:', fg='red', bold=True)} {message}")


def fail(message: str, code: int = 1) -> NoReturn:
    """Say what went wrong, and end."""
    say_error(message)
    raise SystemExit(code)


def lost_output(error: OSError) -> None:
    """Standard output can't be written any more: what is still printed goes nowhere. A reader that has gone away is not worth a word."""
    if not isinstance(error, BrokenPipeError):
        say_error(f"the output can't be written: {error.strerror}")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
