"""What a node does for its clients: the in-process form of `noetl.engine.client.Client`."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import msgspec

from noetl.dsl.template import compile_raw
from noetl.engine.client import (
    Accepted,
    Cancelled,
    EventList,
    EventView,
    ExecuteRequest,
    ExecutionContext,
    ExecutionFilter,
    ExecutionList,
    ExecutionReport,
    PlaybookContent,
    PlaybookList,
    Registered,
    Registration,
    Rendered,
    RenderRequest,
    SchemaEntry,
    SchemaList,
    SchemaRequest,
)
from noetl.engine.contract import check_payload, check_schema, schema_hash
from noetl.engine.effects import ENDED
from noetl.engine.engine import Engine
from noetl.engine.eventlist import event_views, shown
from noetl.engine.feed import Feed
from noetl.engine.local import LocalClient
from noetl.engine.recovery import folded
from noetl.engine.registration import check
from noetl.engine.scope import Scope
from noetl.engine.views import execution_view, playbook_entry, problem_view, report_view, schema_entry
from noetl.errors import BadRequest, NotAllowed, NotFound
from noetl.ids import ExecutionId, parse_execution_id
from noetl.store.access import Request
from noetl.store.catalog import SchemaVersion
from noetl.store.log import ExecutionRow
from noetl.store.projection import ExecutionQuery

_REPORTS: Final = 256


class Conflict(NotAllowed):
    """An idempotency key was used before, for something else."""


class OutOfDomain(NotAllowed):
    """The caller may not put anything there."""

    def __init__(self, message: str, path: str) -> None:
        super().__init__(message)
        self.path = path


class _Reports:
    """Those of executions that have ended: they change only with their row."""

    def __init__(self) -> None:
        self._kept: OrderedDict[int, tuple[ExecutionRow, int, ExecutionReport]] = OrderedDict()

    def get(self, row: ExecutionRow, secrets: int) -> ExecutionReport | None:
        kept = self._kept.get(row.id)
        return kept[2] if kept is not None and kept[:2] == (row, secrets) else None

    def keep(self, row: ExecutionRow, secrets: int, report: ExecutionReport) -> None:
        if row.status in ENDED and report.status == row.status:
            self._kept[row.id] = row, secrets, report
            if len(self._kept) > _REPORTS:
                self._kept.popitem(last=False)


class Service:
    """`by` is who asks; `domains` are those that he may see, None for all. What is not in them is not there for him."""

    def __init__(
        self,
        engine: Engine,
        local: LocalClient,
        feed: Feed,
        *,
        by: str = "",
        domains: tuple[str, ...] | None = None,
        reports: _Reports | None = None,
    ) -> None:
        self._engine = engine
        self._local = local
        self._feed = feed
        self._by = by
        self._domains = domains
        self._reports = reports or _Reports()

    def close(self) -> None:
        """Those who watch are not woken any more."""
        self._feed.close()

    def on_behalf_of(self, by: str, domains: tuple[str, ...] | None) -> Service:
        return Service(self._engine, self._local, self._feed, by=by, domains=domains, reports=self._reports)

    # -- the catalog ---------------------------------------------------------------------------------------------------

    async def register(self, wanted: Registration) -> Registered:
        checked = await self._engine.resources.run_blocking(lambda: check(wanted, by=self._by, at=self._engine.clock.now()))
        if not self._sees(checked.version.path):
            raise OutOfDomain(f"'{checked.version.path}' is not in the caller's domains", checked.version.path)
        version, is_new = await self._engine.store.catalog.register(checked.version, checked.entry)
        return Registered(
            path=version.path, version=version.version, hash=version.hash, new=is_new, warnings=tuple(map(problem_view, checked.warnings))
        )

    async def playbooks(self, *, limit: int = 100, after: str | None = None) -> PlaybookList:
        rows = await self._engine.store.catalog.playbooks(after=after or "", limit=limit + 1)
        page = rows[:limit]
        entries = tuple(playbook_entry(row) for row in page if self._sees(row.path))
        return PlaybookList(entries=entries, next=page[-1].path if len(rows) > limit else None)

    async def versions(self, path: str) -> PlaybookList:
        found = await self._engine.store.catalog.versions(path) if self._sees(path) else []
        if not found:
            raise NotFound(f"there is no playbook '{path}' in the catalog")
        return PlaybookList(entries=tuple(map(playbook_entry, found)))

    async def playbook(self, path: str, version: int | None = None) -> PlaybookContent:
        found = await self._engine.store.catalog.playbook(path, version) if self._sees(path) else None
        if found is None:
            raise NotFound(f"there is no playbook '{path}'{'' if version is None else f' in version {version}'} in the catalog")
        return PlaybookContent(**msgspec.structs.asdict(playbook_entry(found)), content=found.source, files=found.files)

    async def put_schema(self, wanted: SchemaRequest) -> SchemaEntry:
        name = wanted.name.strip("/")
        if not self._sees(name):
            raise OutOfDomain(f"'{name}' is not in the caller's domains", name)
        check_schema(wanted.schema)
        made = SchemaVersion(
            name=name,
            version=0,
            hash=schema_hash(wanted.schema),
            schema=wanted.schema,
            registered_at=self._engine.clock.now(),
            registered_by=self._by,
        )
        kept, is_new = await self._engine.store.schemas.register(made)
        return schema_entry(kept, new=is_new)

    async def schemas(self, *, limit: int = 100, after: str | None = None) -> SchemaList:
        rows = await self._engine.store.schemas.schemas(after=after or "", limit=limit + 1)
        page = rows[:limit]
        entries = tuple(schema_entry(row) for row in page if self._sees(row.name))
        return SchemaList(entries=entries, next=page[-1].name if len(rows) > limit else None)

    async def schema(self, name: str, version: int | None = None) -> SchemaEntry:
        return schema_entry(await self._schema(name.strip("/"), version))

    async def _schema(self, name: str, version: int | None = None) -> SchemaVersion:
        found = await self._engine.store.schemas.schema(name, version) if self._sees(name) else None
        if found is None:
            raise NotFound(f"there is no schema '{name}'{'' if version is None else f' in version {version}'} in the catalog")
        return found

    # -- executions ----------------------------------------------------------------------------------------------------

    async def execute(self, wanted: ExecuteRequest) -> Accepted:
        engine = self._engine
        if not self._sees(wanted.path):
            raise NotFound(f"there is no playbook '{wanted.path}' in the catalog")
        found = await engine.library.registered(wanted.path.strip("/"), wanted.version)
        if (named := found.program.playbook.payload_schema) is not None:
            check_payload(wanted.payload, await self._schema(named))
        execution_id = await self._claimed(wanted)
        if wanted.idempotency_key is not None and (row := await engine.store.executions.execution(execution_id)) is not None:
            return Accepted(execution_id=str(row.id), status=row.status, path=row.path, version=row.version)
        labels = {**found.labels, **wanted.labels}
        await self._local.start(found, wanted.payload, merge=wanted.merge, by=self._by, execution_id=execution_id, labels=labels)
        return Accepted(execution_id=str(execution_id), status="pending", path=found.path, version=found.version)

    async def _claimed(self, wanted: ExecuteRequest) -> ExecutionId:
        """The id under which to start it: that of an earlier request with the same key."""
        execution_id = self._local.new_id()
        if wanted.idempotency_key is None:
            return execution_id
        digest = hashlib.sha256(msgspec.msgpack.encode(msgspec.structs.replace(wanted, idempotency_key=None), order="deterministic")).digest()
        request = Request(self._by, wanted.idempotency_key, digest, execution_id, self._engine.clock.now())
        kept = await self._engine.store.requests.claim(request)
        if kept.digest != digest:
            raise Conflict(f"the idempotency key '{wanted.idempotency_key}' was used for another request")
        return ExecutionId(kept.execution_id)

    async def executions(self, wanted: ExecutionFilter) -> ExecutionList:
        name, is_pair, value = (wanted.label or "").partition("=")
        query = ExecutionQuery(
            status=wanted.status,
            path=wanted.path,
            domains=self._domains,
            label=(name, value if is_pair else None) if name else None,
            since=wanted.since,
            until=wanted.until,
            before=None if wanted.after is None else execution_id_of(wanted.after),
            limit=wanted.limit + 1,
        )
        rows = await self._engine.store.executions.list_executions(query)
        page = rows[: wanted.limit]
        return ExecutionList(entries=tuple(map(execution_view, page)), next=str(page[-1].id) if len(rows) > wanted.limit else None)

    async def execution(self, execution_id: str) -> ExecutionReport:
        row = await self._row(execution_id)
        made = self._reports.get(row, self._engine.secrets.count)
        if made is None:
            found = await folded(self._engine.store, row.id)
            family = await self._engine.store.executions.family(row.root_id)
            made = report_view(found, await self._local.report(found.state), await self._local.result(found.state), family)
            self._reports.keep(row, self._engine.secrets.count, made)
        return made

    async def ended(self, execution_id: str, timeout_s: float | None = None) -> ExecutionReport:
        row = await self._row(execution_id)
        if row.status not in ENDED:
            try:
                async with asyncio.timeout(timeout_s):
                    await self._local.ended(ExecutionId(row.id))
            except TimeoutError:
                pass  # the report says how far it is
        return await self.execution(execution_id)

    async def cancel(self, execution_id: str, reason: str = "") -> Cancelled:
        row = await self._row(execution_id)
        if row.status in ENDED:
            raise NotAllowed(f"execution {row.id} is {row.status} already")
        await self._local.cancel(ExecutionId(row.id), reason)
        return Cancelled(execution_id=str(row.id), status=row.status)

    async def context(self, execution_id: str) -> ExecutionContext:
        row = await self._row(execution_id)
        state = (await folded(self._engine.store, row.id)).state
        hide: Callable[[Any], Any] = self._engine.secrets.hide
        return ExecutionContext(
            execution_id=str(row.id), workload=hide(shown(state.workload)), ctx=hide(shown(state.ctx)), steps=hide(shown(state.results))
        )

    async def events(self, execution_id: str, *, after: int = 0, limit: int = 1000) -> EventList:
        row = await self._row(execution_id)
        entries: list[EventView] = []
        loops: set[int] = set()
        for stored in await self._engine.store.log.read(row.id):
            entries += [view for view in event_views(stored, loops) if view.seq > after]
            if len(entries) > limit:
                break
        page = [msgspec.structs.replace(view, data=self._engine.secrets.hide(view.data)) for view in entries[:limit]]
        return EventList(execution_id=str(row.id), entries=tuple(page), next=page[-1].seq if len(entries) > limit else None)

    async def watch(self, execution_id: str, *, after: int = 0) -> AsyncIterator[EventView]:
        async for view in self.ticking(execution_id, after=after):
            if view is not None:
                yield view

    async def ticking(self, execution_id: str, *, after: int = 0) -> AsyncIterator[EventView | None]:
        """As `watch`, with None now and then while nothing happens."""
        row = await self._row(execution_id)
        async for view in self._feed.ticking(row.id, after=after, is_ours=self._local.owns(row)):
            yield view

    async def render(self, wanted: RenderRequest) -> Rendered:
        engine = self._engine
        row = await self._row(wanted.execution_id)
        found = await folded(engine.store, row.id)
        program = await engine.library.program(row.net)
        template = compile_raw(wanted.template)
        with engine.cache.hold() as hold:
            scope = Scope(program, found.state, hold.load, engine.clock.now())
            value = await hold.run(lambda: template.render(scope, hold.load))
            return Rendered(rendered=engine.secrets.hide(shown(await hold.plain(value, "left"))))

    # -- within --------------------------------------------------------------------------------------------------------

    def _sees(self, path: str) -> bool:
        return self._domains is None or path.strip("/").partition("/")[0] in self._domains

    async def _row(self, execution_id: str) -> ExecutionRow:
        """Raises `NotFound`, also for what the caller may not see."""
        row = await self._engine.store.executions.execution(execution_id_of(execution_id))
        if row is None or not self._sees(row.path):
            raise NotFound(f"there is no execution {execution_id}")
        return row


def execution_id_of(text: str) -> ExecutionId:
    """Raises `BadRequest`."""
    found = parse_execution_id(text)
    if found is None:
        raise BadRequest(f"'{text[:40]}' is no execution id: it is a number")
    return found
