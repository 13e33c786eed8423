"""Rows of executions, and their inboxes, in PostgreSQL."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from typing import Any, Final

from noetl.errors import NotFound
from noetl.store.log import ExecutionRow, InboxRow
from noetl.store.logs.postgres_database import Database
from noetl.store.logs.postgres_schema import LONG_S, SCHEMA
from noetl.store.logs.postgres_writer import row_values, text
from noetl.store.projection import ALL, ExecutionQuery, Waiting

COLUMNS: Final = (
    "id, root_id, parent_id, path, net, shard, status, requested_at, started_at, ended_at, wake_at, error, version, labels, requested_by, origin"
)
_NAMES: Final = tuple(COLUMNS.split(", "))
_REQUEST: Final = (
    f"with made as (insert into executions ({COLUMNS})"  # noqa: S608  constants
    " values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14::text::jsonb, $15, $16) on conflict do nothing returning id)"
    " insert into inbox (execution_id, kind, body) select id, $17, $18 from made"
)
_PUT: Final = "insert into inbox (execution_id, kind, body) select id, $2, $3 from executions where id = $1 returning id"
_QUARANTINE: Final = "update executions set status = 'failed', wake_at = null, ended_at = coalesce(ended_at, now()), error = $2 where id = $1"
_WAITING: Final = (
    "select shard, executions.id from inbox join executions on executions.id = execution_id where shard = any($1) and ended_at is null"
    " group by shard, executions.id order by min(inbox.id) limit 1000"
)
_ENDED_FAMILIES: Final = (
    "select id from executions where root_id in (select root_id from executions group by root_id"
    " having count(*) = count(ended_at) and max(ended_at) < $1)"
)
_PARTITIONS: Final = (
    "select relname from pg_inherits join pg_class on pg_class.oid = inhrelid"  # noqa: S608  constants
    f" where inhparent = '{SCHEMA}.events'::regclass and relname < $1 and relname <> 'events_other'"
)


class PostgresExecutions:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def execution(self, execution_id: int) -> ExecutionRow | None:
        row = await self._database.row(f"select {COLUMNS} from executions where id = $1", execution_id)  # noqa: S608  constants
        return None if row is None else _execution(row)

    async def list_executions(self, query: ExecutionQuery = ALL) -> list[ExecutionRow]:
        conditions, values = ["parent_id is null"], []
        for condition, value in _conditions(query):
            values.append(value)
            conditions.append(condition.format(f"${len(values)}"))
        values.append(query.limit)
        where = " and ".join(conditions)
        rows = await self._database.fetch(
            f"select {COLUMNS} from executions where {where} order by id desc limit ${len(values)}",  # noqa: S608  constants
            *values,
        )
        return [_execution(row) for row in rows]

    async def family(self, root_id: int) -> list[ExecutionRow]:
        rows = await self._database.fetch(f"select {COLUMNS} from executions where root_id = $1 order by id", root_id)  # noqa: S608  constants
        return [_execution(row) for row in rows]

    async def request(self, row: ExecutionRow, begin: InboxRow) -> None:
        await self._database.execute(_REQUEST, *row_values(row), begin.kind, begin.body)

    async def due(self, shards: Sequence[int], now: dt.datetime) -> list[Waiting]:
        rows = await self._database.fetch(
            "select shard, id from executions where shard = any($1) and wake_at <= $2 order by wake_at limit 1000", list(shards), now
        )
        return [Waiting(*row) for row in rows]

    async def left_in(self, shard: int) -> list[int]:
        rows = await self._database.fetch("select id from executions where shard = $1 and ended_at is null and wake_at is null order by id", shard)
        return [row["id"] for row in rows]

    async def quarantine(self, execution_id: int, reason: str, tell: InboxRow | None = None) -> None:
        async with self._database.transaction() as connection:
            await connection.execute(_QUARANTINE, execution_id, text(f"quarantined: {reason}"))
            if tell is not None:
                await connection.execute("insert into inbox (execution_id, kind, body) values ($1, $2, $3)", tell.execution_id, tell.kind, tell.body)

    async def prune(self, ended_before: dt.datetime) -> list[int]:
        async with self._database.transaction() as connection:
            ids = [row["id"] for row in await connection.fetch(_ENDED_FAMILIES, ended_before, timeout=LONG_S)]
            for table in ("events", "snapshots", "loop_items", "inbox"):
                await connection.execute(f"delete from {table} where execution_id = any($1)", ids, timeout=LONG_S)  # noqa: S608  the names above
            await connection.execute("delete from executions where id = any($1)", ids, timeout=LONG_S)
            await connection.execute(
                "delete from shards where not common and node is null and id not in (select shard from executions)", timeout=LONG_S
            )
            await connection.execute(
                "delete from catalog where hash not in (select net from executions union select net from playbooks)", timeout=LONG_S
            )
            await _drop_empty_partitions(connection, ended_before.date())
        return ids


async def _drop_empty_partitions(connection: Any, before: dt.date) -> None:
    """Those of days that are over, when nothing of them is left: the room of deleted rows comes back at once."""
    for row in await connection.fetch(_PARTITIONS, f"events_{before:%Y%m%d}"):
        name = row["relname"]
        if not await connection.fetchval(f"select exists (select 1 from {name})"):  # noqa: S608  from the catalog
            await connection.execute(f"drop table {name}")


def _conditions(query: ExecutionQuery) -> Iterator[tuple[str, Any]]:
    """What a query asks for, as SQL with a place for its value."""
    if query.status is not None:
        yield "status = {}", query.status
    if query.path is not None:
        yield "path = {}", query.path
    if query.domains is not None:
        yield "split_part(path, '/', 1) = any({})", list(query.domains)
    if query.label is not None:
        name, wanted = query.label
        yield ("labels ? {}", name) if wanted is None else ("labels @> {}", {name: wanted})
    if query.since is not None:
        yield "requested_at >= {}", query.since
    if query.until is not None:
        yield "requested_at < {}", query.until
    if query.before is not None:
        yield "id < {}", query.before


def _execution(row: Any) -> ExecutionRow:
    return ExecutionRow(**{name: row[name] for name in _NAMES})


class PostgresInbox:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, row: InboxRow) -> None:
        if await self._database.value(_PUT, row.execution_id, row.kind, row.body) is None:
            raise NotFound(f"there is no execution {row.execution_id} in this store")

    async def waiting(self, shards: Sequence[int]) -> list[Waiting]:
        return [Waiting(*row) for row in await self._database.fetch(_WAITING, list(shards))]

    async def waiting_for(self, execution_id: int) -> list[InboxRow]:
        rows = await self._database.fetch("select execution_id, kind, body, id from inbox where execution_id = $1 order by id", execution_id)
        return [InboxRow(*row) for row in rows]

    async def discard(self, ids: tuple[int, ...]) -> None:
        await self._database.execute("delete from inbox where id = any($1)", list(ids))
