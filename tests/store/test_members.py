"""Nodes, leases and common shards: one suite over SQLite on a clock of the test, and PostgreSQL on its own."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from noetl.errors import Fenced
from noetl.settings import PostgresSettings, StoreSettings
from noetl.store.lease import Shard
from noetl.store.logs.postgres import open_postgres
from noetl.store.logs.sqlite import open_sqlite
from noetl.store.members import FIRST_PRIVATE, SHARDS, Incarnation, Members, NodeRow, PoolRow, shard_of
from noetl.store.store import Store
from tests.postgres import Postgres, new_database
from tests.store.appends import AT, answer, append, keep, owner

LEASE_S = 0.3


class Place:
    """A store, and how its time passes."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.now = 1_000_000_000_000_000

    @property
    def members(self) -> Members:
        return self.store.members

    async def passes(self, seconds: float) -> None:
        """On the store's clock."""
        self.now += int(seconds * 1_000_000)
        if not hasattr(self.store.members, "_now"):
            await asyncio.sleep(seconds)

    async def run_out(self, one: Incarnation, *others: Incarnation) -> None:
        """Until the lease of one has run out, while others renew theirs, and are steady."""
        while (await member_of(self, one)).is_alive:
            for other in others:
                await self.members.renew(other)
            await self.passes(LEASE_S / 5)
        for _ in range(6):
            for other in others:
                await self.members.renew(other)
            await self.passes(LEASE_S / 5)


