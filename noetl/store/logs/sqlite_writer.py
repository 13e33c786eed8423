"""The one writer of a SQLite store: appends that wait together become one transaction.

An append is committed when the loop has nothing else to do, so that those of all executions that are at work go together; but soon. On a quick disk
the loop commits itself, since two threads in one interpreter cost more than the wait; when the disk is slow, very many appends wait, or another
process holds the file, the writer thread does it while the loop goes on and gathers the next batch. There is no timer.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from noetl.errors import LogUnavailable
from noetl.store.log import Append, Done
from noetl.store.logs.sqlite_append import insert_appends
from noetl.store.logs.sqlite_connection import Connection, is_busy, unavailable

_QUICK_S: Final = 0.0005
"""A disk on which commits take longer is waited for by the writer thread, while the loop goes on and gathers the next batch."""
_INLINE_MOST: Final = 256
"""Appends that the loop commits itself."""
_GATHER_S: Final = 0.003
"""How long an append waits for others while the loop has work that may bring them."""
_LOCK_RETRY_S: Final = 0.002
_LOCK_RETRY_MAX_S: Final = 0.05

Outcome = Callable[[], None]
"""Tells one job's owner what became of it. Called on the loop."""


class AppendJob:
    __slots__ = ("append", "done")

    def __init__(self, append: Append, done: Done) -> None:
        self.append = append
        self.done = done

    def tell(self, error: Exception | None) -> Outcome:
        told: Any = error  # a StoreError, or a bug on its way to the owner, who crashes of it
        return lambda: self.done(told)


class WriteJob:
    __slots__ = ("function", "future")

    def __init__(self, function: Callable[[Connection], Any], future: asyncio.Future[Any]) -> None:
        self.function = function
        self.future = future

    def tell(self, error: Exception | None, result: Any = None) -> Outcome:
        def tell() -> None:
            if self.future.done():
                return
            if error is None:
                self.future.set_result(result)
            else:
                self.future.set_exception(error)

        return tell


Job = AppendJob | WriteJob


class Writer:
    """Owns the writing connection. All methods but `_work` run on the loop. In memory there is nothing to wait for, and no thread."""

    def __init__(self, connection: Connection, loop: asyncio.AbstractEventLoop, *, lock_wait_s: float, more: Callable[[], bool]) -> None:
        self._connection = connection
        self._loop = loop
        self._lock_wait_s = lock_wait_s
        self._more = more
        """Whether work is under way that may bring more appends."""
        self._since = 0.0
        """When the first of those that wait was handed over."""
        self._waiting: list[Job] = []
        self._armed = False
        self._busy = False
        self._closed: LogUnavailable | None = None
        self._batches: queue.SimpleQueue[list[Job] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._drained: asyncio.Future[None] | None = None

    def submit(self, job: Job) -> None:
        if self._closed is not None:
            self._answer([job.tell(self._closed)])
            return
        self._waiting.append(job)
        if not self._armed and not self._busy:
            self._since = time.perf_counter()
            self._arm()

    def _arm(self) -> None:
        self._armed = True
        self._loop.call_soon(self._flush)

    async def write(self, function: Callable[[Connection], Any]) -> Any:
        """Run `function` in a transaction of its own, in turn with the appends."""
        future = self._loop.create_future()
        self.submit(WriteJob(function, future))
        return await future

    async def settle(self) -> None:
        """Wait until what waits now is done."""
        if self._waiting or self._busy:
            await self.write(lambda connection: None)

    async def close(self) -> None:
        """Commit what waits; refuse what comes later."""
        if self._waiting or self._busy:
            self._drained = self._loop.create_future()
            await self._drained
        self._closed = LogUnavailable("the store is closed")
        if self._thread is not None:
            self._batches.put(None)
            await self._loop.run_in_executor(None, self._thread.join)
        self._connection.close()

    def _flush(self) -> None:
        self._armed = False
        if self._busy or not self._waiting:
            return
        if self._more() and len(self._waiting) < _INLINE_MOST and time.perf_counter() - self._since < _GATHER_S:
            self._arm()
            return
        jobs, self._waiting = self._waiting, []
        if self._connection.path is None:
            self._answer(commit(self._connection, jobs, wait_s=0.0))
        elif self._is_quick(jobs) and (outcomes := self._commit_inline(jobs)) is not None:
            self._answer(outcomes)
        else:
            self._hand_over(jobs)

    def _is_quick(self, jobs: list[Job]) -> bool:
        """Whether the loop may do it itself. Handing over costs more than a few milliseconds of waiting, for both threads want the interpreter."""
        return self._connection.commit_s < _QUICK_S and len(jobs) <= _INLINE_MOST and all(isinstance(job, AppendJob) for job in jobs)

    def _commit_inline(self, jobs: list[Job]) -> list[Outcome] | None:
        """None when another process is writing: waiting for it is not for the loop."""
        try:
            self._connection.execute("begin immediate")
        except sqlite3.OperationalError as error:
            if is_busy(error):
                return None
            return [job.tell(unavailable(error, self._connection.path)) for job in jobs]
        return _commit_begun(self._connection, jobs, on_thread=False)

    def _hand_over(self, jobs: list[Job]) -> None:
        self._busy = True
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="noetl-writer", daemon=True)
            self._thread.start()
        self._batches.put(jobs)

    def _work(self) -> None:
        while (jobs := self._batches.get()) is not None:
            outcomes = commit(self._connection, jobs, wait_s=self._lock_wait_s)
            self._loop.call_soon_threadsafe(self._committed, outcomes)

    def _committed(self, outcomes: list[Outcome]) -> None:
        self._busy = False
        self._answer(outcomes)
        if self._waiting and not self._armed:
            self._arm()

    def _answer(self, outcomes: list[Outcome]) -> None:
        for outcome in outcomes:
            outcome()
        if self._drained is not None and not self._waiting and not self._busy and not self._drained.done():
            self._drained.set_result(None)


