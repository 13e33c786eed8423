"""`noetl run`: a playbook from YAML to result, in this process."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from noetl.cli.live import Screen
    from noetl.engine.library import Found, Invalid
    from noetl.engine.report import Report
    from noetl.ids import ExecutionId
    from noetl.node.boot import Node

_INTERRUPTED = 130
_LINES = 40
_WIDTH = 200


@click.command()
@click.argument("playbook", required=False, metavar="FILE|PATH")
@click.option("--payload", metavar="JSON|@FILE", help="Values that are laid over the playbook's workload.")
@click.option("--set", "assignments", multiple=True, metavar="A.B=V", help="One value of the payload; V is JSON, else text. Repeatable.")
@click.option("--resume", metavar="ID", help="Go on with an execution whose process has died, or retry the failed steps of one that failed.")
@click.option("--json", "as_json", is_flag=True, help="Print exactly one JSON object: the report of the run.")
@click.option("--store", metavar="PATH|memory", help="Where the run is kept. Default: noetl.db in NOETL_HOME (./.noetl).")
@click.option("--quiet", "-q", is_flag=True, help="No progress, no output of the author's code.")
@click.option("--verbose", "-v", is_flag=True, help="Also say what the runtime does: restarts, warnings of the check.")
def run(  # noqa: PLR0917  options
    playbook: str | None,
    payload: str | None,
    assignments: tuple[str, ...],
    resume: str | None,
    as_json: bool,  # noqa: FBT001
    store: str | None,
    quiet: bool,  # noqa: FBT001
    verbose: bool,  # noqa: FBT001
) -> None:
    """Run a playbook in this process: durable, supervised, with nothing to install.

    FILE|PATH is a YAML file, or a catalog path below the working directory or NOETL_PLAYBOOK_PATH. Ctrl-C cancels the run, twice kills it.
    Exit status: 0 completed, 1 failed or cancelled, 2 rejected or bad usage.
    """
    from noetl.cli.inputs import payload_of
    from noetl.node.boot import run_on_loop

    given = payload_of(payload, assignments)
    if (playbook is None) == (resume is None):
        raise click.UsageError("name a playbook, or an execution to --resume (not both)")
    if resume is not None and (payload is not None or assignments):
        raise click.UsageError("a resumed execution has its payload already")
    command = _Command(playbook, given, resume, as_json, store, quiet, verbose)
    raise SystemExit(run_on_loop(command.run))


class _Command:
    """One call of `noetl run`."""

    def __init__(  # noqa: PLR0917  as the options
        self,
        playbook: str | None,
        payload: dict[str, Any],
        resume: str | None,
        as_json: bool,  # noqa: FBT001
        store: str | None,
        quiet: bool,  # noqa: FBT001
        verbose: bool,  # noqa: FBT001
    ) -> None:
        self._playbook = playbook
        self._payload = payload
        self._resume = resume
        self._as_json = as_json
        self._store = store
        self._quiet = quiet
        self._verbose = verbose
        self._interrupts = 0

    async def run(self) -> int:
        """The exit status."""
        from noetl.cli.problems import say
        from noetl.engine.library import Invalid, compile_text, find_file, read_playbook
        from noetl.errors import CallError, NoetlError, PlaybookError, SettingsError
        from noetl.node.boot import running_node
        from noetl.node.profile import home_dir, load_profile, load_settings

        try:
            settings, warnings = load_settings(os.environ)
            for warning in warnings:
                say(f"warning: {warning}")
            if self._playbook is not None:  # nothing is written for a playbook that is not valid
                roots = tuple(Path(root) for root in settings.playbook_path)
                file = find_file(self._playbook, roots)
                if file is not None:
                    compile_text(read_playbook(file), file)
            async with running_node(
                load_profile("solo"), settings, home=home_dir(os.environ), store=self._store, environment=os.environ
            ) as node:
                return await self._in(node)
        except Invalid as error:
            return self._rejected(error)
        except (SettingsError, PlaybookError) as error:
            return self._refused(str(error), 2)
        except (NoetlError, CallError) as error:
            return self._refused(str(error), _code_of(error))

    async def _in(self, node: Node) -> int:
        from noetl.cli.live import Feed

        screen = self._screen()
        feed = Feed(screen)
        unsubscribe = node.probe.subscribe(feed.hear)
        try:
            with screen:
                execution_id = await self._begin(node, feed)
                with _Signals(self, node, execution_id):
                    state = await node.client.ended(execution_id)
            report = await node.client.report(state)
            return self._show(report, await node.client.result(state))
        finally:
            unsubscribe()

    async def _begin(self, node: Node, feed: Any) -> ExecutionId:
        """Start or take up; the id is the first thing that is printed."""
        from noetl.ids import parse_execution_id
        from noetl.node.incarnation import is_alive

        if self._resume is not None:
            wanted = parse_execution_id(self._resume)
            if wanted is None:
                raise click.UsageError(f"--resume {self._resume}: an execution id is a number; `noetl executions list` shows them")
            feed.execution_id = wanted
            path = await node.client.take_up(wanted, is_alive)
            self._print_id(wanted, path)
            return wanted
        assert self._playbook is not None
        found = await node.client.find(self._playbook)
        self._warn(found)
        feed.execution_id = execution_id = node.client.new_id()
        self._print_id(execution_id, found.path)
        await node.client.start(found, self._payload, by="noetl run", execution_id=execution_id)
        return execution_id

    def _print_id(self, execution_id: ExecutionId, path: str) -> None:
        click.echo(f"execution {execution_id} {path}", err=self._as_json)

    def _warn(self, found: Found) -> None:
        from noetl.cli.problems import show_problems

        if self._verbose:
            show_problems((), found.warnings)

    def _screen(self) -> Screen:
        from noetl.cli.live import Moving, Plain

        if self._as_json or self._quiet:
            return Plain(steps=False, output=not self._quiet)
        if sys.stdout.isatty() and sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
            return Moving()
        return Plain(steps=True, output=True, verbose=self._verbose)

    # -- the end -------------------------------------------------------------------------------------------------------

    def _show(self, report: Report, result: Any) -> int:
        from noetl.cli.problems import say
        from noetl.engine.report import to_json

        if self._as_json:
            click.echo(to_json(report))
        elif not self._quiet or report.status != "completed":
            click.echo(f"{report.status}{_because(report.error)}")
            if report.status == "completed" and result not in (None, {}, []):
                click.echo(f"\n{_readable(result)}")
            if report.status == "failed":
                say(f"retry the failed steps: noetl run --resume {report.execution_id}{self._store_option()}")
        return 0 if report.status == "completed" else 1

    def _store_option(self) -> str:
        return "" if self._store is None else f" --store {self._store}"

    def _rejected(self, error: Invalid) -> int:
        import msgspec

        from noetl.cli.problems import as_data, show_problems

        if self._as_json:
            problems = [as_data(problem) for problem in error.problems]
            document: dict[str, Any] = {"execution_id": None, "status": "rejected", "error": None, "errors": problems, "steps": {}}
            click.echo(msgspec.json.encode(document))
        else:
            show_problems(error.problems)
            click.echo(f"rejected: {len(error.problems)} error{'s' if len(error.problems) > 1 else ''}", err=True)
        return 2

    def _refused(self, message: str, code: int) -> int:
        """The run could not begin, or this process can't go on with it."""
        import msgspec

        from noetl.cli.problems import say

        if self._as_json:
            status = "rejected" if code == 2 else "failed"
            problem = {"message": message}
            document: dict[str, Any] = {"execution_id": None, "status": status, "error": None if code == 2 else problem, "errors": [problem], "steps": {}}
            click.echo(msgspec.json.encode(document))
        say(f"error: {message}")
        return code

    # -- signals -------------------------------------------------------------------------------------------------------

    def interrupted(self, node: Node, execution_id: ExecutionId) -> None:
        """Ctrl-C: cancel; again: kill."""
        from noetl.cli.problems import say

        self._interrupts += 1
        if self._interrupts > 1:
            os._exit(_INTERRUPTED)  # the processes of the author's code end with this one
        say("cancelling (Ctrl-C again kills)")
        self._cancelling = asyncio.ensure_future(node.client.cancel(execution_id, "interrupted by the user"))

    def terminated(self) -> None:
        """SIGTERM: leave the run as it is, so that it can be resumed."""
        os._exit(128 + signal.SIGTERM)


