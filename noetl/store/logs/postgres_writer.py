"""The one writer of a node's appends to PostgreSQL: those that wait while a transaction is under way go together in the next.

What was handed over is never withdrawn. When the connection is lost, nobody knows whether the transaction was committed: the writer connects again,
for as long as it takes, and reads the version. Our hash there means that it was.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

import asyncpg
import msgspec

from noetl.errors import Fenced, LogUnavailable, StaleVersion, StoreError
from noetl.store.log import Append, Done, ExecutionRow
from noetl.store.logs.postgres_database import Database, is_lost, may_go_again, unavailable

_MOST: Final = 512
"""Appends in one transaction."""
_PAUSE_S: Final = 0.05
_PAUSE_MAX_S: Final = 1.0
_CALL: Final = "select * from append($1::new_append[], $2::new_execution[], $3::row_change[], $4::new_item[], $5::taken_in[], $6::new_message[])"
_WRITTEN: Final = (
    "select execution_id, version, hash from events join unnest($1::bigint[], $2::int[]) as wanted (id, number)"
    " on execution_id = wanted.id and version = wanted.number"
)

Job = tuple[Append, Done]


class Writer:
    """Owns one connection and the task that uses it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: deque[Job] = deque()
        self._bell = asyncio.Event()
        self._settled: list[asyncio.Future[None]] = []
        self._connection: Any = None
        self._busy = False
        self._closed = False
        self._task = asyncio.get_running_loop().create_task(self._work())

    def submit(self, append: Append, done: Done) -> None:
        if self._closed:
            done(LogUnavailable("the store is closed"))
            return
        self._waiting.append((append, done))
        self._bell.set()

    async def settle(self) -> None:
        """Wait until what waits now is in the log, or refused."""
        if self._waiting or self._busy:
            settled = asyncio.get_running_loop().create_future()
            self._settled.append(settled)
            await settled

    async def close(self) -> None:
        """Commit what waits, if the server is there; refuse what comes later."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._database.settings.connect_timeout_s):
                await self.settle()
        self._closed = True
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        for _, done in self._waiting:
            done(LogUnavailable("the store is closed"))
        await self._disconnect()

    async def _work(self) -> None:
        while True:
            await self._bell.wait()
            self._bell.clear()
            while self._waiting:
                self._busy = True
                await self._commit(self._next_batch())
                self._busy = False
            settled, self._settled = self._settled, []
            for future in settled:
                if not future.done():
                    future.set_result(None)

    def _next_batch(self) -> list[Job]:
        """One append of each execution at most: the next one is judged by what the first has made."""
        batch: list[Job] = []
        later: list[Job] = []
        seen: set[int] = set()
        while self._waiting and len(batch) < _MOST:
            job = self._waiting.popleft()
            if job[0].execution_id in seen:
                later.append(job)
            else:
                seen.add(job[0].execution_id)
                batch.append(job)
        self._waiting.extendleft(reversed(later))
        return batch

    async def _commit(self, batch: list[Job]) -> None:
        """Until all of it is answered."""
        pause_s, in_doubt = _PAUSE_S, False
        while batch:
            try:
                batch = await self._try(batch, in_doubt=in_doubt)
            except Exception as error:  # noqa: BLE001  also a value that can't be sent: whose it is finds out one by one
                if is_lost(error):
                    await self._disconnect()
                elif not (may_go_again(error) or (in_doubt and isinstance(error, asyncpg.UniqueViolationError))):
                    await self._answer_broken(batch, error)
                    return
                in_doubt = True
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, _PAUSE_MAX_S)

    async def _try(self, batch: list[Job], *, in_doubt: bool) -> list[Job]:
        """One transaction; nothing is left to do after it. `in_doubt`: it may have been committed already, or may be at any moment."""
        if self._connection is None:
            self._connection = await self._database.connect()
        if in_doubt:
            batch = await self._not_written(batch)
        appends = [append for append, _ in batch]
        errors = refusals(appends, await self._connection.fetch(_CALL, *arguments(appends))) if batch else {}
        stale = [batch[position] for position, error in errors.items() if in_doubt and isinstance(error, StaleVersion)]
        left = await self._not_written(stale) if stale else []
        _answer([(job, errors.get(position)) for position, job in enumerate(batch) if job not in stale or job in left])
        return []

    async def _not_written(self, batch: list[Job]) -> list[Job]:
        """Tell those whose append is there, under its hash; the others."""
        appends = [append for append, _ in batch]
        rows = await self._connection.fetch(_WRITTEN, [append.execution_id for append in appends], [append.version for append in appends])
        hashes = {(row["execution_id"], row["version"]): row["hash"] for row in rows}
        left: list[Job] = []
        for append, done in batch:
            if hashes.get((append.execution_id, append.version)) == append.hash:
                done(None)
            else:
                left.append((append, done))
        return left

    async def _answer_broken(self, batch: list[Job], error: Exception) -> None:
        """The transaction was rolled back. One append may be to blame: the others must not suffer."""
        if len(batch) > 1:
            for job in batch:
                await self._commit([job])
            return
        ((_, done),) = batch
        told: Any = unavailable(error, self._database.settings) if isinstance(error, asyncpg.PostgresError) else error
        done(told)

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()


def _answer(answers: list[tuple[Job, StoreError | None]]) -> None:
    for (_, done), error in answers:
        done(error)


def refusals(appends: Sequence[Append], rows: Sequence[Any]) -> dict[int, StoreError]:
    """Why appends were refused, by their place."""
    return {row["pos"] - 1: _refusal(appends[row["pos"] - 1], row["now_epoch"], row["home"], row["head"]) for row in rows}


def _refusal(append: Append, epoch: int | None, home: int, head: int) -> StoreError:
    if epoch != append.epoch:
        return Fenced(f"shard {append.shard} was taken over: epoch {append.epoch} is over")
    if home != append.shard:
        return Fenced(f"execution {append.execution_id} is no longer in shard {append.shard}")
    return StaleVersion(f"execution {append.execution_id} is at version {head}: {append.version} is not the next")


def arguments(appends: Sequence[Append]) -> tuple[list[Any], ...]:
    """Those of the function `append`. What belongs to an append names its place, from 1."""
    given, created, changes, items, consumed, messages = [], [], [], [], [], []
    for pos, append in enumerate(appends, 1):
        given.append(
            (
                append.execution_id,
                append.version,
                append.first_seq,
                append.count,
                append.at,
                append.shard,
                append.epoch,
                append.body,
                append.hash,
            )
        )
        created += [(pos, *row_values(row)) for row in (*_own_row(append), *append.children)]
        if append.change is not None and append.created is None:
            change = append.change
            changes.append((pos, change.status, change.started_at, change.ended_at, change.wake_at, text(change.error)))
        items += [(pos, item.run, item.index, item.body) for item in append.items]
        consumed += [(pos, id_) for id_ in append.consumed]
        messages += [(pos, row.execution_id, row.kind, row.body) for row in append.inbox]
    return given, created, changes, items, consumed, messages


def _own_row(append: Append) -> tuple[ExecutionRow, ...]:
    """With its change in it: one statement does not see the row that another one of the same call makes."""
    if append.created is None or append.change is None:
        return () if append.created is None else (append.created,)
    return (msgspec.structs.replace(append.created, **msgspec.structs.asdict(append.change)),)


def row_values(row: ExecutionRow) -> tuple[Any, ...]:
    """In the order of the table's columns; labels as JSON text, since a row in a row of values takes no codec of ours."""
    return (
        row.id,
        row.root_id,
        row.parent_id,
        row.path,
        row.net,
        row.shard,
        row.status,
        row.requested_at,
        row.started_at,
        row.ended_at,
        row.wake_at,
        text(row.error),
        row.version,
        msgspec.json.encode(row.labels).decode(),
        row.requested_by,
        row.origin,
    )


def text(value: str | None) -> str | None:
    """PostgreSQL has no NUL in texts."""
    return None if value is None else value.replace("\0", "\\0")
