"""The store in one SQLite file (WAL), or in memory: the embedded default. Standard library only.

Reads have a connection and a thread of their own; writes go through `Writer`. Several processes may share a file.
"""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from noetl.errors import NotFound, Owned, StoreTooNew
from noetl.settings import StoreSettings
from noetl.store.lease import IsAlive, Owner, Shard
from noetl.store.log import Append, Done, ExecutionRow, FedAppend, InboxRow, Snapshot, StoredAppend
from noetl.store.logs.sqlite_access import SqliteAudit, SqliteRequests, SqliteTokens
from noetl.store.logs.sqlite_append import at_micros, from_micros, insert_rows, to_micros
from noetl.store.logs.sqlite_catalog import SqliteCatalog, SqliteSchemas
from noetl.store.logs.sqlite_connection import Connection
from noetl.store.logs.sqlite_credentials import SqliteCredentials
from noetl.store.logs.sqlite_database import Database
from noetl.store.logs.sqlite_members import Micros, SqliteMembers, micros_now
from noetl.store.logs.sqlite_writer import AppendJob
from noetl.store.projection import ALL, ExecutionQuery, Waiting
from noetl.store.store import Store

_ROW: Final = (
    "id, root_id, parent_id, path, net, shard, status, requested_at, started_at, ended_at, wake_at, error, version, labels, requested_by, origin"
)

_BY_ID: Final = f"select {_ROW} from executions where id = ?"  # noqa: S608  constants
_FAMILY: Final = f"select {_ROW} from executions where root_id = ? order by id"  # noqa: S608  constants


async def open_sqlite(
    path: Path | None, directory: Path, settings: StoreSettings, more: Callable[[], bool] = lambda: False, now: Micros = micros_now
) -> Store:
    """Open the store in a file, made when it is not there; in memory when `path` is None.

    `more` tells whether work is under way that may bring appends: they go together.

    `now` is the clock by which nodes live: microseconds since 1970.

    Raises:
        LogUnavailable: it can't be opened or written, or is no NoETL store.
        StoreTooNew: a newer NoETL wrote it.
    """
    database = Database(path, settings, more)
    return Store(
        log=SqliteLog(database),
        snapshots=SqliteSnapshots(database),
        positions=SqlitePositions(database),
        shards=SqliteShards(database),
        members=SqliteMembers(database, now),
        executions=SqliteExecutions(database),
        inbox=SqliteInbox(database),
        catalog=SqliteCatalog(database),
        schemas=SqliteSchemas(database),
        requests=SqliteRequests(database),
        tokens=SqliteTokens(database),
        audit=SqliteAudit(database),
        credentials=SqliteCredentials(database),
        directory=directory,
        close=database.close,
    )


class SqliteLog:
    def __init__(self, database: Database) -> None:
        self._database = database

    def append(self, append: Append, done: Done) -> None:
        self._database.writer.submit(AppendJob(append, done))

    async def settle(self) -> None:
        await self._database.writer.settle()

    async def read(self, execution_id: int, after: int = 0, upto: int | None = None) -> list[StoredAppend]:
        """A short log on the loop; the rest of a long one on the reader's thread."""
        last = 2**62 if upto is None else upto
        rows = await self._database.look(partial(_appends, execution_id, after, min(last, after + _FEW)))
        if len(rows) == _FEW:
            rows += await self._database.read(partial(_appends, execution_id, after + _FEW, last))
        return rows

    async def items(self, execution_id: int, run: int) -> list[tuple[int, bytes]]:
        return await self._database.read(
            lambda connection: connection.execute(
                "select idx, body from loop_items where execution_id = ? and run = ? order by idx", (execution_id, run)
            ).fetchall()
        )

    async def fed(self, after: Mapping[int, int], limit: int = 500) -> list[FedAppend]:
        """There is one writer at a time, so the order of the whole store's sequence is that of the commits."""

        def select(connection: Connection) -> list[FedAppend]:
            found: list[FedAppend] = []
            for shard, sequence in after.items():
                rows = connection.execute(_FED, (shard, sequence, limit))
                found += [FedAppend(shard, row[0], row[1], row[2], StoredAppend(row[3], row[4], at_micros(row[5]), *row[6:])) for row in rows]
            return found

        return await self._database.read(select)

    async def bodies(self) -> AsyncIterator[bytes]:
        for table, key in _BODIES.items():
            after: tuple[int, ...] = (-1,) * len(key)
            while rows := await self._database.read(partial(_bodies_after, table, key, after)):
                after = rows[-1][1:]
                for row in rows:
                    yield row[0]