class _Signals:
    """Ctrl-C and SIGTERM while a run goes on."""

    def __init__(self, command: _Command, node: Node, execution_id: ExecutionId) -> None:
        self._command = command
        self._node = node
        self._execution_id = execution_id

    def __enter__(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, self._command.interrupted, self._node, self._execution_id)
        loop.add_signal_handler(signal.SIGTERM, self._command.terminated)

    def __exit__(self, *_: object) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_signal_handler(signal.SIGINT)
        loop.remove_signal_handler(signal.SIGTERM)


def _because(error: Any) -> str:
    if not isinstance(error, dict):
        return ""
    place = f" at step '{error['step']}'" if error.get("step") else ""
    return f"{place}: {error.get('message', '')}"


def _readable(result: Any) -> str:
    """A text as it is; anything else as JSON, cut where it would fill the screen."""
    import msgspec

    if isinstance(result, str):
        return result.rstrip("\n")
    lines = msgspec.json.format(msgspec.json.encode(result, enc_hook=str), indent=2).decode().splitlines()
    shown = [line if len(line) <= _WIDTH else line[: _WIDTH - 1] + "…" for line in lines[:_LINES]]
    return "\n".join(shown if len(lines) <= _LINES else [*shown, f"… ({len(lines) - _LINES} more lines; --json shows all)"])


def _code_of(error: Exception) -> int:
    """What was asked for can't be (2), or it failed on the way (1)."""
    from noetl.errors import NotAllowed, NotFound, Owned

    return 2 if isinstance(error, (NotAllowed, NotFound, Owned)) else 1
