"""Private shards in PostgreSQL: for processes that share the database without being a cluster."""

from __future__ import annotations

from typing import Any, Final

from noetl.errors import NotFound, Owned, StoreTooNew
from noetl.store.lease import IsAlive, Owner, Shard
from noetl.store.logs.postgres_database import Database
from noetl.store.logs.postgres_schema import LOCK

_OWNER: Final = "node, pid, began, boot, host"
_NEW: Final = f"insert into shards (epoch, {_OWNER}, format) values (1, $1, $2, $3, $4, $5, $6) returning id"  # noqa: S608  constants
_FENCE: Final = "update shards set epoch = epoch + 1, node = null, pid = null, began = null, boot = null, host = null where id = $1"
_OF_EXECUTION: Final = f"select {_OWNER} from shards where id = (select shard from executions where id = $1) and node is not null"  # noqa: S608  constants
_OF_SHARD: Final = f"select {_OWNER} from shards where id = $1 and node is not null"  # noqa: S608  constants
_IS_NEWER: Final = "select 1 from shards as old join shards as new on new.id = $2 where old.id = $1 and old.format > new.format"
_BUSY: Final = "select distinct shard from executions where origin = 'node' and ended_at is null and shard <> $1"
_LEFT: Final = "select id from executions where shard = $1 and origin = 'node' and ended_at is null and wake_at is null order by id"
_ADOPT: Final = (
    "update executions set shard = $1 where shard = $2 and root_id in (select root_id from executions where origin = 'node' and ended_at is null)"
)


class PostgresShards:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def new_shard(self, owner: Owner, newest: int = 1) -> Shard:
        return Shard(await self._database.value(_NEW, owner.node, owner.pid, owner.began, owner.boot, owner.host, newest), 1)

    async def release(self, shard: Shard) -> None:
        async with self._database.transaction() as connection:
            await lock_shards(connection, [shard.id])
            await connection.execute(f"{_FENCE} and epoch = $2", shard.id, shard.epoch)

    async def is_ours(self, shard: Shard) -> bool:
        return await self._database.value("select 1 from shards where id = $1 and epoch = $2", shard.id, shard.epoch) is not None

    async def adopt(self, execution_id: int, into: Shard, is_alive: IsAlive) -> None:
        async with self._database.transaction() as connection:
            row = await connection.fetchrow("select root_id, shard from executions where id = $1", execution_id)
            if row is None:
                raise NotFound(f"there is no execution {execution_id} in this store")
            await lock_shards(connection, [row["shard"]])
            owner = _owner(await connection.fetchrow(_OF_SHARD, row["shard"]))
            if owner is not None and is_alive(owner):
                raise Owned(f"execution {execution_id} is running in {owner}", owner=str(owner))
            if await connection.fetchval(_IS_NEWER, row["shard"], into.id) is not None:
                raise StoreTooNew(f"a newer NoETL has gone on with execution {execution_id}: use that one")
            await connection.execute(_FENCE, row["shard"])
            await connection.execute("update executions set shard = $1 where root_id = $2", into.id, row["root_id"])

    async def adopt_left(self, into: Shard, is_alive: IsAlive) -> list[int]:
        moved: list[int] = []
        async with self._database.transaction() as connection:
            for row in await connection.fetch(_BUSY, into.id):
                shard = row["shard"]
                await lock_shards(connection, [shard])
                owner = _owner(await connection.fetchrow(_OF_SHARD, shard))
                if (owner is not None and is_alive(owner)) or await connection.fetchval(_IS_NEWER, shard, into.id) is not None:
                    continue
                await connection.execute(_FENCE, shard)
                moved += [left["id"] for left in await connection.fetch(_LEFT, shard)]
                await connection.execute(_ADOPT, into.id, shard)
        return moved

    async def format_of(self, shard: int) -> int:
        return await self._database.value("select format from shards where id = $1", shard) or 0

    async def owner_of(self, execution_id: int) -> Owner | None:
        return _owner(await self._database.row(_OF_EXECUTION, execution_id))


async def lock_shards(connection: Any, shards: list[int]) -> None:
    """Wait until no append to these is under way, and let none begin before this transaction ends. In the order of their ids: nobody waits in a
    circle."""
    for shard in sorted(shards):
        await connection.execute("select pg_advisory_xact_lock($1, $2)", LOCK, shard)


def _owner(row: Any) -> Owner | None:
    return None if row is None else Owner(*row)
