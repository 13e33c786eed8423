"""Nodes, leases and common shards in SQLite. A cluster needs PostgreSQL; this is for what plays a cluster in one process, on whatever clock."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import msgspec

from noetl.errors import Fenced, LogUnavailable
from noetl.store.lease import Shard
from noetl.store.logs.sqlite_connection import Connection
from noetl.store.logs.sqlite_database import Database
from noetl.store.members import RENEWALS_PER_LEASE, Cluster, Heart, Incarnation, Member, NodeRow, ShardRow

Micros = Callable[[], int]
"""The store's clock: microseconds since 1970."""

_log: Final = logging.getLogger("noetl.store")
_SECOND: Final = 1_000_000
_KEPT: Final = 86_400 * _SECOND
"""How long the rows of lives that are over stay."""
_FREE: Final = "update shards set epoch = epoch + 1, life = null where life = ?"
_TAKE: Final = (
    "update shards set epoch = epoch + 1, life = :life where id = :id and life is null and common"
    " and format <= (select json_extract(about, '$.format') from nodes where nodes.life = :life) returning id, epoch"
)
_BURY: Final = (
    "update nodes set ended_at = :now where life = :dead and ended_at is null and lease_until < :now and exists"
    " (select 1 from nodes as own where own.life = :own and own.ended_at is null and own.lease_until >= :now"
    " and own.steady_since <= :now - own.lease)"
)
_RENEW: Final = (
    "update nodes set steady_since = case when lease_until < :now then :now else steady_since end, lease_until = :now + lease"
    " where life = :life and ended_at is null"
)


def micros_now() -> int:
    return time.time_ns() // 1000


class SqliteMembers:
    def __init__(self, database: Database, now: Micros = micros_now) -> None:
        self._database = database
        self._now = now

    async def join(self, node: NodeRow, lease_s: float) -> Incarnation:
        def insert(connection: Connection) -> int:
            now, lease = self._now(), int(lease_s * _SECOND)
            connection.execute("delete from nodes where ended_at < ?", (now - _KEPT,))
            for (life,) in connection.execute("select life from nodes where id = ? and ended_at is null", (node.id,)).fetchall():
                _end(connection, life, now)
            values = (node.id, msgspec.json.encode(node).decode(), lease, now + lease, now)
            cursor = connection.execute("insert into nodes (id, about, lease, lease_until, steady_since) values (?, ?, ?, ?, ?)", values)
            return cursor.lastrowid or 0

        return Incarnation(node.id, await self._database.write(insert))

    async def renew(self, incarnation: Incarnation) -> None:
        def update(connection: Connection) -> int:
            return connection.execute(_RENEW, {"life": incarnation.number, "now": self._now()}).rowcount

        if not await self._database.write(update):
            raise Fenced(f"the life of {incarnation} is over")

    def heart(self, incarnation: Incarnation, lease_s: float, lost: Callable[[], None]) -> Heart:
        return LoopHeart(partial(self.renew, incarnation), lease_s, lost)

    async def leave(self, incarnation: Incarnation) -> None:
        await self._database.write(lambda connection: _end(connection, incarnation.number, self._now()))

    async def drain(self, node: str) -> bool:
        statement = "update nodes set draining = 1 where id = ? and ended_at is null"
        found: int = await self._database.write(lambda connection: connection.execute(statement, (node,)).rowcount)
        return found > 0

    async def cluster(self) -> Cluster:
        def select(connection: Connection) -> Cluster:
            lives = connection.execute("select id, life, about, lease_until, draining from nodes where ended_at is null order by id").fetchall()
            now = self._now()
            members = tuple(
                Member(
                    node=msgspec.json.decode(about, type=NodeRow),
                    incarnation=Incarnation(id_, life),
                    lease_left_s=(until - now) / _SECOND,
                    draining=bool(draining),
                )
                for id_, life, about, until, draining in lives
            )
            by_life = {member.incarnation.number: member.incarnation for member in members}
            rows = connection.execute("select id, epoch, life, format from shards where common order by id")
            return Cluster(members, tuple(ShardRow(Shard(id_, epoch), by_life.get(life), newest) for id_, epoch, life, newest in rows))

        return await self._database.read(select)

    async def bury(self, dead: Incarnation, by: Incarnation) -> bool:
        def end(connection: Connection) -> bool:
            found = connection.execute(_BURY, {"now": self._now(), "dead": dead.number, "own": by.number}).rowcount
            if found:
                connection.execute(_FREE, (dead.number,))
            return bool(found)

        buried: bool = await self._database.write(end)
        return buried

    async def take(self, shards: Sequence[int], by: Incarnation) -> list[Shard]:
        def update(connection: Connection) -> list[Shard]:
            if connection.execute("select 1 from nodes where life = ? and ended_at is null", (by.number,)).fetchone() is None:
                raise Fenced(f"the life of {by} is over")
            rows = [connection.execute(_TAKE, {"life": by.number, "id": id_}).fetchone() for id_ in shards]
            return [Shard(*row) for row in rows if row is not None]

        taken: list[Shard] = await self._database.write(update)
        return taken

    async def give_back(self, shards: Sequence[Shard]) -> None:
        statement = "update shards set epoch = epoch + 1, life = null where id = ? and epoch = ?"
        values = [(shard.id, shard.epoch) for shard in shards]
        await self._database.write(lambda connection: connection.executemany(statement, values))

    async def raise_format(self, shards: Sequence[Shard], to: int) -> None:
        statement = "update shards set format = max(format, ?) where id = ? and epoch = ?"
        values = [(to, shard.id, shard.epoch) for shard in shards]
        await self._database.write(lambda connection: connection.executemany(statement, values))


def _end(connection: Connection, life: int, now: int) -> None:
    connection.execute("update nodes set ended_at = ? where life = ? and ended_at is null", (now, life))
    connection.execute(_FREE, (life,))


class LoopHeart:
    """Beats on the event loop, as the store is in this process too."""

    def __init__(self, renew: Callable[[], Any], lease_s: float, lost: Callable[[], None]) -> None:
        self._renew = renew
        self._lease_s = lease_s
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._sure_until = 0.0
        self._task = self._loop.create_task(self._beat())

    def is_sure(self) -> bool:
        return self._loop.time() < self._sure_until

    def stop(self) -> None:
        self._task.cancel()

    async def _beat(self) -> None:
        while True:
            began = self._loop.time()
            try:
                await self._renew()
            except Fenced:
                self._sure_until = 0.0
                self._lost()
                return
            except LogUnavailable as error:
                _log.debug("the lease was not renewed: %s", error)
            else:
                self._sure_until = began + self._lease_s
            await asyncio.sleep(self._lease_s / RENEWALS_PER_LEASE)
