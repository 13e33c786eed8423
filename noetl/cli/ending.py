"""How a call of `noetl run` ends: what is printed, and the exit status."""

from __future__ import annotations

import shlex
from typing import Any, Final

import click
import msgspec
from msgspec import Struct

from noetl.cli.problems import as_data, say, say_error, show_problems
from noetl.engine.report import Report, to_json
from noetl.errors import Flaw

COMPLETED: Final = 0
FAILED: Final = 1
REJECTED: Final = 2
_LINES: Final = 40
_WIDTH: Final = 200


class Ended(Struct, frozen=True):
    """The execution is over. `result` is that of the whole execution."""

    report: Report
    result: Any


class Rejected(Struct, frozen=True):
    """Nothing was run: the playbook has errors, or what was asked for can't be."""

    problems: tuple[Flaw, ...] = ()
    message: str = ""


class Broken(Struct, frozen=True):
    """This process could not begin, or can't go on with what it has begun."""

    message: str
    kind: str = "store"
    status: str = "failed"
    execution_id: str | None = None
    is_resumable: bool = True


Ending = Ended | Rejected | Broken


def status_of(ending: Ending) -> int:
    """The exit status."""
    match ending:
        case Ended(report):
            return COMPLETED if report.status == "completed" else FAILED
        case Rejected():
            return REJECTED
        case Broken():
            return FAILED


def show(ending: Ending, *, as_json: bool, quiet: bool, store: str | None) -> None:
    """Print how it ended."""
    if as_json:
        click.echo(to_json(_document(ending)))
    match ending:
        case Ended(report):
            if not as_json:
                _show_ended(ending, quiet=quiet)
            if report.status == "failed":
                hint("retry the failed steps", report.execution_id, store)
        case Rejected(problems, message):
            show_problems(() if as_json else problems)
            if message:
                say_error(message)
            elif not as_json:
                say(f"rejected: {len(problems)} error{'s' if len(problems) > 1 else ''}")
        case Broken(message, execution_id=execution_id):
            say_error(message)
            if ending.is_resumable:
                hint("go on with it", execution_id, store)


def _document(ending: Ending) -> Any:
    match ending:
        case Ended(report):
            return report
        case Rejected(problems, message):
            errors = [as_data(problem) for problem in problems] or [{"message": message, "line": None, "column": None, "path": "", "key": None}]
            return {"execution_id": None, "status": "rejected", "error": None, "errors": errors, "steps": {}}
        case Broken(message, kind, status, execution_id):
            return {"execution_id": execution_id, "status": status, "error": {"kind": kind, "message": message}, "steps": {}}


def _show_ended(ending: Ended, *, quiet: bool) -> None:
    report = ending.report
    if not (quiet and report.status == "completed"):
        show_end(report.status, report.error, ending.result)


def show_end(status: str, error: Any, result: Any) -> None:
    """How an execution has ended, for people. `error` is {step?, message, …}."""
    click.echo(f"{status}{_because(error)}")
    if status == "completed" and result not in (None, {}, []):
        click.echo(f"\n{_readable(result)}")


def hint(what: str, execution_id: str | None, store: str | None) -> None:
    """How to resume. What was in memory can't be."""
    if execution_id is not None and store != "memory":
        say(f"{what}: noetl run --resume {execution_id}{_store_option(store)}")


def _store_option(store: str | None) -> str:
    return "" if store is None else f" --store {shlex.quote(store)}"


def _because(error: Any) -> str:
    if not isinstance(error, dict):
        return ""
    place = f" at step '{error['step']}'" if error.get("step") else ""
    return f"{place}: {error.get('message', '')}"


def _readable(result: Any) -> str:
    """A text as it is; anything else as JSON, cut where it would fill the screen."""
    if isinstance(result, str):
        return result.rstrip("\n")
    lines = msgspec.json.format(msgspec.json.encode(result, enc_hook=str), indent=2).decode().splitlines()
    shown = [line if len(line) <= _WIDTH else line[: _WIDTH - 1] + "…" for line in lines[:_LINES]]
    return "\n".join(shown if len(lines) <= _LINES else [*shown, f"… ({len(lines) - _LINES} more lines; --json shows all)"])
