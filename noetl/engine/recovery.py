"""An execution's state from its log."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Callable

import msgspec
from msgspec import Struct

from noetl.engine.evolve import FORMAT, fold
from noetl.engine.snapshot import unpack
from noetl.engine.state import State
from noetl.errors import LogCorrupt, NotFound, StoreError, StoreTooNew
from noetl.events import AnyEvent
from noetl.store.log import NO_HASH, ExecutionRow, StoredAppend, check_chain
from noetl.store.store import Store
from noetl.values import unpack_leaf

ExtHook = Callable[[int, memoryview], object]


class Folded(Struct, frozen=True):
    """The state, and where the log stands."""

    state: State
    row: ExecutionRow
    version: int
    next_seq: int
    hash: bytes
    at: dt.datetime | None
    """When the last append was made."""


async def folded(store: Store, execution_id: int, ext_hook: ExtHook = unpack_leaf) -> Folded:
    """Fold the log, from its snapshot if this code made one. `ext_hook` decides whether sealed values are opened.

    Raises:
        NotFound: there is no such execution.
        LogCorrupt: the log does not hold what was written, or what nobody can read.
        StoreTooNew: it holds events that only a newer NoETL reads. They are no damage: that one goes on with it.
    """
    row = await store.executions.execution(execution_id)
    if row is None:
        raise NotFound(f"there is no execution {execution_id} in this store")
    state, version, next_seq, last = State(execution_id=execution_id), 0, 1, NO_HASH
    at: dt.datetime | None = None
    snapshot = await store.snapshots.snapshot(execution_id)
    if snapshot is not None and snapshot.evolve == str(FORMAT) and (kept := unpack(snapshot.body, ext_hook)) is not None:
        state, version, next_seq, last = kept, snapshot.version, snapshot.next_seq, snapshot.hash
    rows = await store.log.read(execution_id, after=max(version - 1, 0))
    if version and rows:  # the append that the snapshot was made after says when that was
        at, rows = rows[0].at, rows[1:]
    check_chain(rows, last, version)
    decoder = _decoder(ext_hook)
    for stored in rows:
        try:
            events = decoder.decode(stored.body)
        except msgspec.MsgspecError as error:
            raise await _unreadable(store, row, stored, error) from error
        fold(state, events)
        version, next_seq, last, at = stored.version, stored.first_seq + len(events), stored.hash, stored.at
    return Folded(state, row, version, next_seq, last, at)


@functools.lru_cache(maxsize=8)
def _decoder(ext_hook: ExtHook) -> msgspec.msgpack.Decoder[tuple[AnyEvent, ...]]:
    """Making one costs more than a short log."""
    return msgspec.msgpack.Decoder(tuple[AnyEvent, ...], ext_hook=ext_hook)


async def _unreadable(store: Store, row: ExecutionRow, stored: StoredAppend, error: Exception) -> StoreError:
    newest = await store.shards.format_of(row.shard)
    if newest > FORMAT:
        return StoreTooNew(
            f"execution {row.id} is written in format {newest}, this NoETL reads formats up to {FORMAT}: use the newer NoETL that wrote it"
        )
    return LogCorrupt(f"execution {row.id}: the events of version {stored.version} can't be read: {error}")