_FEW: Final = 32
"""Rows that the loop reads itself."""


def _appends(execution_id: int, after: int, upto: int, connection: Connection) -> list[StoredAppend]:
    rows = connection.execute(
        "select version, first_seq, at, body, hash from events where execution_id = ? and version > ? and version <= ? order by version",
        (execution_id, after, upto),
    )
    return [StoredAppend(version, first_seq, at_micros(at), body, digest) for version, first_seq, at, body, digest in rows]


_FED: Final = (
    "select sequence, execution_id, path, events.version, first_seq, at, body, hash from events join executions on executions.id = execution_id"
    " where events.shard = ? and sequence > ? order by sequence limit ?"
)
_LEAVE: Final = "insert into inbox (execution_id, kind, body) values (?, ?, ?)"
_BODIES: Final = {"events": ("sequence",), "loop_items": ("execution_id", "run", "idx"), "inbox": ("id",), "snapshots": ("execution_id",)}
"""The tables that hold encoded values, and their keys."""


def _bodies_after(table: str, key: tuple[str, ...], after: tuple[int, ...], connection: Connection) -> list[tuple[Any, ...]]:
    """Some rows (body, *key) in the order of the key, so that no reading transaction lasts long."""
    columns, marks = ", ".join(key), ", ".join("?" * len(key))
    found = connection.execute(f"select body, {columns} from {table} where ({columns}) > ({marks}) order by {columns} limit 1000", after)  # noqa: S608  constants
    return found.fetchall()


class SqliteSnapshots:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def put_snapshot(self, execution_id: int, snapshot: Snapshot) -> None:
        values = (execution_id, snapshot.version, snapshot.next_seq, snapshot.hash, snapshot.evolve, snapshot.body)
        await self._database.write(
            lambda connection: connection.execute(
                "insert into snapshots values (?, ?, ?, ?, ?, ?) on conflict (execution_id) do update set version = excluded.version,"
                " next_seq = excluded.next_seq, hash = excluded.hash, evolve = excluded.evolve, body = excluded.body"
                " where excluded.version > snapshots.version",
                values,
            )
        )

    async def snapshot(self, execution_id: int) -> Snapshot | None:
        found = await self._database.look(
            lambda connection: connection.execute(
                "select version, next_seq, hash, evolve, body from snapshots where execution_id = ?", (execution_id,)
            ).fetchone()
        )
        return None if found is None else Snapshot(*found)


class SqlitePositions:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def positions(self, reader: str) -> dict[int, int]:
        return await self._database.read(
            lambda connection: dict(connection.execute("select shard, sequence from positions where reader = ?", (reader,)).fetchall())
        )

    async def keep_positions(self, reader: str, positions: Mapping[int, int]) -> None:
        statement = "insert into positions values (?, ?, ?) on conflict do update set sequence = max(sequence, excluded.sequence)"
        rows = [(reader, shard, sequence) for shard, sequence in positions.items()]
        await self._database.write(lambda connection: connection.executemany(statement, rows))


class SqliteShards:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def new_shard(self, owner: Owner, newest: int = 1) -> Shard:
        def insert(connection: Connection) -> int:
            cursor = connection.execute(
                "insert into shards (epoch, node, pid, began, boot, host, format) values (1, ?, ?, ?, ?, ?, ?)",
                (owner.node, owner.pid, owner.began, owner.boot, owner.host, newest),
            )
            return cursor.lastrowid or 0

        return Shard(await self._database.write(insert), 1)

    async def release(self, shard: Shard) -> None:
        await self._database.write(lambda connection: connection.execute(f"{_FENCE} where id = ? and epoch = ?", (shard.id, shard.epoch)))

    async def is_ours(self, shard: Shard) -> bool:
        return await self._database.read(
            lambda connection: connection.execute("select 1 from shards where id = ? and epoch = ?", (shard.id, shard.epoch)).fetchone() is not None
        )

    async def adopt(self, execution_id: int, into: Shard, is_alive: IsAlive) -> None:
        def move(connection: Connection) -> None:
            row = connection.execute("select root_id, shard from executions where id = ?", (execution_id,)).fetchone()
            if row is None:
                raise NotFound(f"there is no execution {execution_id} in this store")
            root, shard = row
            owner = _owner(connection, shard)
            if owner is not None and is_alive(owner):
                raise Owned(f"execution {execution_id} is running in {owner}", owner=str(owner))
            if _is_newer(connection, shard, into):
                raise StoreTooNew(f"a newer NoETL has gone on with execution {execution_id}: use that one")
            connection.execute(f"{_FENCE} where id = ?", (shard,))
            connection.execute("update executions set shard = ? where root_id = ?", (into.id, root))

        await self._database.write(move)

    async def adopt_left(self, into: Shard, is_alive: IsAlive) -> list[int]:
        def move(connection: Connection) -> list[int]:
            shards = [id_ for (id_,) in connection.execute("select distinct shard from executions where origin = 'node' and ended_at is null")]
            left = [id_ for id_ in shards if id_ != into.id and ((owner := _owner(connection, id_)) is None or not is_alive(owner))]
            moved: list[int] = []
            for shard in left:
                if _is_newer(connection, shard, into):
                    continue
                connection.execute(f"{_FENCE} where id = ?", (shard,))
                moved += [id_ for (id_,) in connection.execute(_LEFT, (shard,))]
                connection.execute(_ADOPT, (into.id, shard))
            return moved

        adopted: list[int] = await self._database.write(move)
        return adopted

    async def format_of(self, shard: int) -> int:
        found = await self._database.read(lambda connection: connection.execute("select format from shards where id = ?", (shard,)).fetchone())
        return 0 if found is None else found[0]

    async def owner_of(self, execution_id: int) -> Owner | None:
        def select(connection: Connection) -> Owner | None:
            row = connection.execute("select shard from executions where id = ?", (execution_id,)).fetchone()
            return None if row is None else _owner(connection, row[0])

        return await self._database.read(select)


