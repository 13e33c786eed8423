"""Logs of a newer format than this code reads."""

from __future__ import annotations

import msgspec
import pytest

from noetl.engine.evolve import FORMAT
from noetl.engine.recovery import folded
from noetl.errors import LogCorrupt, StoreTooNew
from noetl.store.log import NO_HASH, chain
from noetl.store.store import Store
from tests.store.appends import append, keep, owner

FROM_THE_FUTURE = msgspec.msgpack.encode([{"event": "StepTeleported", "step": "last", "run": 3}])


async def begun(store: Store, newest: int) -> int:
    """An execution whose only event nobody knows here, in a shard of that format."""
    made = append(7, 1, await store.shards.new_shard(owner(), newest))
    await keep(store, msgspec.structs.replace(made, body=FROM_THE_FUTURE, hash=chain(NO_HASH, FROM_THE_FUTURE)))
    return 7


async def test_an_unknown_event_in_a_log_of_a_newer_format_is_no_damage(store: Store) -> None:
    with pytest.raises(StoreTooNew, match=f"execution 7 is written in format {FORMAT + 1}, this NoETL reads formats up to {FORMAT}"):
        await folded(store, await begun(store, FORMAT + 1))


async def test_an_unknown_event_in_a_log_of_a_known_format_is_damage(store: Store) -> None:
    with pytest.raises(LogCorrupt, match="the events of version 1 can't be read"):
        await folded(store, await begun(store, FORMAT))
