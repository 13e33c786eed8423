"""`noetl executions`: what is in the local store, or on a server."""

from __future__ import annotations

import datetime as dt
import re
import shutil
from typing import TYPE_CHECKING, Any, Final

import click

from noetl.cli.printing import event_line, json_option, local, print_json
from noetl.cli.servers import Server, store_or_server_options
from noetl.cli.sources import OPEN, Shown, source_of
from noetl.cli.stores import in_store, row_of, store_option

if TYPE_CHECKING:
    from noetl.engine.client import ExecutionView, StepView
    from noetl.ids import ExecutionId
    from noetl.store.store import Store

_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_SWEEP_AGE_S: Final = 3_600.0
_STATUSES: Final = (*OPEN, "completed", "failed", "cancelled")


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
    """Look at executions, cancel them, delete old ones: of the local store, or of a server when --url, --host, --port or NOETL_URL names one."""


@executions.command("list")
@click.option("--status", type=click.Choice(_STATUSES), help="Only executions with this status.")
@click.option("--path", help="Only executions of this playbook.")
@click.option("--label", metavar="NAME[=VALUE]", help="Only executions with this label.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(min=1), help="At most so many.")
@json_option
@store_option
@store_or_server_options
def list_(status: Any, path: str | None, label: str | None, limit: int, as_json: bool, store: str | None, server: Server) -> None:
    """List executions, newest first. Sub-playbooks are shown with their parents."""
    from noetl.engine.client import ExecutionFilter

    found = source_of(store, server).executions(ExecutionFilter(status=status, path=path, label=label), limit)
    if as_json:
        print_json([each.view for each in found])
        return
    for each in found:
        view, note = each.view, "  (its process is gone)" if each.is_orphan else ""
        click.echo(f"{view.execution_id}  {view.status:<9}  {local(view.requested_at)}  {_duration(view):>9}  {view.path}{note}")


@executions.command()
@click.argument("execution", type=ID)
@json_option
@store_option
@store_or_server_options
def show(execution: ExecutionId, as_json: bool, store: str | None, server: Server) -> None:
    """Show one execution: its steps, results and errors."""
    found = source_of(store, server).execution(execution)
    if as_json:
        print_json(found.report)
    else:
        _show(found)


@executions.command()
@click.argument("execution", type=ID)
@json_option
@store_option
@store_or_server_options
def events(execution: ExecutionId, as_json: bool, store: str | None, server: Server) -> None:
    """Show the log of one execution, event by event (docs/reference/events.md)."""
    found = source_of(store, server).events(execution)
    if as_json:
        print_json(found)
        return
    for event in found:
        click.echo(event_line(event))


@executions.command()
@click.argument("execution", type=ID)
@click.argument("step", required=False)
@json_option
@store_option
def logs(execution: ExecutionId, step: str | None, as_json: bool, store: str | None) -> None:
    """Show what the code of an execution has printed, of all steps or one. Always from the local store: a server does not give it away."""
    from noetl.cli.live import prefixed
    from noetl.node.runlog import LogLine, read_log

    async def work(opened: Store) -> list[LogLine]:
        await row_of(opened, execution)
        return list(read_log(opened.logs_dir, execution, step))

    lines = in_store(store, work)
    if as_json:
        print_json(lines)
        return
    for line in lines:
        click.echo(prefixed(line))


@executions.command()
@click.argument("execution", type=ID)
@click.option("--reason", default="cancelled by the user", show_default=True, help="Is kept in its log.")
@store_option
@store_or_server_options
def cancel(execution: ExecutionId, reason: str, store: str | None, server: Server) -> None:
    """Cancel an execution, wherever it runs. One of the local store that nobody runs any more is ended here.

    Exit status: 0 it is cancelled, or its process is at it; 1 it ended in another way; 2 there is no such execution, or it had ended before.
    """
    status = source_of(store, server).cancel(execution, reason)
    click.echo(f"execution {execution} {status}")
    raise SystemExit(0 if status in ("cancelled", "cancelling") else 1)


@executions.command()
@click.option("--older-than", "age", required=True, metavar="AGE", help="Such as 30d, 12h, 90m.")
@store_option
def prune(age: str, store: str | None) -> None:
    """Delete executions of the local store that ended that long ago, with their logs, results and state.

    One that has not ended is kept, and so is its whole family. Results that nobody needs any more are deleted when they are an hour old.
    """
    seconds = _seconds(age)

    async def work(opened: Store) -> tuple[int, int]:
        from noetl.node.reports import delete_reports
        from noetl.node.runlog import log_file
        from noetl.store.artifacts.disk import needed, sweep

        gone = await opened.executions.prune(dt.datetime.now(dt.UTC) - dt.timedelta(seconds=seconds))
        for execution in gone:
            log_file(opened.logs_dir, execution).unlink(missing_ok=True)
            shutil.rmtree(opened.directory / "run" / str(execution), ignore_errors=True)
        delete_reports(opened.logs_dir, seconds)
        kept = await needed(opened.artifacts_dir, opened.log.bodies())
        return len(gone), sweep(opened.artifacts_dir, kept, _SWEEP_AGE_S)

    count, swept = in_store(store, work, missing=(0, 0))
    click.echo(f"deleted {count} execution{'s' if count != 1 else ''}, {swept} artifact{'s' if swept != 1 else ''}")


# -- words -------------------------------------------------------------------------------------------------------------


def _show(found: Shown) -> None:
    report = found.report
    message = report.error.get("message", "") if isinstance(report.error, dict) else ""
    click.echo(f"execution {report.execution_id}  {report.path}")
    click.echo(f"status    {report.status}{': ' + message if message else ''}")
    click.echo(f"started   {local(report.requested_at)}")
    if found.process is not None:
        click.echo(f"process   {found.process}")
    for name, step in report.steps.items():
        seconds = "" if step.ended_at is None or step.started_at is None else f"{(step.ended_at - step.started_at).total_seconds():.2f} s"
        runs = f"  {step.runs} runs" if step.runs > 1 else ""
        click.echo(f"  {step.status:<9} {name}{runs}  {seconds}".rstrip())
        _show_outcome(step)
    for child in report.children:
        click.echo(f"child     {child.execution_id}  {child.status:<9}  {child.path}")


def _show_outcome(step: StepView) -> None:
    import msgspec

    if isinstance(step.error, dict):
        click.echo(f"            {step.error.get('kind')}: {step.error.get('message')}")
    elif step.result is not None:
        text = msgspec.json.encode(step.result, enc_hook=str).decode()
        click.echo(f"            {text if len(text) <= 160 else text[:159] + '…'}")


def _duration(view: ExecutionView) -> str:
    end = view.ended_at
    return "" if end is None else f"{(end - view.requested_at).total_seconds():.2f} s"


def _seconds(age: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", age.strip())
    if match is None:
        raise click.UsageError(f"--older-than {age}: must be a number and a unit, such as 30d, 12h, 90m, 45s, 2w")
    return float(match[1]) * _UNITS[match[2]]
