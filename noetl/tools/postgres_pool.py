"""Connections to PostgreSQL servers: one pool per server, user and database on a node."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Final

import asyncpg

from noetl.errors import ToolError, ToolRefused, ToolTimeout
from noetl.tools.postgres_login import Login, login_of
from noetl.tools.postgres_types import set_codecs
from noetl.tools.tool import Credential, Resources
from noetl.values import encode

MAX_SIZE: Final = 10
"""Connections of one pool, unless a task's `pool: {max_size}` opens it with another bound."""
IDLE_S: Final = 60.0
CONNECT_S: Final = 10.0
CONFIRM_S: Final = 5.0
"""How long a server may take to confirm that a cancelled query has stopped, before its connection is dropped."""

_ASK_AGAIN_S: Final = 0.2
_SETTINGS: Final = {"application_name": "noetl"}
_OURS: Final = f"pg_stat_activity WHERE pid = $1 AND application_name = '{_SETTINGS['application_name']}' AND state = 'active'"
_CANCEL: Final = f"SELECT pg_cancel_backend(pid) FROM {_OURS}"  # noqa: S608  a constant
_TERMINATE: Final = f"SELECT pg_terminate_backend(pid) FROM {_OURS}"  # noqa: S608  as above

_RETRYABLE: Final = frozenset({"08", "40", "53", "57"})
"""Classes of SQLSTATE: connection, rolled back, resources, operator."""

_BROKEN: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError)
_LOST: Final = (asyncpg.PostgresConnectionError, asyncpg.AdminShutdownError, asyncpg.CrashShutdownError, OSError)


class Pool:
    """A pool of one login. Connections are opened when they are needed and closed when they have been idle for a minute."""

    def __init__(self, login: Login, pool: Any) -> None:
        self.login = login
        self._pool = pool

    @asynccontextmanager
    async def session(self, opening: str) -> AsyncIterator[Any]:
        """A connection on which `opening` (BEGIN, or a statement without effect) has run. What is not committed at the end is rolled back.

        A connection that turns out to be dead before anything of the task was sent is replaced, once. A query that still runs when the
        caller is cancelled is stopped on the server before the cancellation goes on.

        Raises:
            ToolError: `connection`, `timeout`, `auth` or `database`: no connection could be made.
        """
        with reported(f"{self.login.name} does not answer"):
            connection = await self._open(opening)
        try:
            yield connection
        except asyncio.CancelledError:
            await asyncio.shield(self._stop(connection))
            raise
        finally:
            await asyncio.shield(self._give_back(connection))

    async def _open(self, opening: str) -> Any:
        try:
            return await self._try(opening)
        except _LOST:
            await self._pool.expire_connections()  # the server was restarted: the other connections are dead as well
            return await self._try(opening)

    async def _try(self, opening: str) -> Any:
        connection = await self._acquire()
        try:
            await connection.execute(opening)
        except BaseException:
            await self._give_back(connection)
            raise
        return connection

    async def _acquire(self) -> Any:
        with reported(f"can't connect to {self.login.name}"):
            return await self._pool.acquire()

    async def _stop(self, connection: Any) -> None:
        """Wait until the server has ended the query that was cancelled. The driver has asked for that once; a request that overtook its query was
        in vain, so it is repeated."""
        ended = asyncio.ensure_future(connection.execute("ROLLBACK"))  # is sent when the answer to the cancelled query has come
        try:
            pid = connection.get_server_pid()
            async with asyncio.timeout(CONFIRM_S):
                while not ended.done():
                    await asyncio.wait([ended], timeout=_ASK_AGAIN_S)
                    if not ended.done():
                        await self._ask(_CANCEL, pid)
                await ended
        except TimeoutError:
            with suppress(*_BROKEN):
                await self._ask(_TERMINATE, pid)
        except _BROKEN:
            return  # the server can't be reached any more: nothing can be confirmed
        finally:
            ended.cancel()

    async def _ask(self, question: str, pid: int) -> None:
        """On a connection of its own: those of the pool may all be busy."""
        connection = await asyncpg.connect(**self.login.options, timeout=CONNECT_S, server_settings=_SETTINGS)
        try:
            await connection.execute(question, pid)
        finally:
            await connection.close()

    async def _give_back(self, connection: Any) -> None:
        try:
            async with asyncio.timeout(CONFIRM_S):
                if connection.is_in_transaction():
                    await connection.execute("ROLLBACK")
        except _BROKEN:
            with suppress(asyncpg.InterfaceError):  # closed already
                connection.terminate()
        finally:
            with suppress(*_BROKEN):  # a connection that can't be cleaned is closed, not kept
                await self._pool.release(connection, timeout=CONFIRM_S)

    async def close(self) -> None:
        try:
            async with asyncio.timeout(CONFIRM_S):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()


