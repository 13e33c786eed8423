"""The connections to one SQLite store: one that writes, and one that reads."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from noetl.settings import StoreSettings
from noetl.store.logs.sqlite_connection import Connection, is_busy, open_reading, open_writing, unavailable
from noetl.store.logs.sqlite_writer import Writer

T = TypeVar("T")


class Database:
    """Long reads have a thread and a connection of their own. In memory there is one connection."""

    def __init__(self, path: Path | None, settings: StoreSettings, more: Callable[[], bool]) -> None:
        writing = open_writing(path, settings)
        self.writer = Writer(writing, asyncio.get_running_loop(), lock_wait_s=settings.lock_wait_s, more=more)
        self._path = path
        self._reading = writing if path is None else None
        self._looking = self._reading
        self._reader: ThreadPoolExecutor | None = None

    async def read(self, function: Callable[[Connection], T]) -> T:
        try:
            if self._path is None:
                return self._read(function)
            if self._reader is None:
                self._reader = ThreadPoolExecutor(1, thread_name_prefix="noetl-reader")
            return await asyncio.get_running_loop().run_in_executor(self._reader, self._read, function)
        except sqlite3.Error as error:
            raise unavailable(error, self._path) from error

    async def look(self, function: Callable[[Connection], T]) -> T:
        """As `read`, on the loop itself: for what is found by its key and is over in microseconds, when a thread would cost many times that.

        A reader never waits for a writer. Where something else holds the file, the thread waits for it. Raises `LogUnavailable`.
        """
        try:
            if self._looking is None:
                assert self._path is not None
                self._looking = open_reading(self._path)
                self._looking.execute("pragma busy_timeout = 0")
            return function(self._looking)
        except sqlite3.Error as error:
            if self._path is not None and is_busy(error):
                return await self.read(function)
            raise unavailable(error, self._path) from error

    async def write(self, function: Callable[[Connection], Any]) -> Any:
        return await self.writer.write(function)

    async def close(self) -> None:
        await self.writer.close()
        if self._reader is not None:
            self._reader.shutdown(wait=True)
        for connection in (self._reading, self._looking):
            if self._path is not None and connection is not None:
                connection.close()

    def _read(self, function: Callable[[Connection], T]) -> T:
        if self._reading is None:
            assert self._path is not None
            self._reading = open_reading(self._path)
        return function(self._reading)