@pytest.fixture(params=["sqlite", "postgres"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    if request.param == "postgres":
        postgres: Postgres = request.getfixturevalue("postgres")
        made = Place(await open_postgres(PostgresSettings(dsn=postgres.dsn(await new_database(postgres))), StoreSettings(), tmp_path))
    else:
        clock: list[Place] = []
        made = Place(await open_sqlite(None, tmp_path, StoreSettings(), now=lambda: clock[0].now))
        clock.append(made)
    yield made
    await made.store.close()


def node(name: str, newest: int = 2) -> NodeRow:
    return NodeRow(
        id=name,
        profile="server",
        roles=("shards",),
        host="host",
        pid=1,
        version="1",
        format=newest,
        started_at=AT,
        url="http://here",
        pools={"default": PoolRow(4, ("http",))},
        capabilities={"gpu": 1, "labels": {"zone": "a"}},
    )


async def joined(place: Place, name: str, newest: int = 2) -> Incarnation:
    return await place.members.join(node(name, newest), LEASE_S)


async def member_of(place: Place, incarnation: Incarnation):  # type: ignore[no-untyped-def]
    return next(member for member in (await place.members.cluster()).members if member.incarnation == incarnation)


async def owners(place: Place) -> set[Incarnation | None]:
    return {row.owner for row in (await place.members.cluster()).shards}


async def test_a_member_is_seen_as_it_has_said_it_is(place: Place) -> None:
    own = await joined(place, "a")
    member = await member_of(place, own)
    assert (member.node, member.draining, member.is_alive) == (node("a"), False, True)
    assert 0 < member.lease_left_s <= LEASE_S


async def test_there_are_as_many_common_shards_as_are_said_and_nobody_owns_them_at_first(place: Place) -> None:
    cluster = await place.members.cluster()
    assert [row.shard for row in cluster.shards] == [Shard(id_, 0) for id_ in range(1, SHARDS + 1)]
    assert await owners(place) == {None}
    assert (await place.store.shards.new_shard(owner())).id >= FIRST_PRIVATE


def test_new_executions_are_spread_over_the_shards() -> None:
    ids = [shard_of(132_271_571_444_341_746 + number) for number in range(6400)]
    counts = [ids.count(shard) for shard in range(1, SHARDS + 1)]
    assert min(counts) > 50
    assert max(counts) < 160


async def test_a_shard_has_one_owner_and_a_new_epoch_each_time(place: Place) -> None:
    a, b = await joined(place, "a"), await joined(place, "b")
    taken = await place.members.take((1, 2, 3), a)
    assert sorted(taken, key=lambda shard: shard.id) == [Shard(1, 1), Shard(2, 1), Shard(3, 1)]
    assert await place.members.take((2, 3, 4), b) == [Shard(4, 1)]
    await place.members.give_back((Shard(1, 1), Shard(4, 99)))
    assert await place.members.take((1, 4), b) == [Shard(1, 3)], "4 is b's already: what was not ours was not given back"


async def test_of_two_who_reach_for_one_shard_at_the_same_time_one_has_it(place: Place) -> None:
    a, b = await joined(place, "a"), await joined(place, "b")
    for shard in range(1, 9):
        got = await asyncio.gather(place.members.take((shard,), a), place.members.take((shard,), b))
        assert sorted(len(taken) for taken in got) == [0, 1]


async def test_who_is_alive_is_not_buried(place: Place) -> None:
    a, b = await joined(place, "a"), await joined(place, "b")
    await place.passes(LEASE_S * 0.9)
    await place.members.renew(b)
    await place.members.renew(a)
    assert not await place.members.bury(a, b)


async def test_a_node_whose_lease_has_run_out_is_buried_and_all_it_owned_is_nobodys(place: Place) -> None:
    a, b = await joined(place, "a"), await joined(place, "b")
    (shard,) = await place.members.take((5,), a)
    await keep(place.store, append(7, 1, shard))
    await place.run_out(a, b)
    assert await place.members.bury(a, b)
    assert await owners(place) == {None}
    with pytest.raises(Fenced):
        await place.members.renew(a)
    with pytest.raises(Fenced):
        await place.members.take((6,), a)
    assert isinstance(await answer(place.store, append(7, 2, shard)), Fenced)
    (again,) = await place.members.take((5,), b)
    assert await answer(place.store, append(7, 2, again)) is None


async def test_a_lease_that_has_run_out_may_be_renewed_until_somebody_has_buried_the_node(place: Place) -> None:
    a, b = await joined(place, "a"), await joined(place, "b")
    await place.run_out(a, b)
    await place.members.renew(a)
    assert (await member_of(place, a)).is_alive
    assert not await place.members.bury(a, b)


async def test_who_was_away_itself_buries_nobody_for_one_lease_time(place: Place) -> None:
    """As after an outage of the store: all leases have run out, and nobody is to blame."""
    a, b = await joined(place, "a"), await joined(place, "b")
    await place.run_out(a)
    await place.members.renew(b)
    assert not await place.members.bury(a, b), "b has just come back itself"
    for _ in range(8):
        await place.passes(LEASE_S / 5)
        await place.members.renew(b)
    assert await place.members.bury(a, b)


async def test_a_node_that_is_started_again_need_not_wait_for_its_old_life(place: Place) -> None:
    first = await joined(place, "a")
    await place.members.take((1,), first)
    second = await joined(place, "a")
    assert second.number > first.number
    assert [member.incarnation for member in (await place.members.cluster()).members] == [second]
    assert await owners(place) == {None}
    with pytest.raises(Fenced):
        await place.members.renew(first)


async def test_who_leaves_is_no_member_and_owns_nothing(place: Place) -> None:
    a = await joined(place, "a")
    await place.members.take((1,), a)
    await place.members.leave(a)
    await place.members.leave(a)
    assert (await place.members.cluster()).members == ()
    assert await owners(place) == {None}


async def formats(place: Place) -> dict[int, int]:
    """Of the first shards."""
    return {row.shard.id: row.format for row in (await place.members.cluster()).shards if row.shard.id <= 3}


async def test_a_shard_of_a_newer_format_is_not_taken_by_a_node_that_does_not_read_it(place: Place) -> None:
    new, old = await joined(place, "new", 3), await joined(place, "old", 2)
    taken = await place.members.take((1, 2, 3), new)
    await place.members.raise_format([shard for shard in taken if shard.id == 1], 3)
    await place.members.raise_format([shard for shard in taken if shard.id == 2], 2)
    assert await formats(place) == {1: 3, 2: 2, 3: 1}
    await place.members.give_back(taken)
    assert sorted(shard.id for shard in await place.members.take((1, 2, 3), old)) == [2, 3]
    assert [shard.id for shard in await place.members.take((1, 2, 3), new)] == [1]


async def test_a_format_is_raised_by_the_owner_alone_and_never_goes_back(place: Place) -> None:
    a, b = await joined(place, "a"), await joined(place, "b")
    lost = await place.members.take((1,), a)
    await place.members.give_back(lost)
    taken = await place.members.take((1, 2), b)
    await place.members.raise_format(lost, 9)
    await place.members.raise_format(taken, 2)
    await place.members.raise_format(taken, 1)
    assert await formats(place) == {1: 2, 2: 2, 3: 1}
    assert [await place.store.shards.format_of(shard) for shard in (1, 3, 99)] == [2, 1, 0]


async def test_a_node_may_be_asked_to_drain(place: Place) -> None:
    a = await joined(place, "a")
    assert await place.members.drain("a")
    assert (await member_of(place, a)).draining
    assert not await place.members.drain("nobody")


async def test_a_heart_keeps_the_lease_and_says_when_the_life_is_over(place: Place) -> None:
    a, lost = await joined(place, "a"), asyncio.Event()
    until = (await member_of(place, a)).lease_left_s
    heart = place.members.heart(a, LEASE_S, lost.set)
    for _ in range(6):
        await asyncio.sleep(LEASE_S / 3)
        assert (await member_of(place, a)).is_alive
    assert until <= LEASE_S
    assert heart.is_sure()
    await joined(place, "a")
    await lost.wait()
    assert not heart.is_sure()
    heart.stop()


async def test_a_heart_that_can_not_renew_is_not_sure_any_more_after_one_lease_time(place: Place) -> None:
    """Others may have buried the node by then, and have what it had."""
    a, members = await joined(place, "a"), place.members
    heart = members.heart(a, LEASE_S, lambda: None)
    while not heart.is_sure():
        await asyncio.sleep(0.001)
    heart.stop()
    await asyncio.sleep(LEASE_S)
    assert not heart.is_sure()


def test_a_members_row_is_read_by_a_newer_and_an_older_node() -> None:
    """Fields that it does not know are skipped; those that are missing have defaults."""
    import msgspec

    old = {
        "id": "a",
        "profile": "p",
        "roles": [],
        "host": "h",
        "pid": 1,
        "version": "0",
        "format": 1,
        "started_at": dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    }
    assert msgspec.convert({**old, "from_the_future": 1}, NodeRow).pools == {}