async def _make_pool(login: Login, max_size: int) -> Pool:
    pool = await asyncpg.create_pool(
        **login.options,
        min_size=0,
        max_size=max_size,
        max_inactive_connection_lifetime=IDLE_S,
        timeout=CONNECT_S,
        statement_cache_size=0,  # a task's statements are its own, and poolers in between do not keep prepared ones
        server_settings=_SETTINGS,
        init=set_codecs,
        reset=_forget,
    )
    return Pool(login, pool)


async def _forget(connection: Any) -> None:
    """The next task finds no settings, temporary tables, locks or prepared statements of this one."""
    await connection.execute("DISCARD ALL")


async def open_pool(resources: Resources, credential: Credential, max_size: int = MAX_SIZE) -> Pool:
    """The node's pool for a credential. Opens no connection yet."""
    login = login_of(credential)
    key = hashlib.sha256(encode([sorted(login.options.items(), key=lambda item: item[0]), max_size])).hexdigest()

    async def make(_: Resources) -> Pool:
        return await _make_pool(login, max_size)

    return await resources.get(f"postgres:{key}", make)


@contextmanager
def reported(doing: str) -> Iterator[None]:
    """Raises what the driver raises inside as the error of a call; `doing` says what did not work."""
    try:
        yield
    except asyncpg.ClientConfigurationError:
        raise ToolRefused(f"{doing}: the credential has a field that the driver does not understand (dsn or sslmode)") from None
    except asyncpg.DataError as error:
        if not _from_server(error):
            raise ToolRefused(f"{doing}: a value of the params has not the type that its place in the SQL takes") from None
        raise _failure(error, doing) from error
    except asyncpg.UnsupportedClientFeatureError as error:
        raise ToolError(f"{doing}: {_reason(error)}; cast it to text or json", kind="database") from error
    except TimeoutError:
        raise ToolTimeout(f"{doing}: no connection within {CONNECT_S:g} s", extra={"phase": "connect"}) from None
    except _BROKEN as error:
        raise _failure(error, doing) from error
    except (ValueError, OverflowError) as error:
        raise ToolError(f"{doing}: a value is beyond what dates and times can hold here; cast it to text", kind="database") from error


def _failure(error: Exception, doing: str) -> ToolError:
    state: str | None = getattr(error, "sqlstate", None)
    extra = {"code": state, "sqlstate": state} if state else {}
    if not _from_server(error):
        return ToolError(f"{doing}: {_reason(error)}", kind="connection", retryable=True, extra=extra)
    kind = "auth" if (state or "").startswith("28") else "database"
    return ToolError(f"{doing}: {_reason(error)}", kind=kind, retryable=(state or "")[:2] in _RETRYABLE, extra=extra)


def _from_server(error: Exception) -> bool:
    return isinstance(error, asyncpg.PostgresError) and getattr(error, "severity", None) is not None


def _reason(error: Exception) -> str:
    """The server's message with its detail and hint."""
    parts = (getattr(error, "message", None) or str(error) or type(error).__name__, getattr(error, "detail", None), getattr(error, "hint", None))
    return " ".join(part for part in parts if part)
