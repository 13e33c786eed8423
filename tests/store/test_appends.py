"""Appends: expected version, epoch, group commit."""

from __future__ import annotations

import asyncio
import datetime as dt
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from noetl.errors import Fenced, LogUnavailable, NotFound, Owned, StaleVersion, StoreError, StoreTooNew
from noetl.settings import StoreSettings
from noetl.store.lease import Shard
from noetl.store.log import Append, InboxRow, LoopItem, RowChange, check_chain
from noetl.store.logs.sqlite import open_sqlite
from noetl.store.projection import Waiting
from noetl.store.store import Store
from tests.store.appends import AT, answer, answers, append, keep, owner, row
from tests.store.conftest import OpenStore


async def shard_of(store: Store) -> Shard:
    return await store.shards.new_shard(owner())


async def test_an_append_is_read_back_as_it_was(store: Store) -> None:
    shard = await shard_of(store)
    first = append(7, 1, shard, text="one")
    await keep(store, first)
    await keep(store, append(7, 2, shard, text="two", previous=first.hash))
    rows = await store.log.read(7)
    check_chain(rows)
    assert [(r.version, r.first_seq, r.at, [event.message for event in r.events()]) for r in rows] == [(1, 1, AT, ["one"]), (2, 2, AT, ["two"])]  # type: ignore[union-attr]
    assert [r.version for r in await store.log.read(7, after=1)] == [2]
    assert [r.version for r in await store.log.read(7, upto=1)] == [1]


async def test_a_log_that_is_settled_shows_all_that_was_handed_over(store: Store) -> None:
    shard = await shard_of(store)
    answered: list[StoreError | None] = []
    first = append(7, 1, shard)
    store.log.append(first, answered.append)
    store.log.append(append(7, 2, shard, previous=first.hash), answered.append)
    await store.log.settle()
    assert answered == [None, None]
    assert len(await store.log.read(7)) == 2


@pytest.mark.parametrize("version", [1, 3])
async def test_a_version_that_is_not_the_next_is_stale(store: Store, version: int) -> None:
    shard = await shard_of(store)
    await keep(store, append(7, 1, shard))
    error = await answer(store, append(7, version, shard))
    assert isinstance(error, StaleVersion)
    assert str(error) == f"execution 7 is at version 1: {version} is not the next"
    assert len(await store.log.read(7)) == 1


async def test_of_two_appends_of_one_version_in_one_batch_the_first_wins(store: Store) -> None:
    shard = await shard_of(store)
    told = await answers(store, [append(7, 1, shard, text="first"), append(7, 1, shard, text="second"), append(8, 1, shard)])
    assert [type(error) for error in told] == [type(None), StaleVersion, type(None)]
    assert [event.message for event in (await store.log.read(7))[0].events()] == ["first"]  # type: ignore[union-attr]


async def test_what_follows_a_stale_append_in_its_batch_is_stale_too(store: Store) -> None:
    shard = await shard_of(store)
    await keep(store, append(7, 1, shard))
    told = await answers(store, [append(7, 1, shard), append(7, 3, shard), append(7, 2, shard), append(7, 3, shard)])
    assert [type(error) for error in told] == [StaleVersion, StaleVersion, type(None), type(None)]


async def test_an_append_under_an_old_epoch_is_fenced(store: Store) -> None:
    shard = await shard_of(store)
    await keep(store, append(7, 1, shard))
    await store.shards.release(shard)
    assert isinstance(await answer(store, append(7, 2, shard)), Fenced)
    assert not await store.shards.is_ours(shard)


async def test_an_execution_that_was_adopted_is_closed_to_its_old_shard_and_open_to_the_new(store: Store) -> None:
    old, new = await shard_of(store), await store.shards.new_shard(owner("there"))
    await keep(store, append(7, 1, old))
    await keep(store, append(8, 1, old, created=row(8, old.id, root_id=7, parent_id=7)))
    await store.shards.adopt(7, new, lambda _: False)
    assert [type(error) for error in await answers(store, [append(7, 2, old), append(8, 2, old)])] == [Fenced, Fenced]
    assert await answers(store, [append(7, 2, new), append(8, 2, new)]) == [None, None]
    assert await store.shards.owner_of(8) == owner("there")


