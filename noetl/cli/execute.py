"""`noetl execute`: an execution of a registered playbook, on a server."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import click

from noetl.cli.printing import event_line, json_option, print_json
from noetl.cli.servers import Server, ask, client_of, give_up, server_options

if TYPE_CHECKING:
    from noetl.client import SyncClient
    from noetl.engine.client import ExecutionReport

_PATIENCE: Final = 8
"""Attempts in a row at a server that is away for a moment: 25 s in all."""


@click.group()
def execute() -> None:
    """Execute what is in the catalog of a server."""


@execute.command()
@click.argument("path")
@click.option("--payload", metavar="JSON|@FILE", help="Values for the playbook's workload: each replaces the one of its name.")
@click.option("--set", "assignments", multiple=True, metavar="A.B=V", help="One value of the payload; V is JSON, else text. Repeatable.")
@click.option("--merge", is_flag=True, help="Mappings of the payload merge into those of the workload instead.")
@click.option("--version", type=click.IntRange(min=1), metavar="N", help="Default: the latest.")
@click.option("--wait", is_flag=True, help="Wait for the end, and print it.")
@click.option("--watch", is_flag=True, help="Show the events as they come, then the end.")
@click.option("--idempotency-key", "key", metavar="KEY", help="Starts one execution, however often it is asked for under this key.")
@json_option
@server_options
def playbook(
    path: str,
    payload: str | None,
    assignments: tuple[str, ...],
    merge: bool,
    version: int | None,
    wait: bool,
    watch: bool,
    key: str | None,
    as_json: bool,
    server: Server,
) -> None:
    """Execute a registered playbook. The id of the execution is printed as soon as it can't be lost any more; Ctrl-C leaves it running.

    Exit status: 0 started, with --wait or --watch completed; 1 failed or cancelled, or the server failed; 2 refused.
    """
    from noetl.cli.inputs import payload_of
    from noetl.engine.client import ExecuteRequest

    wanted = ExecuteRequest(path=path, version=version, payload=payload_of(payload, assignments), merge=merge, idempotency_key=key)
    accepted = ask(server, lambda client: client.execute(wanted))
    if not as_json or wait or watch:
        click.echo(f"execution {accepted.execution_id} {accepted.path}", err=as_json)
    if wait or watch:
        report = _until_end(server, accepted.execution_id, (lambda line: click.echo(line, err=as_json)) if watch else None)
        _show(report, as_json=as_json)
        raise SystemExit(0 if report.status == "completed" else 1)
    if as_json:
        print_json(accepted)


def _until_end(server: Server, execution_id: str, show: Callable[[str], Any] | None) -> ExecutionReport:
    from noetl.cli.problems import say
    from noetl.client import Retries
    from noetl.errors import NoetlError

    client = client_of(server, Retries(attempts=_PATIENCE))
    try:
        return _watched(client, execution_id, show) if show is not None else client.ended(execution_id)
    except NoetlError as error:
        say(f"it may go on all the same: noetl executions show {execution_id} tells")
        give_up(error)


def _watched(client: SyncClient, execution_id: str, show: Callable[[str], Any]) -> ExecutionReport:
    for event in client.watch(execution_id):
        show(event_line(event))
    return client.execution(execution_id)


def _show(report: ExecutionReport, *, as_json: bool) -> None:
    from noetl.cli.ending import show_end

    if as_json:
        print_json(report)
    else:
        show_end(report.status, report.error, report.result)
