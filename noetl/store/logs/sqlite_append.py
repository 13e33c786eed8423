"""The statements of an append. Runs inside the writer's transaction."""

from __future__ import annotations

import datetime as dt
import sqlite3
from collections.abc import Sequence, Set
from typing import Final, NamedTuple

from noetl.errors import Fenced, StaleVersion, StoreError
from noetl.store.log import Append, ExecutionRow

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND: Final = dt.timedelta(microseconds=1)
_MAX_ROWS: Final = 500

_EVENT_COLUMNS: Final = "execution_id, version, first_seq, count, at, shard, body, hash"


def to_micros(at: dt.datetime | None) -> int | None:
    return None if at is None else (at - _EPOCH) // _MICROSECOND


def from_micros(micros: int | None) -> dt.datetime | None:
    return None if micros is None else _EPOCH + dt.timedelta(microseconds=micros)


def insert_appends(connection: sqlite3.Connection, appends: Sequence[Append]) -> dict[int, StoreError]:
    """Insert what may be inserted, in order; the error of each of the others, by position."""
    epochs = _epochs(connection, {append.shard for append in appends})
    heads = _heads(connection, [append.execution_id for append in appends])
    errors: dict[int, StoreError] = {}
    accepted: list[Append] = []
    for position, append in enumerate(appends):
        head = heads.get(append.execution_id, Head(append.shard, 0))
        error = refusal(append, head, epochs.get(append.shard))
        if error is None:
            accepted.append(append)
            heads[append.execution_id] = Head(head.shard, append.version)
        else:
            errors[position] = error
    _insert_events(connection, accepted)
    for append in accepted:
        _insert_rest(connection, append)
    return errors


class Head(NamedTuple):
    """Where an execution's log stands: the shard that may go on with it, and its last version."""

    shard: int
    version: int


def refusal(append: Append, head: Head, epoch: int | None) -> StoreError | None:
    """Why an append can't be inserted, if so. `epoch` is its shard's."""
    if epoch != append.epoch:
        return Fenced(f"shard {append.shard} was taken over: epoch {append.epoch} is over")
    if head.shard != append.shard:
        return Fenced(f"execution {append.execution_id} is no longer in shard {append.shard}")
    if head.version != append.version - 1:
        return StaleVersion(f"execution {append.execution_id} is at version {head.version}: {append.version} is not the next")
    return None


def _epochs(connection: sqlite3.Connection, shards: Set[int]) -> dict[int, int]:
    marks = ", ".join("?" * len(shards))
    return dict(connection.execute(f"select id, epoch from shards where id in ({marks})", tuple(shards)))  # noqa: S608  question marks only


_HEAD: Final = "select id, shard, (select coalesce(max(version), 0) from events where execution_id = executions.id) from executions"


def _heads(connection: sqlite3.Connection, ids: Sequence[int]) -> dict[int, Head]:
    """Of each execution that has a row."""
    heads: dict[int, Head] = {}
    for start in range(0, len(ids), _MAX_ROWS):
        chunk = ids[start : start + _MAX_ROWS]
        marks = ", ".join("?" * len(chunk))
        rows = connection.execute(f"{_HEAD} where id in ({marks})", chunk)
        heads.update((id_, Head(shard, version)) for id_, shard, version in rows)
    return heads


def _insert_events(connection: sqlite3.Connection, appends: Sequence[Append]) -> None:
    connection.executemany(
        f"insert into events ({_EVENT_COLUMNS}) values (?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608  a constant
        [(a.execution_id, a.version, a.first_seq, a.count, to_micros(a.at), a.shard, a.body, a.hash) for a in appends],
    )


def _insert_rest(connection: sqlite3.Connection, append: Append) -> None:
    """What becomes true together with the events."""
    if append.created is not None:
        insert_rows(connection, (append.created,))
    if append.children:
        insert_rows(connection, append.children)
    if append.change is not None:
        change = append.change
        connection.execute(
            "update executions set status = ?, started_at = coalesce(?, started_at), ended_at = ?, wake_at = ?, error = ? where id = ?",
            (
                change.status,
                to_micros(change.started_at),
                to_micros(change.ended_at),
                to_micros(change.wake_at),
                change.error,
                append.execution_id,
            ),
        )
    if append.items:
        connection.executemany(
            "insert or replace into loop_items values (?, ?, ?, ?)", [(append.execution_id, item.run, item.index, item.body) for item in append.items]
        )
    if append.consumed:
        connection.executemany("delete from inbox where id = ?", [(id_,) for id_ in append.consumed])
    if append.inbox:
        connection.executemany(
            "insert into inbox (execution_id, kind, body) values (?, ?, ?)", [(row.execution_id, row.kind, row.body) for row in append.inbox]
        )


def insert_rows(connection: sqlite3.Connection, rows: Sequence[ExecutionRow]) -> None:
    connection.executemany(
        "insert into executions (id, root_id, parent_id, path, net, shard, status, requested_at, started_at, ended_at, wake_at, error)"
        " values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) on conflict do nothing",
        [
            (
                row.id,
                row.root_id,
                row.parent_id,
                row.path,
                row.net,
                row.shard,
                row.status,
                to_micros(row.requested_at),
                to_micros(row.started_at),
                to_micros(row.ended_at),
                to_micros(row.wake_at),
                row.error,
            )
            for row in rows
        ],
    )