async def test_what_a_live_process_owns_can_not_be_adopted_and_the_refusal_names_it(store: Store) -> None:
    old, new = await shard_of(store), await store.shards.new_shard(owner("there"))
    await keep(store, append(7, 1, old))
    with pytest.raises(Owned, match=r"execution 7 is running in here \(pid 1 on host\)") as caught:
        await store.shards.adopt(7, new, lambda owner: owner.node == "here")
    assert caught.value.owner == "here (pid 1 on host)"
    await keep(store, append(7, 2, old))
    with pytest.raises(NotFound):
        await store.shards.adopt(99, new, lambda _: False)


async def test_what_a_newer_version_has_written_is_not_adopted_by_an_older_one(store: Store) -> None:
    new, old = await store.shards.new_shard(owner(), 3), await store.shards.new_shard(owner(), 2)
    await keep(store, append(7, 1, new, created=row(7, new.id, origin="node")))
    with pytest.raises(StoreTooNew, match="a newer NoETL has gone on with execution 7"):
        await store.shards.adopt(7, old, lambda _: False)
    assert await store.shards.adopt_left(old, lambda _: False) == []
    assert await store.shards.is_ours(new)
    assert await store.shards.adopt_left(await store.shards.new_shard(owner(), 3), lambda _: False) == [7]


async def test_all_that_belongs_to_an_append_becomes_true_with_it(store: Store) -> None:
    shard = await shard_of(store)
    await keep(store, append(7, 1, shard, inbox=(InboxRow(7, "cancel", b"a"), InboxRow(7, "cancel", b"b"))))
    waiting = await store.inbox.waiting_for(7)
    assert [message.body for message in waiting] == [b"a", b"b"]
    assert await store.inbox.waiting((shard.id,)) == [Waiting(shard.id, 7)]
    change = RowChange(status="waiting", started_at=AT, wake_at=AT, error="e")
    second = append(
        7,
        2,
        shard,
        change=change,
        items=(LoopItem(1, 1, b"y"), LoopItem(1, 0, b"x")),
        consumed=(waiting[0].id,),
        children=(row(8, shard.id, root_id=7, parent_id=7),),
        inbox=(InboxRow(8, "start", b"c"),),
    )
    await keep(store, second)
    assert [message.body for id_ in (7, 8) for message in await store.inbox.waiting_for(id_)] == [b"b", b"c"]
    assert await store.inbox.waiting((shard.id, 999)) == [Waiting(shard.id, 7), Waiting(shard.id, 8)]
    assert await store.log.items(7, 1) == [(0, b"x"), (1, b"y")]
    assert [member.id for member in await store.executions.family(7)] == [7, 8]
    kept = await store.executions.execution(7)
    assert kept is not None
    assert (kept.status, kept.started_at, kept.wake_at, kept.error) == ("waiting", AT, AT, "e")
    assert await store.executions.due((shard.id,), AT) == [Waiting(shard.id, 7)]
    assert await store.executions.due((shard.id,), AT - dt.timedelta(seconds=1)) == []
    assert await store.executions.left_in(shard.id) == [8], "7 waits for its time"


async def test_a_refused_append_leaves_nothing_behind(store: Store) -> None:
    shard = await shard_of(store)
    await keep(store, append(7, 1, shard, inbox=(InboxRow(7, "cancel", b"a"),)))
    (message,) = await store.inbox.waiting_for(7)
    refused = append(
        7, 5, shard, consumed=(message.id,), items=(LoopItem(1, 0, b"x"),), children=(row(8, shard.id),), change=RowChange(status="failed")
    )
    assert isinstance(await answer(store, refused), StaleVersion)
    assert await store.inbox.waiting_for(7) == [message]
    assert await store.log.items(7, 1) == []
    assert await store.executions.execution(8) is None
    kept = await store.executions.execution(7)
    assert kept is not None
    assert kept.status == "pending"


KINDS = st.sampled_from(["good", "stale", "gap", "fenced", "twice"])


BATCHES = st.lists(st.tuples(st.integers(1, 5), KINDS), max_size=40)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(BATCHES, st.booleans())
async def test_every_append_of_a_random_batch_gets_its_own_answer(tmp_path: Path, batch: list[tuple[int, str]], in_memory: bool) -> None:
    store = await open_sqlite(None if in_memory else tmp_path / "random.db", tmp_path, StoreSettings(durability="normal"))
    try:
        await check_batch(store, batch)
    finally:
        await store.close()


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(BATCHES)
async def test_every_append_of_a_random_batch_gets_its_own_answer_from_a_server(open_server: OpenStore, batch: list[tuple[int, str]]) -> None:
    store = await open_server(StoreSettings(durability="normal"))
    await check_batch(store, batch)
    await store.close()


