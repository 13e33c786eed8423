"""`noetl run`: a playbook from YAML to result, in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from noetl.cli.ending import Ending
    from noetl.ids import ExecutionId


@click.command()
@click.argument("playbook", required=False, metavar="FILE|PATH")
@click.option("--payload", metavar="JSON|@FILE", help="Values that are laid over the playbook's workload.")
@click.option("--set", "assignments", multiple=True, metavar="A.B=V", help="One value of the payload; V is JSON, else text. Repeatable.")
@click.option("--resume", metavar="ID", help="Go on with an execution whose process has died, or retry the failed steps of one that failed.")
@click.option("--json", "as_json", is_flag=True, help="Print exactly one JSON object: the report of the run.")
@click.option("--store", metavar="PATH|memory", help="Where the run is kept. Default: noetl.db in NOETL_HOME (./.noetl).")
@click.option("--quiet", "-q", is_flag=True, help="No progress, no output of the author's code.")
@click.option("--verbose", "-v", is_flag=True, help="Also say what the check warns of, and what the runtime restarts.")
def run(
    playbook: str | None,
    payload: str | None,
    assignments: tuple[str, ...],
    resume: str | None,
    as_json: bool,
    store: str | None,
    quiet: bool,
    verbose: bool,
) -> None:
    """Run a playbook in this process: durable, supervised, with nothing to install.

    FILE|PATH is a YAML file, or a catalog path below the working directory or NOETL_PLAYBOOK_PATH. Ctrl-C cancels the run, twice kills it.
    Exit status: 0 completed, 1 failed or cancelled, 2 rejected or bad usage.
    """
    from noetl.cli.ending import Rejected
    from noetl.cli.session import Wanted, ending_of
    from noetl.node.boot import run_on_loop

    ending: Ending
    try:
        wanted = Wanted(playbook, _payload(payload, assignments, resume), _resumed(playbook, resume), store, as_json, quiet, verbose)
    except click.UsageError as error:
        if not as_json:
            raise
        ending = Rejected(message=error.message)
    else:
        ending = run_on_loop(lambda: ending_of(wanted))
    raise SystemExit(_shown(ending, as_json=as_json, quiet=quiet, store=store))


def _payload(text: str | None, assignments: tuple[str, ...], resume: str | None) -> dict[str, Any]:
    from noetl.cli.inputs import payload_of

    if resume is not None and (text is not None or assignments):
        raise click.UsageError("a resumed execution has its payload already: leave --payload and --set out")
    return payload_of(text, assignments)


def _resumed(playbook: str | None, resume: str | None) -> ExecutionId | None:
    from noetl.ids import parse_execution_id

    if (playbook is None) == (resume is None):
        raise click.UsageError("name a playbook, or an execution to --resume (not both)")
    if resume is None:
        return None
    found = parse_execution_id(resume)
    if found is None:
        raise click.UsageError(f"--resume {resume}: an execution id is a number; `noetl executions list` shows them")
    return found


def _shown(ending: Ending, *, as_json: bool, quiet: bool, store: str | None) -> int:
    """Print how it ended; the exit status. That of a run which nobody reads to its end is its own."""
    from noetl.cli.ending import FAILED, show, status_of
    from noetl.cli.problems import lost_output

    try:
        show(ending, as_json=as_json, quiet=quiet, store=store)
    except OSError as error:
        lost_output(error)
        return status_of(ending) if isinstance(error, BrokenPipeError) else FAILED
    return status_of(ending)
