"""What only a server can do to a store: be away, be killed in the midst of a commit, refuse."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from noetl.errors import LogUnavailable, StaleVersion, StoreAway, StoreTooNew
from noetl.settings import PostgresSettings, StoreSettings
from noetl.store.log import check_chain
from noetl.store.logs.postgres import open_postgres
from noetl.store.members import NodeRow
from noetl.store.store import Store
from tests.postgres import Postgres, new_database
from tests.store.appends import AT, answer, append, keep, owner, stored


@pytest.fixture
def own_server() -> Iterator[Postgres]:
    """A server of the test's own, which it may treat badly."""
    with Postgres() as server:
        yield server


@pytest.fixture
async def admin(postgres: Postgres) -> AsyncIterator[tuple[Store, Any]]:
    """A store on a database of its own, and a connection beside it."""
    dsn = postgres.dsn(await new_database(postgres))
    store = await open_postgres(PostgresSettings(dsn=dsn), StoreSettings(), Path("unused"))
    connection = await asyncpg.connect(dsn, server_settings={"search_path": "noetl"})
    yield store, connection
    await connection.close()
    await store.close()


async def backends(connection: Any) -> int:
    """Cut all other connections to the database; how many there were."""
    return len(
        await connection.fetch(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
        )
    )


async def test_what_is_handed_over_while_the_server_is_away_is_committed_when_it_is_back(own_server: Postgres) -> None:
    store = await open_postgres(PostgresSettings(dsn=own_server.dsn(), connect_timeout_s=1.0), StoreSettings(), Path("unused"))
    try:
        shard = await store.shards.new_shard(owner())
        await keep(store, append(7, 1, shard))
        own_server.kill9()
        waiting = asyncio.create_task(answer(store, append(8, 1, shard)))
        with pytest.raises(StoreAway):
            await store.executions.execution(7)
        assert not waiting.done()
        await asyncio.to_thread(own_server.start)
        assert await waiting is None
        assert [len(await store.log.read(id_)) for id_ in (7, 8)] == [1, 1]
    finally:
        await store.close()


async def test_a_commit_whose_answer_was_lost_is_known_by_its_hash(admin: tuple[Store, Any]) -> None:
    """The connection is cut when the transaction has committed and its answer is on its way."""
    store, connection = admin
    shard = await store.shards.new_shard(owner())
    first = append(7, 1, shard)
    await keep(store, first)
    writer = store.log._writer  # type: ignore[attr-defined]
    fetch = writer._connection.fetch
    cut = []

    async def answer_is_lost(*call: Any) -> Any:
        await fetch(*call)
        cut.append(await backends(connection))
        raise ConnectionResetError

    writer._connection = _Wrapped(writer._connection, answer_is_lost)
    assert await answer(store, append(7, 2, shard, text="two", previous=first.hash)) is None
    assert cut
    rows = await store.log.read(7)
    check_chain(rows)
    assert [row.version for row in rows] == [1, 2]
    assert isinstance(await answer(store, append(7, 2, shard, text="another", previous=first.hash)), StaleVersion)


class _Wrapped:
    """A connection whose next call is answered by `fetch`."""

    def __init__(self, connection: Any, fetch: Any) -> None:
        self._connection = connection
        self.fetch = fetch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


async def test_connections_that_are_cut_lose_and_double_nothing(admin: tuple[Store, Any]) -> None:
    store, connection = admin
    shard = await store.shards.new_shard(owner())
    cut: list[int] = []
    answered, cutting = 0, asyncio.Lock()

    async def write(id_: int) -> None:
        """The texts of `stored`, one version after the other; now and then all connections are cut."""
        nonlocal answered
        more: dict[str, Any] = {}
        for number in range(1, 31):
            made = append(id_, number, shard, text=str(number), **more)
            told = asyncio.ensure_future(answer(store, made))
            answered += 1
            if answered % 20 == 0:
                await asyncio.sleep(0)
                async with cutting:
                    cut.append(await backends(connection))
            assert await told is None
            more = {"previous": made.hash}

    await asyncio.gather(*(write(id_) for id_ in range(1, 9)))
    assert sum(cut) > 3
    for id_ in range(1, 9):
        rows = await store.log.read(id_)
        check_chain(rows)
        assert [row.body for row in rows] == [row.body for row in stored([str(number) for number in range(1, 31)])]


async def test_an_append_that_the_server_refuses_fails_loudly_and_no_other_with_it(admin: tuple[Store, Any]) -> None:
    store, connection = admin
    shard = await store.shards.new_shard(owner())
    await connection.execute(
        "create function full_disk() returns trigger language plpgsql as $$ begin raise 'no space left' using errcode = '53100'; end $$;"
        "create trigger full_disk before insert on events for each row when (new.execution_id = 8) execute function full_disk()"
    )
    first, second, third = await asyncio.gather(*(answer(store, append(id_, 1, shard)) for id_ in (7, 8, 9)))
    assert (first, third) == (None, None)
    assert type(second) is LogUnavailable, "it is there, and waiting does not help"
    assert "the disk of the server is full" in str(second)
    await connection.execute("drop trigger full_disk on events")
    assert await answer(store, append(8, 1, shard)) is None


async def test_who_takes_a_shard_waits_for_the_append_that_is_under_way(admin: tuple[Store, Any]) -> None:
    store, connection = admin
    shard = await store.shards.new_shard(owner())
    async with connection.transaction():
        await connection.execute("select pg_advisory_xact_lock_shared($1, $2)", 0x4E6F, shard.id)  # as an append holds it
        taking = asyncio.create_task(store.shards.release(shard))
        while not await connection.fetchval("select exists (select 1 from pg_locks where locktype = 'advisory' and not granted)"):
            await asyncio.sleep(0.005)
        assert await store.shards.is_ours(shard)
    await taking
    assert not await store.shards.is_ours(shard)


