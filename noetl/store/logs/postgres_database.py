"""Connections to a PostgreSQL store, and its errors in words for people."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncIterator
from typing import Any, Final

import asyncpg
import msgspec

from noetl.errors import LogUnavailable, StoreAway
from noetl.settings import PostgresSettings
from noetl.store.logs.postgres_schema import SCHEMA

_log: Final = logging.getLogger("noetl.store")
logging.getLogger("asyncpg").setLevel(logging.CRITICAL)  # its pool prints a traceback for each vain try; who waits says so in a line
_ACQUIRE_S: Final = 5.0
_PAUSE_S: Final = 0.2
_PASSWORD: Final = re.compile(r"(?<=://)([^:/@]*):[^@]*@")
_LOST: Final = ("08", "57P", "53300", "25006")
"""SQLSTATEs of a server that is away, or soon will be: it is asked again."""
_AGAIN: Final = ("40",)
"""Of a transaction that had bad luck."""
_HINTS: Final = {"53100": "the disk of the server is full", "42501": "the user may not do this", "28": "the user or the password is wrong"}

Lost = (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError, TimeoutError)
"""What the driver raises when a connection is cut; `InternalClientError` when it was in the midst of something."""


class Database:
    """A small pool. Every statement runs in the store's schema."""

    def __init__(self, settings: PostgresSettings, *, durable: bool) -> None:
        assert settings.dsn is not None
        self.settings = settings
        self._options = {
            "search_path": SCHEMA,
            "application_name": "noetl",
            "timezone": "UTC",
            "jit": "off",
            "synchronous_commit": "on" if durable else "off",
        }
        self._pool: Any = None

    async def open(self) -> None:
        """Raises `LogUnavailable` when it can't be reached for too long, or refuses."""
        until = asyncio.get_running_loop().time() + self.settings.start_timeout_s
        while True:
            try:
                await self._open()
            except (*Lost, asyncpg.PostgresError, ValueError) as error:
                if not is_lost(error) or asyncio.get_running_loop().time() > until:
                    raise unavailable(error, self.settings) from error
                _log.info("waiting for PostgreSQL: %s", error)
                await asyncio.sleep(_PAUSE_S)
            else:
                return

    async def _open(self) -> None:
        self._pool = await asyncpg.create_pool(
            self.settings.dsn,
            min_size=1,
            max_size=self.settings.pool_max,
            timeout=self.settings.connect_timeout_s,
            command_timeout=self.settings.statement_timeout_s,
            server_settings=self._options,
            init=_prepare,
        )

    async def connect(self) -> Any:
        """A connection of the caller's own. Raises what the driver raises."""
        settings = self.settings
        connection = await asyncpg.connect(
            settings.dsn, timeout=settings.connect_timeout_s, command_timeout=self.settings.statement_timeout_s, server_settings=self._options
        )
        await _prepare(connection)
        return connection

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """Raises `LogUnavailable` when the server can't be reached, or refuses."""
        try:
            async with self._pool.acquire(timeout=_ACQUIRE_S) as connection:
                yield connection
        except (*Lost, asyncpg.PostgresError) as error:
            raise unavailable(error, self.settings) from error

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        async with self.connection() as connection, connection.transaction():
            yield connection

    async def fetch(self, statement: str, *values: Any) -> list[Any]:
        async with self.connection() as connection:
            rows: list[Any] = await connection.fetch(statement, *values)
            return rows

    async def row(self, statement: str, *values: Any) -> Any:
        """The first row, or None."""
        async with self.connection() as connection:
            return await connection.fetchrow(statement, *values)

    async def value(self, statement: str, *values: Any) -> Any:
        """The first column of the first row, or None."""
        async with self.connection() as connection:
            return await connection.fetchval(statement, *values)

    async def execute(self, statement: str, *values: Any) -> None:
        async with self.connection() as connection:
            await connection.execute(statement, *values)

    async def execute_many(self, statement: str, rows: list[tuple[Any, ...]]) -> None:
        """All or none."""
        async with self.connection() as connection:
            await connection.executemany(statement, rows)

    async def close(self) -> None:
        if self._pool is not None:
            try:
                async with asyncio.timeout(_ACQUIRE_S):
                    await self._pool.close()
            except TimeoutError:
                self._pool.terminate()


async def _prepare(connection: Any) -> None:
    await connection.set_type_codec(
        "jsonb", encoder=lambda value: msgspec.json.encode(value).decode(), decoder=msgspec.json.decode, schema="pg_catalog"
    )


def is_lost(error: BaseException) -> bool:
    """Whether the connection, or the server, is away: nobody knows what became of the transaction."""
    is_closed = type(error) is asyncpg.InterfaceError  # its subclasses are about what was asked for
    return (
        is_closed
        or isinstance(error, (OSError, TimeoutError, asyncpg.InternalClientError))
        or str(getattr(error, "sqlstate", None) or "").startswith(_LOST)
    )


def may_go_again(error: BaseException) -> bool:
    """Whether the transaction was rolled back for no fault of its own."""
    return str(getattr(error, "sqlstate", None) or "").startswith(_AGAIN)


def unavailable(error: BaseException, settings: PostgresSettings) -> LogUnavailable:
    """The error in words, without the password."""
    code = str(getattr(error, "sqlstate", None) or "")
    hint = next((text for start, text in _HINTS.items() if code.startswith(start)), None)
    shown = _PASSWORD.sub(r"\1:***@", settings.dsn or "")
    text = _PASSWORD.sub(r"\1:***@", str(error)) or type(error).__name__
    kind = StoreAway if is_lost(error) else LogUnavailable
    return kind(f"{shown}: {hint + ': ' if hint else ''}{text}")
