"""Short ways to make rows for these tests."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any

from noetl.errors import StoreError
from noetl.events import WarningRaised, encode_events
from noetl.store.lease import Owner, Shard
from noetl.store.log import NO_HASH, Append, ExecutionRow, StoredAppend, chain
from noetl.store.store import Store

AT = dt.datetime(2026, 11, 23, 20, 0, tzinfo=dt.UTC)


def owner(node: str = "here", pid: int = 1) -> Owner:
    return Owner(node=node, pid=pid, began="0", boot="boot", host="host")


def body(text: str = "news") -> bytes:
    return encode_events((WarningRaised(step="s", run=1, message=text),))


def row(id_: int, shard: int, **more: Any) -> ExecutionRow:
    return ExecutionRow(**({"id": id_, "path": "p", "net": "n", "shard": shard, "requested_at": AT, "root_id": id_} | more))


def append(id_: int, version: int, shard: Shard, *, text: str = "news", previous: bytes = NO_HASH, **more: Any) -> Append:
    """The first version makes the execution's row."""
    encoded = body(text)
    made: dict[str, Any] = {"created": row(id_, shard.id)} if version == 1 else {}
    return Append(
        execution_id=id_,
        version=version,
        first_seq=version,
        count=1,
        at=AT,
        body=encoded,
        hash=chain(previous, encoded),
        shard=shard.id,
        epoch=shard.epoch,
        **(made | more),
    )


async def answer(store: Store, made: Append) -> StoreError | None:
    """What the store says to an append."""
    return (await answers(store, [made]))[0]


async def answers(store: Store, made: list[Append]) -> list[StoreError | None]:
    """What it says to appends that are handed over together, in their order."""
    told: list[asyncio.Future[StoreError | None]] = [asyncio.get_running_loop().create_future() for _ in made]
    for one, future in zip(made, told, strict=True):
        store.log.append(one, future.set_result)
    return list(await asyncio.gather(*told))


async def keep(store: Store, made: Append) -> None:
    """An append that must succeed."""
    error = await answer(store, made)
    if error is not None:
        raise error


def stored(texts: list[str]) -> list[StoredAppend]:
    """A log of one event each, in its chain."""
    rows: list[StoredAppend] = []
    previous = NO_HASH
    for version, text in enumerate(texts, 1):
        encoded = body(text)
        previous = chain(previous, encoded)
        rows.append(StoredAppend(version, version, AT, encoded, previous))
    return rows
