"""Sealed credentials in the store: versions, removal, other keys, and who has opened them."""

from __future__ import annotations

import asyncio
import datetime as dt
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from noetl.store.credentials import Opening, Rewrapped, Sealing, StoredCredential
from noetl.store.logs.sqlite_schema import _V1, APPLICATION_ID, MIGRATIONS
from noetl.store.store import Store
from tests.store.conftest import OpenStore

AT = dt.datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=dt.UTC)


def made(name: str, **more: Any) -> Callable[[int], StoredCredential]:
    def make(version: int) -> StoredCredential:
        given = {"kind": "bearer", "sealing": Sealing(f"data {version}".encode(), b"wrapped", "old"), "fields": ("token",), "at": AT}
        return StoredCredential(name=name, version=version, **(given | more))

    return make


async def test_every_version_is_kept_and_the_newest_is_the_one(store: Store) -> None:
    first = await store.credentials.add("api", made("api", domains=("shop",), hosts=("a.example",), description="for äöü", by="joe"))
    later = AT + dt.timedelta(days=1)
    second = await store.credentials.add("api", made("api", at=later))
    assert (first.latest.version, first.created_at) == (1, AT)
    assert (second.latest.version, second.created_at) == (2, AT)
    assert await store.credentials.latest("api") == second
    assert await store.credentials.versions("api") == [first.latest, second.latest]
    assert await store.credentials.latest("none") is None


async def test_each_credential_is_listed_once_by_name(store: Store) -> None:
    for name in ("b", "a", "b"):
        await store.credentials.add(name, made(name))
    assert [(found.latest.name, found.latest.version) for found in await store.credentials.list_latest()] == [("a", 1), ("b", 2)]


async def test_a_removal_leaves_nothing_to_open_and_no_number_is_used_again(store: Store) -> None:
    await store.credentials.add("api", made("api"))
    assert await store.credentials.remove("api", AT, "joe")
    assert not await store.credentials.remove("api", AT, "joe"), "it is gone already"
    assert await store.credentials.latest("api") is None
    assert await store.credentials.versions("api") == []
    assert await store.credentials.list_latest() == []
    again = await store.credentials.add("api", made("api", at=AT + dt.timedelta(days=2)))
    assert (again.latest.version, again.created_at) == (3, AT + dt.timedelta(days=2))


async def test_a_removal_says_who_did_it(open_store: OpenStore, tmp_path: Path) -> None:
    store = await open_store()
    await store.credentials.add("api", made("api"))
    await store.credentials.remove("api", AT, "joe")
    connection = sqlite3.connect(tmp_path / "noetl.db")
    assert connection.execute("select version, sealed, data_key, by from credentials").fetchall() == [(2, None, None, "joe")]
    connection.close()


async def test_two_who_add_at_the_same_time_get_two_versions(open_shared: OpenStore) -> None:
    stores = [await open_shared(), await open_shared()]
    added = await asyncio.gather(*(stores[number % 2].credentials.add("api", made("api")) for number in range(10)))
    assert sorted(found.latest.version for found in added) == list(range(1, 11))


async def test_an_opening_is_recorded_newest_first_and_stays_when_the_credential_is_gone(store: Store) -> None:
    await store.credentials.add("api", made("api"))
    openings = [Opening("api", 1, 2**62, step, AT) for step in ("first", "second")]
    for opening in openings:
        await store.credentials.record(opening)
    await store.credentials.remove("api", AT, "joe")
    assert await store.credentials.openings("api") == openings[::-1]
    assert await store.credentials.openings("api", limit=1) == openings[1:]
    assert await store.credentials.openings("other") == []


async def test_a_data_key_is_replaced_only_under_the_key_that_was_seen(store: Store) -> None:
    await store.credentials.add("api", made("api"))
    await store.credentials.add("db", made("db"))
    assert [found.name for found in await store.credentials.not_under("new")] == ["api", "db"]
    await store.credentials.rewrap([Rewrapped("api", 1, "old", b"wrapped anew", "new"), Rewrapped("db", 1, "another", b"never", "new")])
    (left,) = await store.credentials.not_under("new")
    assert left.name == "db"
    (changed,) = await store.credentials.versions("api")
    assert changed.sealing == Sealing(b"data 1", b"wrapped anew", "new")


async def test_a_store_of_format_1_is_brought_up_to_date_and_keeps_what_it_has(open_store: OpenStore, tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "noetl.db")
    connection.executescript(_V1)
    connection.execute("insert into catalog values ('h', 'a/b', null, 'text', x'00')")
    connection.execute("pragma user_version = 1")
    connection.execute(f"pragma application_id = {APPLICATION_ID}")
    connection.commit()
    connection.close()
    store = await open_store()
    assert (await store.catalog.by_hash("h")) is not None
    await store.credentials.add("api", made("api"))
    assert len(await store.credentials.list_latest()) == 1
    connection = sqlite3.connect(tmp_path / "noetl.db")
    assert connection.execute("pragma user_version").fetchone() == (len(MIGRATIONS),)
    connection.close()
