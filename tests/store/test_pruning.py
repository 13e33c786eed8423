"""What is deleted, and what is needed."""

from __future__ import annotations

import datetime as dt
import os
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

from noetl.blobs import blob_path, write_blob
from noetl.store.artifacts.disk import needed, sweep
from noetl.store.catalog import CatalogEntry
from noetl.store.log import InboxRow, LoopItem, RowChange, Snapshot
from noetl.store.store import Store
from noetl.values import Sealed, encode, handle_of
from tests.store.appends import AT, append, keep, owner, row

HOUR_S = 3600.0


def ended(at: dt.datetime = AT) -> dict[str, Any]:
    return {"change": RowChange(status="completed", ended_at=at)}


async def test_only_families_that_have_ended_before_are_deleted_with_all_their_rows(store: Store) -> None:
    shard = await store.shards.new_shard(owner())
    for net in ("n", "other"):
        await store.catalog.keep(CatalogEntry(net, "p", "source", b"net"))
    await keep(store, append(1, 1, shard, **ended(), items=(LoopItem(1, 0, b"x"),), inbox=(InboxRow(1, "cancel", b""),)))
    await keep(store, append(2, 1, shard, **ended(), children=(row(3, shard.id, root_id=2, parent_id=2),)))
    await keep(store, append(4, 1, shard))
    await keep(store, append(5, 1, shard, **ended(AT + dt.timedelta(days=1)), created=row(5, shard.id, net="other")))
    await store.snapshots.put_snapshot(1, Snapshot(1, 2, b"", "e", b""))
    assert await store.executions.prune(AT) == []
    assert await store.executions.prune(AT + dt.timedelta(seconds=1)) == [1]
    assert await store.log.read(1) == []
    assert await store.log.items(1, 1) == []
    assert await store.snapshots.snapshot(1) is None
    assert await store.inbox.waiting_for(1) == []
    assert [kept.id for kept in await store.executions.list_executions()] == [5, 4, 2]
    await keep(store, append(3, 1, shard, created=None, **ended()))
    assert await store.executions.prune(AT + dt.timedelta(seconds=1)) == [2, 3]
    assert (await store.catalog.by_hash("n"), await store.catalog.by_hash("other")) != (None, None)
    await store.executions.prune(AT + dt.timedelta(days=2))
    assert await store.catalog.by_hash("other") is None
    assert await store.catalog.by_hash("n") is not None, "4 goes on with it"


async def test_an_execution_in_quarantine_has_failed_and_ended(store: Store) -> None:
    shard = await store.shards.new_shard(owner())
    await keep(store, append(1, 1, shard))
    await store.executions.quarantine(1, "why")
    found = await store.executions.execution(1)
    assert found is not None
    assert (found.status, found.error, found.ended_at is not None) == ("failed", "quarantined: why", True)
    assert await store.executions.prune(dt.datetime.now(dt.UTC) + dt.timedelta(seconds=1)) == [1]


def artifact(root: Path, value: Any, age_s: float = 2 * HOUR_S) -> Any:
    """A value among the artifacts, written that long ago; its handle."""
    encoded = encode(value)
    content_hash = write_blob(root, encoded)
    old = time.time() - age_s
    os.utime(blob_path(root, content_hash), (old, old))
    return handle_of(value, encoded)


async def bodies(values: Iterable[Any]) -> AsyncIterator[bytes]:
    for value in values:
        yield encode(value)


async def left(root: Path, *values: Any) -> tuple[int, set[str]]:
    """How many are swept when these values are in the store, and the names of what is left."""
    swept = sweep(root, await needed(root, bodies(values)), HOUR_S)
    return swept, {path.name for path in root.glob("*/*")}


async def test_what_nobody_speaks_of_goes_when_it_is_old(tmp_path: Path) -> None:
    old, young = artifact(tmp_path, "old" * 100), artifact(tmp_path, "young" * 100, age_s=10)
    assert await left(tmp_path, {"a": 1}) == (1, {young.hash})
    assert old.hash != young.hash


async def test_a_handle_keeps_its_artifact_at_any_depth(tmp_path: Path) -> None:
    handle = artifact(tmp_path, "x" * 100)
    assert await left(tmp_path, {"a": [1, {"b": [handle]}]}) == (0, {handle.hash})


async def test_a_handle_inside_of_an_artifact_keeps_that_one_too(tmp_path: Path) -> None:
    inner = artifact(tmp_path, "inner" * 100)
    middle = artifact(tmp_path, {"rest": "y" * 1000, "inner": inner})
    outer = artifact(tmp_path, [middle])
    assert await left(tmp_path, {"a": outer}) == (0, {inner.hash, middle.hash, outer.hash})


async def test_a_reference_that_a_playbook_keeps_as_text_counts(tmp_path: Path) -> None:
    handle = artifact(tmp_path, "x" * 100)
    assert await left(tmp_path, f"see {handle.ref}0 and more") == (0, {handle.hash})


async def test_what_is_shown_of_a_sealed_value_counts(tmp_path: Path) -> None:
    handle = artifact(tmp_path, "x" * 100)
    assert await left(tmp_path, Sealed(f"{{'***': {handle!r}}}", b"cipher")) == (0, {handle.hash})


async def test_what_killed_writers_have_left_goes_when_it_is_old(tmp_path: Path) -> None:
    handle = artifact(tmp_path, "x" * 100)
    torn = blob_path(tmp_path, handle.hash).with_name(f".{handle.hash}.123.abcd")
    torn.write_bytes(b"half")
    assert await left(tmp_path, handle) == (0, {handle.hash, torn.name})
    os.utime(torn, (0, 0))
    assert await left(tmp_path, handle) == (1, {handle.hash})


async def test_one_that_is_written_again_while_the_sweep_goes_on_stays(tmp_path: Path) -> None:
    handle = artifact(tmp_path, "x" * 100)
    kept = await needed(tmp_path, bodies([]))
    write_blob(tmp_path, encode("x" * 100))
    assert sweep(tmp_path, kept, HOUR_S) == 0
    assert blob_path(tmp_path, handle.hash).exists()


async def test_every_table_with_values_is_looked_through(store: Store, tmp_path: Path) -> None:
    shard = await store.shards.new_shard(owner())
    handles = [artifact(tmp_path / "blobs", str(number) * 500) for number in range(4)]
    await keep(
        store, append(1, 1, shard, text=handles[0].ref, items=(LoopItem(1, 0, encode(handles[1])), *(LoopItem(2, n, b"\xc0") for n in range(1500))))
    )
    await store.inbox.put(InboxRow(1, "cancel", encode(handles[2])))
    await store.snapshots.put_snapshot(1, Snapshot(1, 2, b"", "e", encode(handles[3])))
    assert await needed(tmp_path / "blobs", store.log.bodies()) == {handle.hash for handle in handles}
    assert len([body async for body in store.log.bodies()]) == 1504


async def test_a_directory_that_is_not_there_has_no_artifacts(tmp_path: Path) -> None:
    assert await left(tmp_path / "none") == (0, set())
