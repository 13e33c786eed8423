"""The statements of an append. Runs inside the writer's transaction."""

from __future__ import annotations

import datetime as dt
import itertools
import sqlite3
from collections.abc import Sequence
from typing import Final

from noetl.errors import Fenced, StaleVersion, StoreError
from noetl.store.log import Append, ExecutionRow

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND: Final = dt.timedelta(microseconds=1)
_MAX_ROWS: Final = 500

_EVENT_COLUMNS: Final = "execution_id, version, first_seq, count, at, shard, body, hash"
_EVENT_VALUES: Final = "(?, ?, ?, ?, ?, ?, ?, ?)"


def to_micros(at: dt.datetime | None) -> int | None:
    return None if at is None else (at - _EPOCH) // _MICROSECOND


def from_micros(micros: int | None) -> dt.datetime | None:
    return None if micros is None else _EPOCH + dt.timedelta(microseconds=micros)


def insert_appends(connection: sqlite3.Connection, appends: Sequence[Append]) -> dict[int, StoreError]:
    """Insert what may be inserted; the error of each of the others, by position."""
    errors: dict[int, StoreError] = {}
    epochs = _epochs(connection, appends)
    shards = _shards(connection, appends)
    allowed: list[int] = []
    for position, append in enumerate(appends):
        if epochs.get(append.shard) != append.epoch:
            errors[position] = Fenced(f"shard {append.shard} was taken over: epoch {append.epoch} is over")
        elif shards.get(append.execution_id, append.shard) != append.shard:
            errors[position] = Fenced(f"execution {append.execution_id} is no longer in shard {append.shard}")
        else:
            allowed.append(position)
    inserted = _insert_events(connection, [appends[position] for position in allowed])
    for position in allowed:
        append = appends[position]
        if (append.execution_id, append.version) in inserted:
            _insert_rest(connection, append)
        else:
            errors[position] = StaleVersion(f"execution {append.execution_id} has a version {append.version} already")
    return errors


def _epochs(connection: sqlite3.Connection, appends: Sequence[Append]) -> dict[int, int]:
    shards = {append.shard for append in appends}
    marks = ", ".join("?" * len(shards))
    return dict(connection.execute(f"select id, epoch from shards where id in ({marks})", tuple(shards)))  # noqa: S608  question marks only


def _shards(connection: sqlite3.Connection, appends: Sequence[Append]) -> dict[int, int]:
    """Which shard each execution that has a row is in."""
    found: dict[int, int] = {}
    ids = [append.execution_id for append in appends if append.created is None]
    for start in range(0, len(ids), _MAX_ROWS):
        chunk = ids[start : start + _MAX_ROWS]
        marks = ", ".join("?" * len(chunk))
        found.update(connection.execute(f"select id, shard from executions where id in ({marks})", chunk))  # noqa: S608  question marks only
    return found


def _insert_events(connection: sqlite3.Connection, appends: Sequence[Append]) -> set[tuple[int, int]]:
    """The (execution, version) pairs that were free."""
    inserted: set[tuple[int, int]] = set()
    for start in range(0, len(appends), _MAX_ROWS):
        chunk = appends[start : start + _MAX_ROWS]
        rows = itertools.chain.from_iterable(
            (a.execution_id, a.version, a.first_seq, a.count, to_micros(a.at), a.shard, a.body, a.hash) for a in chunk
        )
        values = ", ".join([_EVENT_VALUES] * len(chunk))
        inserted.update(
            connection.execute(
                f"insert into events ({_EVENT_COLUMNS}) values {values} on conflict do nothing returning execution_id, version",  # noqa: S608  constants
                tuple(rows),
            ).fetchall()
        )
    return inserted


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
