"""The statements of an append. Runs inside the writer's transaction."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import sqlite3
from collections.abc import Sequence, Set
from typing import Any, Final, NamedTuple

from noetl.errors import Fenced, StaleVersion, StoreError
from noetl.store.log import Append, ExecutionRow, RowChange

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND: Final = dt.timedelta(microseconds=1)
_MAX_ROWS: Final = 256


def to_micros(at: dt.datetime | None) -> int | None:
    return None if at is None else (at - _EPOCH) // _MICROSECOND


def from_micros(micros: int | None) -> dt.datetime | None:
    return None if micros is None else _EPOCH + dt.timedelta(microseconds=micros)


def at_micros(micros: int) -> dt.datetime:
    return _EPOCH + dt.timedelta(microseconds=micros)


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
    _insert_rest(connection, accepted)
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
    rows = [(a.execution_id, a.version, a.first_seq, a.count, to_micros(a.at), a.shard, a.body, a.hash) for a in appends]
    _many(connection, "insert into events (execution_id, version, first_seq, count, at, shard, body, hash) values {}", rows)


def _insert_rest(connection: sqlite3.Connection, appends: Sequence[Append]) -> None:
    """What becomes true together with the events."""
    insert_rows(connection, [row for append in appends for row in (*((append.created,) if append.created is not None else ()), *append.children)])
    changes = {append.execution_id: append.change for append in appends if append.change is not None}
    _many(connection, _CHANGE, [(id_, *_change_values(change)) for id_, change in changes.items()])
    items = [(append.execution_id, item.run, item.index, item.body) for append in appends for item in append.items]
    _many(connection, "insert or replace into loop_items values {}", items)
    _many(connection, "delete from inbox where id in (values {})", [(id_,) for append in appends for id_ in append.consumed])
    messages = [(row.execution_id, row.kind, row.body) for append in appends for row in append.inbox]
    _many(connection, "insert into inbox (execution_id, kind, body) values {}", messages)


_CHANGE: Final = (
    "with changed (id, status, started_at, ended_at, wake_at, error) as (values {}) update executions set status = changed.status,"
    " started_at = coalesce(changed.started_at, executions.started_at), ended_at = changed.ended_at, wake_at = changed.wake_at, error = changed.error"
    " from changed where executions.id = changed.id"
)


def _change_values(change: RowChange) -> tuple[Any, ...]:
    return change.status, to_micros(change.started_at), to_micros(change.ended_at), to_micros(change.wake_at), change.error


_NEW_ROW: Final = (
    "insert into executions (id, root_id, parent_id, path, net, shard, status, requested_at, started_at, ended_at, wake_at, error,"
    " version, labels, requested_by, origin) values {}"
    " on conflict do nothing"
)


def insert_rows(connection: sqlite3.Connection, rows: Sequence[ExecutionRow]) -> int:
    """Insert the rows of executions that are not there yet; how many they were."""
    before = connection.total_changes
    values = [
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
            row.version,
            json.dumps(row.labels) if row.labels else "{}",
            row.requested_by,
            row.origin,
        )
        for row in rows
    ]
    _many(connection, _NEW_ROW, values)
    return connection.total_changes - before


def _many(connection: sqlite3.Connection, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Run a statement over all rows, many at a time: each step of a statement gives the interpreter away and has to get it back.

    Rows go in powers of two, so that there are few statements to prepare.
    """
    start = 0
    while start < len(rows):
        size = min(_MAX_ROWS, 1 << (len(rows) - start).bit_length() - 1)
        chunk = rows[start : start + size]
        marks = ", ".join([f"({', '.join('?' * len(chunk[0]))})"] * size)
        connection.execute(statement.format(marks), tuple(itertools.chain.from_iterable(chunk)))
        start += size
