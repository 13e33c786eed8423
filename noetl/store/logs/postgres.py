"""The store that the nodes of a cluster share: one PostgreSQL database, over asyncpg."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, Final

from noetl.settings import PostgresSettings, StoreSettings
from noetl.store.log import Append, Done, FedAppend, Snapshot, StoredAppend
from noetl.store.logs.postgres_access import PostgresAudit, PostgresRequests, PostgresTokens
from noetl.store.logs.postgres_catalog import PostgresCatalog, PostgresSchemas
from noetl.store.logs.postgres_credentials import PostgresCredentials
from noetl.store.logs.postgres_database import Database
from noetl.store.logs.postgres_executions import PostgresExecutions, PostgresInbox
from noetl.store.logs.postgres_members import PostgresMembers
from noetl.store.logs.postgres_schema import make_partitions, migrate
from noetl.store.logs.postgres_shards import PostgresShards
from noetl.store.logs.postgres_writer import Writer
from noetl.store.store import Store

_BODIES: Final = {
    "events": ("execution_id", "version"),
    "loop_items": ("execution_id", "run", "idx"),
    "inbox": ("id",),
    "snapshots": ("execution_id",),
}
"""The tables that hold encoded values, and their keys."""
_FED: Final = (
    "select wanted.shard, sequence, execution_id, path, found.version, first_seq, at, body, hash"
    " from unnest($1::bigint[], $2::bigint[]) as wanted (shard, after)"
    " join lateral (select * from events where events.shard = wanted.shard and sequence > wanted.after order by sequence limit $3) as found on true"
    " join executions on executions.id = execution_id order by wanted.shard, sequence"
)
_KEEP_POSITION: Final = (
    "insert into positions values ($1, $2, $3) on conflict (reader, shard) do update set sequence = greatest(positions.sequence, excluded.sequence)"
)
_PUT_SNAPSHOT: Final = (
    "insert into snapshots values ($1, $2, $3, $4, $5, $6) on conflict (execution_id) do update set version = excluded.version,"
    " next_seq = excluded.next_seq, hash = excluded.hash, evolve = excluded.evolve, body = excluded.body"
    " where excluded.version > snapshots.version"
)


async def open_postgres(settings: PostgresSettings, store: StoreSettings, directory: Path, more: Callable[[], bool] = lambda: False) -> Store:
    """Open the store, made when it is not there. `directory` holds what is kept in files. `more` is not asked: the server is far enough away that
    appends gather by themselves.

    Raises:
        LogUnavailable: the server can't be reached, or the schema is another program's.
        StoreTooNew: a newer NoETL wrote it.
    """
    database = Database(settings, durable=store.durability == "full")
    await database.open()
    try:
        async with database.connection() as connection:
            await migrate(connection)
            await make_partitions(connection, dt.datetime.now(dt.UTC).date())
    except BaseException:
        await database.close()
        raise
    writer = Writer(database)

    async def close() -> None:
        await writer.close()
        await database.close()

    return Store(
        log=PostgresLog(database, writer),
        snapshots=PostgresSnapshots(database),
        positions=PostgresPositions(database),
        shards=PostgresShards(database),
        members=PostgresMembers(database),
        executions=PostgresExecutions(database),
        inbox=PostgresInbox(database),
        catalog=PostgresCatalog(database),
        schemas=PostgresSchemas(database),
        requests=PostgresRequests(database),
        tokens=PostgresTokens(database),
        audit=PostgresAudit(database),
        credentials=PostgresCredentials(database),
        directory=directory,
        close=close,
    )


class PostgresLog:
    def __init__(self, database: Database, writer: Writer) -> None:
        self._database = database
        self._writer = writer

    def append(self, append: Append, done: Done) -> None:
        self._writer.submit(append, done)

    async def settle(self) -> None:
        await self._writer.settle()

    async def read(self, execution_id: int, after: int = 0, upto: int | None = None) -> list[StoredAppend]:
        rows = await self._database.fetch(
            "select version, first_seq, at, body, hash from events where execution_id = $1 and version > $2 and version <= $3 order by version",
            execution_id,
            after,
            2**31 - 1 if upto is None else upto,
        )
        return [StoredAppend(*row) for row in rows]

    async def items(self, execution_id: int, run: int) -> list[tuple[int, bytes]]:
        rows = await self._database.fetch("select idx, body from loop_items where execution_id = $1 and run = $2 order by idx", execution_id, run)
        return [(row["idx"], row["body"]) for row in rows]

    async def fed(self, after: Mapping[int, int], limit: int = 500) -> list[FedAppend]:
        """A shard has one writer at a time, and each append gets the next number under its lock."""
        rows = await self._database.fetch(_FED, list(after), list(after.values()), limit)
        return [FedAppend(row[0], row[1], row[2], row[3], StoredAppend(*row[4:])) for row in map(tuple, rows)]

    async def bodies(self) -> AsyncIterator[bytes]:
        for table, key in _BODIES.items():
            after: tuple[int, ...] = (-1,) * len(key)
            while rows := await self._bodies_after(table, key, after):
                after = tuple(rows[-1])[1:]
                for row in rows:
                    yield row["body"]

    async def _bodies_after(self, table: str, key: tuple[str, ...], after: tuple[int, ...]) -> list[Any]:
        columns, marks = ", ".join(key), ", ".join(f"${number}" for number in range(1, len(key) + 1))
        statement = f"select body, {columns} from {table} where ({columns}) > ({marks}) order by {columns} limit 1000"  # noqa: S608  constants
        return await self._database.fetch(statement, *after)


class PostgresSnapshots:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def put_snapshot(self, execution_id: int, snapshot: Snapshot) -> None:
        values = (snapshot.version, snapshot.next_seq, snapshot.hash, snapshot.evolve, snapshot.body)
        await self._database.execute(_PUT_SNAPSHOT, execution_id, *values)

    async def snapshot(self, execution_id: int) -> Snapshot | None:
        row = await self._database.row("select version, next_seq, hash, evolve, body from snapshots where execution_id = $1", execution_id)
        return None if row is None else Snapshot(*row)


class PostgresPositions:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def positions(self, reader: str) -> dict[int, int]:
        rows = await self._database.fetch("select shard, sequence from positions where reader = $1", reader)
        return {row["shard"]: row["sequence"] for row in rows}

    async def keep_positions(self, reader: str, positions: Mapping[int, int]) -> None:
        await self._database.execute_many(_KEEP_POSITION, [(reader, shard, sequence) for shard, sequence in positions.items()])