def commit(connection: Connection, jobs: Sequence[Job], *, wait_s: float) -> list[Outcome]:
    """Carry jobs out in order: neighbouring appends in one transaction, any other job in its own. What each is to be told, in order."""
    outcomes: list[Outcome] = []
    for is_append, group in itertools.groupby(jobs, key=lambda job: isinstance(job, AppendJob)):
        together = list(group)
        for batch in [together] if is_append else [[job] for job in together]:
            outcomes += _transaction(connection, batch, wait_s)
    return outcomes


def _transaction(connection: Connection, jobs: list[Job], wait_s: float) -> list[Outcome]:
    try:
        _begin(connection, wait_s)
    except sqlite3.Error as error:
        return [job.tell(unavailable(error, connection.path)) for job in jobs]
    return _commit_begun(connection, jobs, on_thread=True)


def _begin(connection: Connection, wait_s: float) -> None:
    """Take the write lock. SQLite's own waiting backs off to 100 ms; this one stays eager, since holders are brief."""
    until = time.monotonic() + wait_s
    pause = _LOCK_RETRY_S
    while True:
        try:
            connection.execute("begin immediate")
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() >= until:
                raise
            time.sleep(pause)
            pause = min(pause * 1.5, _LOCK_RETRY_MAX_S)
        else:
            return


def _commit_begun(connection: Connection, jobs: list[Job], *, on_thread: bool) -> list[Outcome]:
    try:
        outcomes = _carry_out(connection, jobs)
        connection.end_transaction(on_thread=on_thread)
    except Exception as error:  # noqa: BLE001  whatever it is, it belongs to those who handed the jobs over
        _give_up(connection)
        told = unavailable(error, connection.path) if isinstance(error, sqlite3.Error) else error
        return [job.tell(told) for job in jobs]
    return outcomes


def _give_up(connection: Connection) -> None:
    if connection.in_transaction:
        with contextlib.suppress(sqlite3.Error):  # what was wrong is told already, and the next transaction will find out whether it still is
            connection.execute("rollback")


def _carry_out(connection: Connection, jobs: list[Job]) -> list[Outcome]:
    first = jobs[0]
    if isinstance(first, WriteJob):
        return [first.tell(None, first.function(connection))]
    appends = [job for job in jobs if isinstance(job, AppendJob)]
    errors = insert_appends(connection, [job.append for job in appends])
    return [job.tell(errors.get(position)) for position, job in enumerate(appends)]
