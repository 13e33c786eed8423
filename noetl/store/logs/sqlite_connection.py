"""Connections to a SQLite store: opened only when the file is ours, and their errors in words for people."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Final

from noetl.blobs import make_directory
from noetl.errors import LogUnavailable, StoreError
from noetl.settings import StoreSettings
from noetl.store.logs.sqlite_schema import migrate, version_of

_WAIT_S: Final = 10.0
"""How long a read, or the opening, waits for another process."""

_WEIGHT: Final = 0.2
_FORGET: Final = 0.95

_HINTS: Final = {
    sqlite3.SQLITE_FULL: "the disk is full: make room, then resume",
    sqlite3.SQLITE_READONLY: "the file can't be written: check its permissions",
    sqlite3.SQLITE_CANTOPEN: "the file can't be opened: check that its directory exists and can be written",
    sqlite3.SQLITE_BUSY: "another process has been writing for too long",
    sqlite3.SQLITE_NOTADB: "the file is not a NoETL store",
    sqlite3.SQLITE_CORRUPT: "the file is damaged",
}


class Connection(sqlite3.Connection):
    """Knows its file, for messages, and how long commits take of late, as far as the loop made them itself. `path` is None in memory."""

    path: Path | None = None
    commit_s: float = 0.0

    def end_transaction(self, *, on_thread: bool = False) -> None:
        """Commit. A thread waits for the interpreter as much as for the disk: its time tells nothing, but slow times of the loop are forgotten."""
        started = time.perf_counter()
        self.execute("commit")
        if on_thread:
            self.commit_s *= _FORGET
        else:
            self.commit_s += (time.perf_counter() - started - self.commit_s) * _WEIGHT


def open_writing(path: Path | None, settings: StoreSettings) -> Connection:
    """Open the store, made when it is not there. A file is changed only when it is known to be ours.

    Raises:
        LogUnavailable: it can't be opened or written, or is no NoETL store.
        StoreTooNew: a newer NoETL wrote it.
    """
    try:
        if path is not None:
            make_directory(path.parent)
        connection = _connect(path)
    except sqlite3.Error as error:
        raise unavailable(error, path) from error
    except OSError as error:
        raise LogUnavailable(f"{path}: the store can't be made: {error.filename}: {error.strerror}") from error
    try:
        version_of(connection)
        connection.execute("pragma journal_mode = wal")
        connection.execute(f"pragma synchronous = {settings.durability}")
        migrate(connection)
        connection.execute("pragma busy_timeout = 0")
    except BaseException as error:
        connection.close()
        if isinstance(error, sqlite3.Error):
            raise unavailable(error, path) from error
        if isinstance(error, StoreError):
            raise type(error)(f"{path}: {error}") from error
        raise
    return connection


def open_reading(path: Path) -> Connection:
    """Raises `sqlite3.Error`."""
    connection = _connect(path)
    connection.execute("pragma query_only = on")
    return connection


def _connect(path: Path | None) -> Connection:
    connection = sqlite3.connect(
        ":memory:" if path is None else path,
        timeout=_WAIT_S,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=1024,
        factory=Connection,
    )
    connection.path = path
    return connection


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another process holds the file; it may be recovering it."""
    return _code(error) == sqlite3.SQLITE_BUSY


def unavailable(error: sqlite3.Error, path: Path | None) -> LogUnavailable:
    """What a person should read about SQLite's error."""
    hint = _HINTS.get(_code(error))
    place = "" if path is None else f"{path}: "
    return LogUnavailable(f"{place}{hint} ({error})" if hint else f"{place}{error}")


def _code(error: sqlite3.Error) -> int:
    """The primary code of an error, without its extension. 0 of those that Python raises itself."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
