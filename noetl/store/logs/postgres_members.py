"""Nodes, leases and common shards in PostgreSQL. Time is the server's."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import asyncpg
import msgspec

from noetl.errors import Fenced
from noetl.store.lease import Shard
from noetl.store.logs.postgres_database import Database, Lost
from noetl.store.logs.postgres_shards import lock_shards
from noetl.store.members import RENEWALS_PER_LEASE, Cluster, Heart, Incarnation, Member, NodeRow, ShardRow

_log: Final = logging.getLogger("noetl.store")
_END: Final = "update nodes set ended_at = now() where life = $1 and ended_at is null"
_FREE: Final = "update shards set epoch = epoch + 1, life = null where life = $1"
_OWNED: Final = "select id from shards where life = $1"
_JOIN: Final = "insert into nodes (id, about, lease, lease_until, steady_since) values ($1, $2, $3, now() + $3, now()) returning life"
_RENEW: Final = (
    "update nodes set steady_since = case when lease_until < now() then now() else steady_since end, lease_until = now() + lease"
    " where life = $1 and ended_at is null returning life"
)
_MEMBERS: Final = (
    "select id, life, about, extract(epoch from lease_until - now())::float8 as left_s, draining from nodes where ended_at is null order by id"
)
_BURY: Final = (
    "update nodes set ended_at = now() where life = $1 and ended_at is null and lease_until < now() and exists"
    " (select 1 from nodes as own where own.life = $2 and own.ended_at is null and own.lease_until >= now()"
    " and own.steady_since <= now() - own.lease and pg_postmaster_start_time() <= now() - own.lease) returning life"
)
_TAKE: Final = (
    "update shards set epoch = epoch + 1, life = $1 where id = any($2) and life is null and common"
    " and format <= (select (about ->> 'format')::int from nodes where nodes.life = $1) returning id, epoch"
)
_RAISE: Final = (
    "update shards set format = $3 from unnest($1::bigint[], $2::bigint[]) as ours (shard, epoch)"
    " where id = ours.shard and shards.epoch = ours.epoch and format < $3"
)
_KEPT: Final = dt.timedelta(days=1)
"""How long the rows of lives that are over stay."""


class PostgresMembers:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def join(self, node: NodeRow, lease_s: float) -> Incarnation:
        async with self._database.transaction() as connection:
            await connection.execute("select pg_advisory_xact_lock(hashtext($1))", f"noetl node {node.id}")
            await connection.execute("delete from nodes where ended_at < now() - $1::interval", _KEPT)
            for row in await connection.fetch("select life from nodes where id = $1 and ended_at is null", node.id):
                await _end(connection, row["life"])
            life = await connection.fetchval(_JOIN, node.id, msgspec.to_builtins(node), dt.timedelta(seconds=lease_s))
        return Incarnation(node.id, life)

    async def renew(self, incarnation: Incarnation) -> None:
        if await self._database.value(_RENEW, incarnation.number) is None:
            raise Fenced(f"the life of {incarnation} is over")

    def heart(self, incarnation: Incarnation, lease_s: float, lost: Callable[[], None]) -> Heart:
        return ThreadHeart(self._database, incarnation, lease_s, lost)

    async def leave(self, incarnation: Incarnation) -> None:
        async with self._database.transaction() as connection:
            await _end(connection, incarnation.number)

    async def drain(self, node: str) -> bool:
        return await self._database.value("update nodes set draining = true where id = $1 and ended_at is null returning life", node) is not None

    async def cluster(self) -> Cluster:
        async with self._database.connection() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
            lives = await connection.fetch(_MEMBERS)
            shards = await connection.fetch("select id, epoch, life, format from shards where common order by id")
        members = tuple(_member(row) for row in lives)
        by_life = {member.incarnation.number: member.incarnation for member in members}
        return Cluster(members, tuple(ShardRow(Shard(row["id"], row["epoch"]), by_life.get(row["life"]), row["format"]) for row in shards))

    async def bury(self, dead: Incarnation, by: Incarnation) -> bool:
        async with self._database.transaction() as connection:
            if await connection.fetchval(_BURY, dead.number, by.number) is None:
                return False
            await _free(connection, dead.number)
        return True

    async def take(self, shards: Sequence[int], by: Incarnation) -> list[Shard]:
        async with self._database.transaction() as connection:
            alive = await connection.fetchval("select 1 from nodes where life = $1 and ended_at is null for share", by.number)
            if alive is None:
                raise Fenced(f"the life of {by} is over")
            await lock_shards(connection, list(shards))
            return [Shard(*row) for row in await connection.fetch(_TAKE, by.number, list(shards))]

    async def give_back(self, shards: Sequence[Shard]) -> None:
        async with self._database.transaction() as connection:
            await lock_shards(connection, [shard.id for shard in shards])
            await connection.executemany(
                "update shards set epoch = epoch + 1, life = null where id = $1 and epoch = $2", [(shard.id, shard.epoch) for shard in shards]
            )

    async def raise_format(self, shards: Sequence[Shard], to: int) -> None:
        await self._database.execute(_RAISE, [shard.id for shard in shards], [shard.epoch for shard in shards], to)


async def _end(connection: Any, life: int) -> None:
    await connection.execute(_END, life)
    await _free(connection, life)


async def _free(connection: Any, life: int) -> None:
    """What the life owned is nobody's. Appends that are under way come before."""
    await lock_shards(connection, [row["id"] for row in await connection.fetch(_OWNED, life)])
    await connection.execute(_FREE, life)


