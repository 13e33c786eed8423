"""`noetl executions`: what is in the local store."""

from __future__ import annotations

import datetime as dt
import re
import shutil
from typing import TYPE_CHECKING, Any, Final

import click

from noetl.cli.stores import in_store, or_fail, row_of, store_option

if TYPE_CHECKING:
    from noetl.engine.client import EventView
    from noetl.engine.report import Report, StepReport
    from noetl.engine.state import State
    from noetl.ids import ExecutionId
    from noetl.store.lease import Owner
    from noetl.store.log import ExecutionRow
    from noetl.store.store import Store

_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_SWEEP_AGE_S: Final = 3_600.0
_OPEN: Final = ("pending", "running", "waiting")
_STATUSES: Final = (*_OPEN, "completed", "failed", "cancelled")

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


class _Id(click.ParamType[int]):
    name = "ID"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from noetl.ids import parse_execution_id

        found = parse_execution_id(str(value))
        if found is None:
            self.fail(f"{value!r} is no execution id: it is a number; `noetl executions list` shows them", param, ctx)
        return found


ID = _Id()


@click.group()
def executions() -> None:
    """Look at executions, cancel them, delete old ones. Works on the local store."""


@executions.command("list")
@click.option("--status", type=click.Choice(_STATUSES), help="Only executions with this status.")
@click.option("--path", help="Only executions of this playbook.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(min=1))
@json_option
@store_option
def list_(status: str | None, path: str | None, limit: int, as_json: bool, store: str | None) -> None:
    """List executions, newest first. Sub-playbooks are shown with their parents."""

    from noetl.store.projection import ExecutionQuery

    async def work(opened: Store) -> list[tuple[ExecutionRow, bool]]:
        rows = await opened.executions.list_executions(ExecutionQuery(limit=limit, status=status, path=path))
        return [(row, row.status in _OPEN and await _live_owner(opened, row) is None) for row in rows]

    rows: list[tuple[ExecutionRow, bool]] = in_store(store, work, missing=[])
    if as_json:
        _print_json([_row_data(row) for row, _ in rows])
        return
    for row, is_orphan in rows:
        note = "  (its process is gone)" if is_orphan else ""
        click.echo(f"{row.id}  {row.status:<9}  {_local(row.requested_at)}  {_duration(row):>9}  {row.path}{note}")


@executions.command()
@click.argument("execution", type=ID)
@json_option
@store_option
def show(execution: ExecutionId, as_json: bool, store: str | None) -> None:
    """Show one execution: its steps, results and errors."""
    from noetl.engine.report import to_json

    async def work(opened: Store) -> tuple[Report, State, list[ExecutionRow], Owner | None]:
        from noetl.engine.recovery import folded

        found = await folded(opened, execution)
        family = await opened.executions.family(found.row.root_id)
        return await _report(opened, found.state), found.state, [found.row, *_children(family, execution)], await _live_owner(opened, found.row)

    report, state, rows, owner = in_store(store, work)
    if as_json:
        click.echo(to_json(report))
    else:
        _show(report, state, rows, owner)


@executions.command()
@click.argument("execution", type=ID)
@json_option
@store_option
def events(execution: ExecutionId, as_json: bool, store: str | None) -> None:
    """Show the log of one execution, event by event (docs/reference/events.md)."""
    from noetl.engine.eventlist import event_list

    async def work(opened: Store) -> list[EventView]:
        from noetl.store.log import check_chain

        await row_of(opened, execution)
        rows = await opened.log.read(execution)
        check_chain(rows)
        return list(event_list(rows))

    found = in_store(store, work)
    if as_json:
        _print_json(found)
        return
    for event in found:
        place = "" if event.step is None else f"  {event.step}"
        iteration = "" if event.iteration is None else f"[{event.iteration}]"
        attempt = "" if event.attempt is None else f"  attempt {event.attempt}"
        click.echo(f"{event.seq:>5}  {event.at.astimezone():%H:%M:%S.%f}  {event.name}{place}{iteration}{attempt}")


@executions.command()
@click.argument("execution", type=ID)
@click.argument("step", required=False)
@json_option
@store_option
def logs(execution: ExecutionId, step: str | None, as_json: bool, store: str | None) -> None:
    """Show what the code of an execution has printed, of all steps or one."""
    from noetl.cli.live import prefixed
    from noetl.node.runlog import LogLine, read_log

    async def work(opened: Store) -> list[LogLine]:
        await row_of(opened, execution)
        return list(read_log(opened.logs_dir, execution, step))

    lines = in_store(store, work)
    if as_json:
        _print_json(lines)
        return
    for line in lines:
        click.echo(prefixed(line))


@executions.command()
@click.argument("execution", type=ID)
@click.option("--reason", default="cancelled by the user", show_default=True)
@store_option
def cancel(execution: ExecutionId, reason: str, store: str | None) -> None:
    """Cancel an execution, wherever it runs. One that nobody runs any more is ended here.

    Exit status: 0 it is cancelled, or its process is at it; 1 it ended in another way; 2 there is no such execution, or it had ended before.
    """
    from noetl.cli.cancelling import cancel_execution

    status = or_fail(lambda: cancel_execution(execution, reason, store))
    click.echo(f"execution {execution} {status}")
    raise SystemExit(0 if status in ("cancelled", "cancelling") else 1)


@executions.command()
@click.option("--older-than", "age", required=True, metavar="AGE", help="Such as 30d, 12h, 90m.")
@store_option
def prune(age: str, store: str | None) -> None:
    """Delete executions that ended that long ago, with their logs, results and state.

    One that has not ended is kept, and so is its whole family. Results that nobody needs any more are deleted when they are an hour old.
    """
    seconds = _seconds(age)

    async def work(opened: Store) -> tuple[int, int]:
        from noetl.node.reports import delete_reports
        from noetl.node.runlog import log_file
        from noetl.store.artifact import needed, sweep

        gone = await opened.executions.prune(dt.datetime.now(dt.UTC) - dt.timedelta(seconds=seconds))
        for execution in gone:
            log_file(opened.logs_dir, execution).unlink(missing_ok=True)
            shutil.rmtree(opened.directory / "run" / str(execution), ignore_errors=True)
        delete_reports(opened.logs_dir, seconds)
        kept = await needed(opened.artifacts_dir, opened.log.bodies())
        return len(gone), sweep(opened.artifacts_dir, kept, _SWEEP_AGE_S)

    count, swept = in_store(store, work, missing=(0, 0))
    click.echo(f"deleted {count} execution{'s' if count != 1 else ''}, {swept} artifact{'s' if swept != 1 else ''}")


# -- from the store ----------------------------------------------------------------------------------------------------


async def _live_owner(store: Store, row: ExecutionRow) -> Owner | None:
    """The process that runs the execution, if there is one."""
    from noetl.node.incarnation import is_alive

    owner = await store.shards.owner_of(row.id) if row.status in _OPEN else None
    return owner if owner is not None and is_alive(owner) else None


def _children(family: list[ExecutionRow], execution: ExecutionId) -> list[ExecutionRow]:
    return [row for row in family if row.parent_id == execution]


async def _report(store: Store, state: State) -> Report:
    from noetl.engine.cache import ValueCache
    from noetl.engine.report import report_of
    from noetl.settings import ValueLimits
    from noetl.vault.secrets import Secrets

    async def inline(function: Any, *args: Any) -> Any:
        return function(*args)

    cache = ValueCache(store.artifacts_dir, store.log, inline)
    return await report_of(state, cache, Secrets(lambda: b""), ValueLimits().inline_max_bytes)


# -- words -------------------------------------------------------------------------------------------------------------


def _show(report: Report, state: State, rows: list[ExecutionRow], owner: Owner | None) -> None:
    row, *children = rows
    click.echo(f"execution {row.id}  {row.path}")
    click.echo(f"status    {row.status}{'' if row.error is None else ': ' + row.error}")
    click.echo(f"started   {_local(row.requested_at)}")
    if row.status in _OPEN:
        click.echo(f"process   {owner or 'gone: noetl run --resume ' + str(row.root_id)}")
    for name, step in report.steps.items():
        about = state.steps[name]
        seconds = "" if about.ended_at is None or about.started_at is None else f"{(about.ended_at - about.started_at).total_seconds():.2f} s"
        runs = f"  {step.runs} runs" if step.runs > 1 else ""
        click.echo(f"  {step.status:<9} {name}{runs}  {seconds}".rstrip())
        _show_outcome(step)
    for child in children:
        click.echo(f"child     {child.id}  {child.status:<9}  {child.path}")


def _show_outcome(step: StepReport) -> None:
    import msgspec

    if step.error is not msgspec.UNSET and isinstance(step.error, dict):
        click.echo(f"            {step.error.get('kind')}: {step.error.get('message')}")
    elif step.result is not msgspec.UNSET:
        text = msgspec.json.encode(step.result, enc_hook=str).decode()
        click.echo(f"            {text if len(text) <= 160 else text[:159] + '…'}")


def _row_data(row: ExecutionRow) -> dict[str, Any]:
    return {"execution_id": str(row.id), "path": row.path, "status": row.status, "started_at": row.requested_at, "ended_at": row.ended_at}


def _duration(row: ExecutionRow) -> str:
    end = row.ended_at
    return "" if end is None else f"{(end - row.requested_at).total_seconds():.2f} s"


def _local(at: dt.datetime) -> str:
    return f"{at.astimezone():%Y-%m-%d %H:%M:%S}"


def _seconds(age: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", age.strip())
    if match is None:
        raise click.UsageError(f"--older-than {age}: must be a number and a unit, such as 30d, 12h, 90m, 45s, 2w")
    return float(match[1]) * _UNITS[match[2]]


def _print_json(document: Any) -> None:
    import msgspec

    click.echo(msgspec.json.encode(document, enc_hook=str))