async def test_a_text_with_a_nul_is_kept_as_far_as_the_server_can(admin: tuple[Store, Any]) -> None:
    from noetl.store.log import RowChange

    store, _ = admin
    shard = await store.shards.new_shard(owner())
    await keep(store, append(7, 1, shard))
    assert await answer(store, append(7, 2, shard, change=RowChange(status="failed", error="a\0b"))) is None
    kept = await store.executions.execution(7)
    assert kept is not None
    assert kept.error == "a\\0b"


async def test_a_connection_that_is_cut_while_the_driver_is_busy_with_it_is_like_any_other(admin: tuple[Store, Any]) -> None:
    store, _ = admin
    with pytest.raises(StoreAway, match="torn"):
        async with store.members._database.connection():  # type: ignore[attr-defined]
            raise asyncpg.InternalClientError("torn")


async def test_a_heart_beats_on_when_its_connection_is_torn_and_may_be_stopped_after_its_end(admin: tuple[Store, Any]) -> None:
    store, _ = admin
    members: Any = store.members
    row = NodeRow(id="a", profile="p", roles=(), host="h", pid=1, version="1", format=1, started_at=AT)
    own, connect, lost = await members.join(row, 0.3), members._database.connect, asyncio.Event()
    torn: list[Torn] = []

    async def tears() -> Any:
        if len(torn) == 3:
            return await connect()
        torn.append(Torn())
        return torn[-1]

    members._database.connect = tears
    heart = members.heart(own, 0.3, lost.set)
    while len(torn) < 3 or not (await members.cluster()).members[0].is_alive:
        await asyncio.sleep(0.01)
    await members.leave(own)
    await lost.wait()
    heart._thread.join()
    heart.stop()


class Torn:
    """A connection that is cut while the driver is busy with it."""

    async def fetchval(self, *_: Any) -> Any:
        raise asyncpg.InternalClientError("torn")

    def terminate(self) -> None:
        """It is gone already."""


async def test_a_store_of_a_newer_version_is_opened_while_that_has_only_added_to_it(admin: tuple[Store, Any], postgres: Postgres) -> None:
    """Nodes of the version before go on, and may be started again, while a cluster is brought to a newer one."""
    _, connection = admin
    await connection.execute("update format set version = 99; alter table shards add column more int")
    dsn = postgres.dsn(await connection.fetchval("select current_database()"))
    store = await open_postgres(PostgresSettings(dsn=dsn), StoreSettings(), Path("unused"))
    await keep(store, append(1, 1, await store.shards.new_shard(owner())))
    await store.close()
    assert await connection.fetchval("select version from format") == 99


async def test_a_store_of_a_newer_version_is_refused(admin: tuple[Store, Any], postgres: Postgres) -> None:
    _, connection = admin
    await connection.execute("update format set version = 99, oldest = 98")
    dsn = postgres.dsn(await connection.fetchval("select current_database()"))
    with pytest.raises(StoreTooNew, match="format 99"):
        await open_postgres(PostgresSettings(dsn=dsn), StoreSettings(), Path("unused"))


async def test_a_schema_of_another_program_is_refused_and_not_touched(postgres: Postgres) -> None:
    dsn = postgres.dsn(await new_database(postgres))
    connection = await asyncpg.connect(dsn)
    await connection.execute("create schema noetl; create table noetl.theirs (x int)")
    with pytest.raises(LogUnavailable, match="belongs to another program"):
        await open_postgres(PostgresSettings(dsn=dsn), StoreSettings(), Path("unused"))
    assert [row[0] for row in await connection.fetch("select tablename from pg_tables where schemaname = 'noetl'")] == ["theirs"]
    await connection.close()


async def test_nodes_that_open_a_new_store_at_the_same_time_make_it_once(postgres: Postgres) -> None:
    settings = PostgresSettings(dsn=postgres.dsn(await new_database(postgres)))
    stores = await asyncio.gather(*(open_postgres(settings, StoreSettings(), Path("unused")) for _ in range(4)))
    shards = [await store.shards.new_shard(owner()) for store in stores]
    assert len({shard.id for shard in shards}) == 4
    for store in stores:
        await store.close()


async def test_a_server_that_can_not_be_reached_is_named_without_the_password() -> None:
    with pytest.raises(LogUnavailable) as caught:
        await open_postgres(PostgresSettings(dsn="postgresql://me:hunter22@127.0.0.1:1/db", start_timeout_s=0.01), StoreSettings(), Path("unused"))
    assert "me:***@127.0.0.1:1/db" in str(caught.value)
    assert "hunter22" not in str(caught.value)


async def test_a_wrong_password_is_refused_in_words(postgres: Postgres) -> None:
    with pytest.raises(LogUnavailable, match="the user or the password is wrong") as caught:
        await open_postgres(PostgresSettings(dsn=postgres.dsn(password="hunter22")), StoreSettings(), Path("unused"))
    assert "hunter22" not in str(caught.value)


async def test_logs_lie_in_the_partition_of_the_day_of_their_execution(admin: tuple[Store, Any]) -> None:
    from noetl.clock import SystemClock
    from noetl.ids import ExecutionIds

    store, connection = admin
    shard = await store.shards.new_shard(owner())
    today = ExecutionIds(SystemClock()).new()
    for id_ in (today, 7):
        await keep(store, append(id_, 1, shard))
    rows = await connection.fetch("select tableoid::regclass::text as part, execution_id from events")
    found = {row["execution_id"]: row["part"].removeprefix("noetl.") for row in rows}
    assert found[7] == "events_other"
    assert found[today].startswith("events_20")
