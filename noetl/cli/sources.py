"""Where `noetl executions` looks: into the local store, or at a server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Protocol

import click
import msgspec
from msgspec import Struct

from noetl.cli.servers import Server, ask, is_named
from noetl.cli.stores import in_store, or_fail, row_of

if TYPE_CHECKING:
    from noetl.client import SyncClient
    from noetl.engine.client import EventView, ExecutionFilter, ExecutionReport, ExecutionView
    from noetl.engine.recovery import Folded
    from noetl.ids import ExecutionId
    from noetl.store.lease import Owner
    from noetl.store.log import ExecutionRow
    from noetl.store.store import Store

OPEN: Final = ("pending", "running", "waiting")
_PAGE: Final = 1000
_CANCEL_S: Final = 15.0


class Listed(Struct, frozen=True):
    """`is_orphan`: its process is gone, which only the machine of the store can tell."""

    view: ExecutionView
    is_orphan: bool = False


class Shown(Struct, frozen=True):
    """`process`: what runs it, or how to go on when that is gone; None where that is not known."""

    report: ExecutionReport
    process: str | None = None


class Source(Protocol):
    """What can't be done ends this process, with the reason."""

    def executions(self, wanted: ExecutionFilter, limit: int) -> list[Listed]: ...

    def execution(self, execution_id: ExecutionId) -> Shown: ...

    def events(self, execution_id: ExecutionId) -> Sequence[EventView]: ...

    def cancel(self, execution_id: ExecutionId, reason: str) -> str:
        """The status afterwards; `cancelling` when its owner is still at it."""
        ...


def source_of(store: str | None, server: Server) -> Source:
    """The server when one is named, by options or the environment; the local store when that is named, or nothing is."""
    if store is not None and server.is_asked_for:
        raise click.UsageError("name a store or a server, not both")
    if store is None and is_named(server):
        return RemoteSource(server)
    return LocalSource(store)


class RemoteSource:
    def __init__(self, server: Server) -> None:
        self._server = server

    def executions(self, wanted: ExecutionFilter, limit: int) -> list[Listed]:
        return [Listed(view) for view in ask(self._server, lambda client: _pages(client, wanted, limit))]

    def execution(self, execution_id: ExecutionId) -> Shown:
        return Shown(ask(self._server, lambda client: client.execution(str(execution_id))))

    def events(self, execution_id: ExecutionId) -> Sequence[EventView]:
        return ask(self._server, lambda client: _all_events(client, str(execution_id)))

    def cancel(self, execution_id: ExecutionId, reason: str) -> str:
        def cancelled(client: SyncClient) -> str:
            client.cancel(str(execution_id), reason)
            status = client.ended(str(execution_id), _CANCEL_S).status
            return "cancelling" if status in OPEN else status

        return ask(self._server, cancelled)


def _pages(client: SyncClient, wanted: ExecutionFilter, limit: int) -> list[ExecutionView]:
    found: list[ExecutionView] = []
    after: str | None = None
    while True:
        page = client.executions(msgspec.structs.replace(wanted, limit=min(limit - len(found), _PAGE), after=after))
        found += page.entries
        after = page.next
        if after is None or len(found) >= limit:
            return found


def _all_events(client: SyncClient, execution_id: str) -> list[EventView]:
    found: list[EventView] = []
    after: int | None = 0
    while after is not None:
        page = client.events(execution_id, after=after)
        found += page.entries
        after = page.next
    return found


class LocalSource:
    def __init__(self, store: str | None) -> None:
        self._store = store

    def executions(self, wanted: ExecutionFilter, limit: int) -> list[Listed]:
        from noetl.engine.views import execution_view
        from noetl.store.projection import ExecutionQuery

        name, is_pair, value = (wanted.label or "").partition("=")
        label = (name, value if is_pair else None) if name else None
        query = ExecutionQuery(limit=limit, status=wanted.status, path=wanted.path, label=label)

        async def work(opened: Store) -> list[Listed]:
            rows = await opened.executions.list_executions(query)
            return [Listed(execution_view(row), row.status in OPEN and await _live_owner(opened, row) is None) for row in rows]

        return in_store(self._store, work, missing=[])

    def execution(self, execution_id: ExecutionId) -> Shown:
        async def work(opened: Store) -> Shown:
            from noetl.engine.recovery import folded

            found = await folded(opened, execution_id)
            return Shown(await _report(opened, found), await _process(opened, found.row))

        return in_store(self._store, work)

    def events(self, execution_id: ExecutionId) -> Sequence[EventView]:
        from noetl.engine.eventlist import event_list

        async def work(opened: Store) -> list[EventView]:
            from noetl.store.log import check_chain

            await row_of(opened, execution_id)
            rows = await opened.log.read(execution_id)
            check_chain(rows)
            return list(event_list(rows))

        return in_store(self._store, work)

    def cancel(self, execution_id: ExecutionId, reason: str) -> str:
        from noetl.cli.cancelling import cancel_execution

        return or_fail(lambda: cancel_execution(execution_id, reason, self._store))


async def _live_owner(store: Store, row: ExecutionRow) -> Owner | None:
    """The process that runs the execution, if there is one."""
    from noetl.node.incarnation import is_alive

    owner = await store.shards.owner_of(row.id) if row.status in OPEN else None
    return owner if owner is not None and is_alive(owner) else None


async def _process(store: Store, row: ExecutionRow) -> str | None:
    if row.status not in OPEN:
        return None
    owner = await _live_owner(store, row)
    return f"gone: noetl run --resume {row.root_id}" if owner is None else str(owner)


async def _report(store: Store, found: Folded) -> ExecutionReport:
    from noetl.engine.cache import ValueCache
    from noetl.engine.report import report_of, shown_result
    from noetl.engine.views import report_view
    from noetl.settings import ValueLimits
    from noetl.store.artifacts.disk import DiskArtifacts
    from noetl.vault.keyring import GivenKeys
    from noetl.vault.secrets import Secrets

    async def inline(function: object, *args: object) -> object:
        return function(*args)  # type: ignore[operator]

    cache, secrets, limit = ValueCache(DiskArtifacts(store.artifacts_dir, inline), store.log), Secrets(GivenKeys(b"")), ValueLimits().inline_max_bytes
    report = await report_of(found.state, cache, secrets, limit)
    result = await shown_result(found.state, cache, secrets, limit)
    return report_view(found, report, result, await store.executions.family(found.row.root_id))