async def check_batch(store: Store, batch: list[tuple[int, str]]) -> None:
    """Against a model: the version that each execution has got to."""
    shard = await shard_of(store)
    base = shard.id * 10
    heads: dict[int, int] = {}
    made: list[Append] = []
    expected: list[type[StoreError] | None] = []
    for number, kind in batch:
        id_ = base + number
        head = heads.get(id_, 0)
        version = {"stale": head, "gap": head + 2}.get(kind, head + 1)
        one = append(id_, max(version, 1), shard, text=f"{id_}.{version}")
        if kind == "fenced":
            one = msgspec.structs.replace(one, epoch=shard.epoch + 1)
        is_good = kind in ("good", "twice") or (kind == "stale" and head == 0)
        made.append(one)
        expected.append(None if is_good else Fenced if kind == "fenced" else StaleVersion)
        if is_good:
            heads[id_] = max(version, 1)
        if kind == "twice":
            made.append(one)
            expected.append(StaleVersion)
    told = await answers(store, made)
    assert [None if error is None else type(error) for error in told] == expected
    for id_, head in heads.items():
        assert [stored.version for stored in await store.log.read(id_)] == list(range(1, head + 1))


async def test_what_was_handed_over_before_the_close_is_committed_and_what_comes_later_is_refused(open_shared: OpenStore) -> None:
    store = await open_shared()
    shard = await shard_of(store)
    told = [asyncio.ensure_future(answer(store, append(id_, 1, shard))) for id_ in range(1, 20)]
    await asyncio.sleep(0)
    await store.close()
    assert await asyncio.gather(*told) == [None] * 19
    error = await answer(store, append(99, 1, shard))
    assert isinstance(error, LogUnavailable)
    assert str(error) == "the store is closed"
    again = await open_shared()
    assert len(await again.executions.list_executions()) == 19


async def test_a_bug_in_one_write_is_its_own_and_the_writer_goes_on(open_store: OpenStore) -> None:
    store = await open_store()
    shard = await shard_of(store)

    def broken(connection: object) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await store.log._database.write(broken)  # type: ignore[attr-defined]
    await keep(store, append(7, 1, shard))
    assert len(await store.log.read(7)) == 1


async def test_an_execution_that_is_requested_twice_is_there_once_with_one_message(store: Store) -> None:
    for text in (b"first", b"second"):
        await store.executions.request(row(7, 3), InboxRow(7, "start", text))
    assert [(message.kind, message.body) for message in await store.inbox.waiting_for(7)] == [("start", b"first")]
    assert await store.inbox.waiting((3,)) == [Waiting(3, 7)]
    assert await store.executions.left_in(3) == [7]


async def test_who_reads_along_gets_each_append_of_a_shard_once_in_its_order(store: Store) -> None:
    one, other = await shard_of(store), await shard_of(store)
    await asyncio.gather(*(keep(store, append(id_, 1, one, text=str(id_))) for id_ in range(1, 8)), keep(store, append(9, 1, other)))
    first = await store.log.fed({one.id: 0}, 4)
    rest = await store.log.fed({one.id: first[-1].sequence})
    assert sorted(fed.execution_id for fed in (*first, *rest)) == list(range(1, 8))
    assert [fed.sequence for fed in (*first, *rest)] == sorted({fed.sequence for fed in (*first, *rest)})
    assert {(fed.shard, fed.path, fed.append.version) for fed in (*first, *rest)} == {(one.id, "p", 1)}
    assert [fed.shard for fed in await store.log.fed({one.id: rest[-1].sequence, other.id: 0})] == [other.id]


async def test_a_reader_goes_on_where_it_was_and_never_back(store: Store) -> None:
    await store.positions.keep_positions("bus", {1: 10, 2: 5})
    await store.positions.keep_positions("bus", {1: 7, 3: 1})
    assert await store.positions.positions("bus") == {1: 10, 2: 5, 3: 1}
    assert await store.positions.positions("other") == {}
