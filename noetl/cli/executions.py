"""`noetl executions`: what is in the local store."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import re
import shutil
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from noetl.ids import ExecutionId
    from noetl.store.log import ExecutionRow
    from noetl.store.store import Store

_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_SWEEP_AGE_S = 3_600.0

store_option = click.option("--store", metavar="PATH", help="The store. Default: noetl.db in NOETL_HOME (./.noetl).")
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
@click.option("--status", help="Only executions with this status.")
@click.option("--path", help="Only executions of this playbook.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(min=1))
@json_option
@store_option
def list_(status: str | None, path: str | None, limit: int, as_json: bool, store: str | None) -> None:  # noqa: FBT001
    """List executions, newest first."""

    async def work(opened: Store) -> list[ExecutionRow]:
        return await opened.executions.list_executions(limit=limit, status=status, path=path)

    rows = _in_store(store, work, missing=[])
    if as_json:
        _print_json([_row_data(row) for row in rows])
        return
    for row in rows:
        click.echo(f"{row.id}  {row.status:<9}  {_local(row.requested_at)}  {_duration(row):>9}  {row.path}")


@executions.command()
@click.argument("execution", type=ID)
@json_option
@store_option
def show(execution: ExecutionId, as_json: bool, store: str | None) -> None:  # noqa: FBT001
    """Show one execution: its steps, results and errors."""
    from noetl.engine.report import to_json

    async def work(opened: Store) -> tuple[Any, ExecutionRow, Any]:
        from noetl.engine.recovery import folded

        found = await folded(opened, execution)
        return await _report(opened, found.state), found.row, found.state

    report, row, state = _in_store(store, work)
    if as_json:
        click.echo(to_json(report))
        return
    click.echo(f"execution {row.id}  {row.path}\nstatus    {row.status}{'' if row.error is None else ': ' + row.error}\nstarted   {_local(row.requested_at)}")
    for name, step in report.steps.items():
        about = state.steps[name]
        seconds = "" if about.ended_at is None or about.started_at is None else f"{(about.ended_at - about.started_at).total_seconds():.2f} s"
        runs = f"  ×{step.runs}" if step.runs > 1 else ""
        click.echo(f"  {step.status:<9} {name}{runs}  {seconds}")
        _show_outcome(step)


@executions.command()
@click.argument("execution", type=ID)
@json_option
@store_option
def events(execution: ExecutionId, as_json: bool, store: str | None) -> None:  # noqa: FBT001
    """Show the log of one execution, event by event (docs/reference/events.md)."""
    from noetl.cli.eventlist import event_list

    async def work(opened: Store) -> list[dict[str, Any]]:
        from noetl.errors import NotFound
        from noetl.store.log import check_chain

        rows = await opened.log.read(execution)
        if not rows and await opened.executions.execution(execution) is None:
            raise NotFound(f"there is no execution {execution} in this store")
        check_chain(rows)
        return list(event_list(rows))

    found = _in_store(store, work)
    if as_json:
        _print_json(found)
        return
    for event in found:
        place = "" if event["step"] is None else f"  {event['step']}"
        iteration = "" if event["iteration"] is None else f"[{event['iteration']}]"
        attempt = "" if event["attempt"] is None else f"  attempt {event['attempt']}"
        click.echo(f"{event['seq']:>5}  {event['at'].astimezone():%H:%M:%S.%f}  {event['name']}{place}{iteration}{attempt}")


@executions.command()
@click.argument("execution", type=ID)
@click.argument("step", required=False)
@json_option
@store_option
def logs(execution: ExecutionId, step: str | None, as_json: bool, store: str | None) -> None:  # noqa: FBT001
    """Show what the code of an execution has printed, of all steps or one."""
    from noetl.cli.live import prefixed
    from noetl.node.runlog import read_log

    async def work(opened: Store) -> list[Any]:
        from noetl.errors import NotFound

        if await opened.executions.execution(execution) is None:
            raise NotFound(f"there is no execution {execution} in this store")
        return list(read_log(opened.logs_dir, execution, step))

    lines = _in_store(store, work)
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
    """Cancel an execution, wherever it runs. One that nobody runs any more is ended here."""
    from noetl.cli.cancelling import cancel_execution

    status = _run(lambda: cancel_execution(execution, reason, store))
    click.echo(f"execution {execution} {status}")
    raise SystemExit(0 if status in ("cancelled", "cancelling") else 1)


@executions.command()
@click.option("--older-than", "age", required=True, metavar="AGE", help="Such as 30d, 12h, 90m.")
@store_option
def prune(age: str, store: str | None) -> None:
    """Delete executions that ended that long ago, with their logs, results and state."""
    seconds = _seconds(age)

    async def work(opened: Store) -> tuple[int, int]:
        from noetl.store.artifact import hashes_in, sweep

        gone = await opened.executions.prune(dt.datetime.now(dt.UTC) - dt.timedelta(seconds=seconds))
        for execution in gone:
            (opened.logs_dir / f"{execution}.jsonl").unlink(missing_ok=True)
            shutil.rmtree(opened.directory / "run" / str(execution), ignore_errors=True)
        needed = hashes_in([body async for body in opened.log.bodies()])
        return len(gone), sweep(opened.artifacts_dir, needed, _SWEEP_AGE_S)

    count, swept = _in_store(store, work, missing=(0, 0))
    click.echo(f"deleted {count} execution{'s' if count != 1 else ''}, {swept} artifact{'s' if swept != 1 else ''}")


# -- the store ---------------------------------------------------------------------------------------------------------


def _in_store(store: str | None, work: Callable[[Store], Coroutine[Any, Any, Any]], missing: Any = None) -> Any:
    """Do something with the store; `missing` is the answer where there is none yet."""
    from noetl.node.boot import store_place
    from noetl.node.profile import home_dir

    directory, file = store_place(home_dir(os.environ), store)
    if not file.exists():
        if missing is not None:
            return missing
        from noetl.cli.problems import fail

        fail(f"there is no store {file}", 2)

    async def opened() -> Any:
        async with open_store(directory, file) as ready:
            return await work(ready)

    return _run(opened)


@contextlib.asynccontextmanager
async def open_store(directory: Path, file: Path) -> AsyncIterator[Store]:
    from noetl.settings import StoreSettings
    from noetl.store.logs.sqlite import open_sqlite

    store = await open_sqlite(file, directory, StoreSettings())
    try:
        yield store
    finally:
        await store.close()


def _run(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    import asyncio

    from noetl.cli.problems import fail
    from noetl.errors import NoetlError, NotAllowed, NotFound

    try:
        return asyncio.run(work())
    except (NotFound, NotAllowed) as error:
        return fail(str(error), 2)
    except NoetlError as error:
        return fail(str(error))


async def _report(store: Store, state: Any) -> Any:
    from noetl.engine.cache import ValueCache
    from noetl.engine.report import report_of
    from noetl.settings import ValueLimits
    from noetl.vault.secrets import Secrets

    async def inline(function: Callable[..., Any], *args: Any) -> Any:
        return function(*args)

    cache = ValueCache(store.artifacts_dir, store.log, inline)
    return await report_of(state, cache, Secrets(lambda: b""), ValueLimits().inline_max_bytes)


# -- words -------------------------------------------------------------------------------------------------------------


def _row_data(row: ExecutionRow) -> dict[str, Any]:
    return {"execution_id": str(row.id), "path": row.path, "status": row.status, "started_at": row.requested_at, "ended_at": row.ended_at}


def _show_outcome(step: Any) -> None:
    import msgspec

    if step.error is not msgspec.UNSET and isinstance(step.error, dict):
        click.echo(f"            {step.error.get('kind')}: {step.error.get('message')}")
    elif step.result is not msgspec.UNSET:
        text = msgspec.json.encode(step.result, enc_hook=str).decode()
        click.echo(f"            {text if len(text) <= 160 else text[:159] + '…'}")


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