def _member(row: Any) -> Member:
    return Member(
        node=msgspec.convert(row["about"], NodeRow),
        incarnation=Incarnation(row["id"], row["life"]),
        lease_left_s=row["left_s"],
        draining=row["draining"],
    )


class ThreadHeart:
    """Renews on a thread with an event loop and a connection of its own, so that neither a busy loop nor a full pool lets the lease run out."""

    def __init__(self, database: Database, incarnation: Incarnation, lease_s: float, lost: Callable[[], None]) -> None:
        self._database = database
        self._incarnation = incarnation
        self._lease_s = lease_s
        self._every_s = lease_s / RENEWALS_PER_LEASE
        self._sure_until = 0.0
        self._lost = lost
        self._home = asyncio.get_running_loop()
        self._loop = asyncio.new_event_loop()
        self._task = self._loop.create_task(self._beat())
        self._thread = threading.Thread(target=self._run, name="noetl-heart", daemon=True)
        self._thread.start()

    def is_sure(self) -> bool:
        return time.monotonic() < self._sure_until

    def stop(self) -> None:
        with contextlib.suppress(RuntimeError):  # its loop is closed: the life was over, and the thread has ended by itself
            self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(timeout=5.0)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(asyncio.wait([self._task]))
        finally:
            self._loop.close()

    async def _beat(self) -> None:
        connection: Any = None
        try:
            while True:
                try:
                    if connection is None:
                        async with asyncio.timeout(self._every_s * 2):
                            connection = await self._database.connect()
                    began = time.monotonic()
                    async with asyncio.timeout(self._every_s * 2):
                        renewed = await connection.fetchval(_RENEW, self._incarnation.number)
                except (*Lost, asyncpg.PostgresError) as error:
                    _log.debug("the lease of %s was not renewed: %s", self._incarnation, error)
                    _terminate(connection)
                    connection = None
                else:
                    if renewed is None:
                        self._sure_until = 0.0
                        self._home.call_soon_threadsafe(self._lost)
                        return
                    self._sure_until = began + self._lease_s
                await asyncio.sleep(self._every_s)
        finally:
            _terminate(connection)


def _terminate(connection: Any) -> None:
    if connection is not None:
        connection.terminate()