_LEFT: Final = "select id from executions where shard = ? and origin = 'node' and ended_at is null and wake_at is null order by id"
_ADOPT: Final = (
    "update executions set shard = ? where shard = ? and root_id in (select root_id from executions where origin = 'node' and ended_at is null)"
)
_FENCE: Final = "update shards set epoch = epoch + 1, node = null, pid = null, began = null, boot = null, host = null"


def _is_newer(connection: Connection, shard: int, into: Shard) -> bool:
    statement = "select 1 from shards as old join shards as new on new.id = ? where old.id = ? and old.format > new.format"
    return connection.execute(statement, (into.id, shard)).fetchone() is not None


def _owner(connection: Connection, shard: int) -> Owner | None:
    row = connection.execute("select node, pid, began, boot, host from shards where id = ? and node is not null", (shard,)).fetchone()
    return None if row is None else Owner(*row)


class SqliteExecutions:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def execution(self, execution_id: int) -> ExecutionRow | None:
        found = await self._database.look(lambda connection: connection.execute(_BY_ID, (execution_id,)).fetchone())
        return None if found is None else _execution(found)

    async def list_executions(self, query: ExecutionQuery = ALL) -> list[ExecutionRow]:
        conditions, values = ["parent_id is null"], []
        for condition, value in _conditions(query):
            conditions.append(condition)
            values.append(value)
        return await self._select(f"where {' and '.join(conditions)} order by id desc limit ?", (*values, query.limit))

    async def family(self, root_id: int) -> list[ExecutionRow]:
        few = await self._database.look(lambda connection: connection.execute(f"{_FAMILY} limit {_FEW + 1}", (root_id,)).fetchall())
        if len(few) > _FEW:
            return await self._select("where root_id = ? order by id", (root_id,))
        return [_execution(row) for row in few]

    async def request(self, row: ExecutionRow, begin: InboxRow) -> None:
        def insert(connection: Connection) -> None:
            if insert_rows(connection, [row]):
                connection.execute(_LEAVE, (begin.execution_id, begin.kind, begin.body))

        await self._database.write(insert)

    async def due(self, shards: Sequence[int], now: dt.datetime) -> list[Waiting]:
        return await _waiting(
            self._database, f"from executions where shard in ({_marks(shards)}) and wake_at <= ? order by wake_at", (*shards, to_micros(now))
        )

    async def left_in(self, shard: int) -> list[int]:
        statement = "select id from executions where shard = ? and ended_at is null and wake_at is null order by id"
        return await self._database.read(lambda connection: [id_ for (id_,) in connection.execute(statement, (shard,))])

    async def quarantine(self, execution_id: int, reason: str, tell: InboxRow | None = None) -> None:
        def mark(connection: Connection) -> None:
            connection.execute(
                "update executions set status = 'failed', wake_at = null, ended_at = coalesce(ended_at, ?), error = ? where id = ?",
                (time.time_ns() // 1000, f"quarantined: {reason}", execution_id),
            )
            if tell is not None:
                connection.execute(_LEAVE, (tell.execution_id, tell.kind, tell.body))

        await self._database.write(mark)

    async def prune(self, ended_before: dt.datetime) -> list[int]:
        def delete(connection: Connection) -> list[int]:
            ids = connection.execute(
                "select id from executions where root_id in (select root_id from executions group by root_id"
                " having count(*) = count(ended_at) and max(ended_at) < ?)",
                (to_micros(ended_before),),
            ).fetchall()
            for table in ("events", "snapshots", "loop_items", "inbox"):
                connection.executemany(f"delete from {table} where execution_id = ?", ids)  # noqa: S608  the names above
            connection.executemany("delete from executions where id = ?", ids)
            connection.execute("delete from shards where not common and node is null and id not in (select shard from executions)")
            connection.execute("delete from catalog where hash not in (select net from executions union select net from playbooks)")
            return [id_ for (id_,) in ids]

        deleted: list[int] = await self._database.write(delete)
        return deleted

    async def _select(self, where: str, values: tuple[Any, ...]) -> list[ExecutionRow]:
        rows = await self._database.read(
            lambda connection: connection.execute(f"select {_ROW} from executions {where}", values).fetchall()  # noqa: S608  constants
        )
        return [_execution(row) for row in rows]


async def _waiting(database: Database, source: str, values: tuple[Any, ...]) -> list[Waiting]:
    """Executions of a `from`, the first thousand."""
    statement = f"select shard, executions.id {source} limit 1000"
    return await database.read(lambda connection: [Waiting(*row) for row in connection.execute(statement, values)])


def _marks(values: Sequence[Any]) -> str:
    return ", ".join("?" * len(values))


def _conditions(query: ExecutionQuery) -> Iterator[tuple[str, Any]]:
    """What a query asks for, as SQL with its value."""
    if query.status is not None:
        yield "status = ?", query.status
    if query.path is not None:
        yield "path = ?", query.path
    if query.domains is not None:
        yield "substr(path, 1, instr(path || '/', '/') - 1) in (select value from json_each(?))", json.dumps(query.domains)
    if query.label is not None:
        name, wanted = query.label
        yield "exists (select 1 from json_each(labels) where json_each.key = ?)", name
        if wanted is not None:
            yield "exists (select 1 from json_each(labels) where json_each.key || '\n' || json_each.value = ?)", f"{name}\n{wanted}"
    if query.since is not None:
        yield "requested_at >= ?", to_micros(query.since)
    if query.until is not None:
        yield "requested_at < ?", to_micros(query.until)
    if query.before is not None:
        yield "id < ?", query.before


def _execution(row: tuple[Any, ...]) -> ExecutionRow:
    id_, root, parent, path, net, shard, status, requested, started, ended, wake, error, version, labels, requested_by, origin = row
    return ExecutionRow(
        id=id_,
        root_id=root,
        parent_id=parent,
        path=path,
        net=net,
        shard=shard,
        status=status,
        requested_at=at_micros(requested),
        started_at=from_micros(started),
        ended_at=from_micros(ended),
        wake_at=from_micros(wake),
        error=error,
        version=version,
        labels={} if labels == "{}" else json.loads(labels),
        requested_by=requested_by,
        origin=origin,
    )


class SqliteInbox:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, row: InboxRow) -> None:
        def insert(connection: Connection) -> None:
            if connection.execute("select 1 from executions where id = ?", (row.execution_id,)).fetchone() is None:
                raise NotFound(f"there is no execution {row.execution_id} in this store")
            connection.execute(_LEAVE, (row.execution_id, row.kind, row.body))

        await self._database.write(insert)

    async def waiting(self, shards: Sequence[int]) -> list[Waiting]:
        source = (
            f"from inbox join executions on executions.id = execution_id where shard in ({_marks(shards)}) and ended_at is null"
            " group by execution_id order by min(inbox.id)"
        )
        return await _waiting(self._database, source, tuple(shards))

    async def waiting_for(self, execution_id: int) -> list[InboxRow]:
        return await self._select("where execution_id = ?", execution_id)

    async def discard(self, ids: tuple[int, ...]) -> None:
        await self._database.write(lambda connection: connection.executemany("delete from inbox where id = ?", [(id_,) for id_ in ids]))

    async def _select(self, where: str, value: int) -> list[InboxRow]:
        rows = await self._database.read(
            lambda connection: connection.execute(
                f"select execution_id, kind, body, inbox.id from inbox {where} order by inbox.id",  # noqa: S608  constants
                (value,),
            ).fetchall()
        )
        return [InboxRow(*row) for row in rows]
