"""One call of `noetl run`, from the playbook to the end of the node."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from msgspec import Struct

from noetl.cli.ending import Broken, Ended, Ending, Rejected, hint
from noetl.cli.interrupts import Interrupts
from noetl.cli.problems import say, show_problems
from noetl.cli.stores import find_store
from noetl.engine.library import Found, check_requirements, compile_text, find_file, read_playbook
from noetl.errors import CallError, Fenced, Invalid, LogCorrupt, NoetlError, NotAllowed, NotFound, Owned, PlaybookError, SettingsError
from noetl.ids import ExecutionId
from noetl.node.boot import Node, known_left, running_node
from noetl.node.incarnation import is_alive
from noetl.node.place import home_dir
from noetl.node.profile import load_profile, load_settings
from noetl.settings import Settings

if TYPE_CHECKING:
    from noetl.cli.live import Feed, Screen
    from noetl.engine.state import State


class Wanted(Struct, frozen=True):
    """What the command line says. One of `playbook` and `resume` is there."""

    playbook: str | None
    payload: dict[str, Any]
    resume: ExecutionId | None
    store: str | None
    as_json: bool
    quiet: bool
    verbose: bool


async def ending_of(wanted: Wanted) -> Ending:
    """Run it, and tell apart how that can end."""
    session = _Session(wanted)
    with Interrupts(session.leave) as interrupts:
        try:
            return await session.run(os.environ, interrupts)
        except Invalid as error:
            return Rejected(error.problems)
        except (SettingsError, PlaybookError, NotAllowed, NotFound, Owned) as error:
            return Rejected(message=str(error))
        except Fenced:
            return Broken("another process has taken the execution over", execution_id=session.execution_id, is_resumable=False)
        except LogCorrupt as error:
            return Broken(f"execution {wanted.resume} is quarantined: {error}", execution_id=str(wanted.resume), is_resumable=False)
        except CallError as error:
            return Broken(str(error), kind="internal", execution_id=session.execution_id)
        except NoetlError as error:
            return Broken(str(error), execution_id=session.execution_id)


class _Session:
    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._screen: Screen | None = None
        self._node: Node | None = None
        self.execution_id: str | None = None
        """Once it is in the store."""

    async def run(self, environment: Mapping[str, str], interrupts: Interrupts) -> Ending:
        settings, warnings = load_settings(environment)
        for warning in warnings:
            say(f"warning: {warning}")
        found = self._found(settings)
        kinds = found.program.kinds if found is not None else ()
        store, home = self._wanted.store, home_dir(environment)
        title = found.path if found is not None else f"--resume {self._wanted.resume}"
        solo = load_profile("solo")
        async with running_node(solo, settings, home=home, store=store, environment=environment, kinds=kinds, title=title) as node:
            self._node = node
            for warning in node.warnings:
                say(f"warning: {warning}")
            if interrupts.cancel:
                return Broken("interrupted before it began", kind="cancelled", status="cancelled")
            return await self._in(node, found, interrupts)

    def _found(self, settings: Settings) -> Found | None:
        """The playbook, checked before anything is written; None when an execution is resumed."""
        wanted = self._wanted
        if wanted.playbook is None:
            find_store(wanted.store)
            return None
        roots = tuple(Path(root) for root in settings.playbook_path)
        file = find_file(wanted.playbook, roots)
        if file is None:
            raise NotFound(f"there is no playbook '{wanted.playbook}' (looked in {', '.join(map(str, (Path.cwd(), *roots)))})")
        found = compile_text(read_playbook(file), file)
        check_requirements(found.program.playbook)
        if wanted.verbose:
            show_problems((), found.warnings)
        return found

    async def _in(self, node: Node, found: Found | None, interrupts: Interrupts) -> Ended:
        from noetl.cli.live import Feed

        screen = self._screen = _screen(self._wanted)
        with screen, Feed(node.probe, screen, node.parts.secrets.scrub, verbose=self._wanted.verbose) as feed:
            execution_id = await self._begin(node, found, feed)
            state = await _until_end(node, execution_id, interrupts)
        return Ended(await node.client.report(state), await node.client.result(state))

    async def _begin(self, node: Node, found: Found | None, feed: Feed) -> ExecutionId:
        """Start or take up. The id is the first thing that is printed, as soon as the execution can't be lost any more."""
        wanted = self._wanted
        execution_id = wanted.resume or node.client.new_id()

        def begun(path: str) -> None:
            self.execution_id = str(execution_id)
            click.echo(f"execution {execution_id} {path}", err=wanted.as_json)

        feed.watch(execution_id, begun)
        if found is None:
            await known_left(node).take_up(execution_id, is_alive)
        else:
            assert found.file is not None
            kept = await node.client.load(found.file)
            await node.client.start(kept, wanted.payload, by="noetl run", execution_id=execution_id)
        return execution_id

    def leave(self) -> None:
        """This process is about to end at once."""
        if self._screen is not None:
            self._screen.__exit__(None, None, None)
        hint("go on with it", self.execution_id, self._wanted.store)
        if self._node is None:
            return
        self._node.socket.unlink(missing_ok=True)
        if not self._node.parts.keeps_files:
            shutil.rmtree(self._node.parts.directory, ignore_errors=True)


async def _until_end(node: Node, execution_id: ExecutionId, interrupts: Interrupts) -> State:
    async def cancel_when_wanted() -> None:
        await interrupts.wait()
        await node.client.cancel(execution_id, "interrupted by the user")

    try:
        async with asyncio.TaskGroup() as tasks:
            cancelling = tasks.create_task(cancel_when_wanted())
            state = await node.client.ended(execution_id)
            cancelling.cancel()
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return state


def _screen(wanted: Wanted) -> Screen:
    from noetl.cli.live import Moving, Plain  # imports the engine: not before the node has begun to start

    if wanted.quiet:
        return Plain(steps=False, others=False)
    if wanted.as_json:
        return Plain(steps=False, others=True)
    if sys.stdout.isatty() and sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        return Moving()
    return Plain(steps=True, others=True)
