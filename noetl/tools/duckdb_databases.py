"""The DuckDB databases that a node has open: one connection object per file, and a cursor for each call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from threading import Event
from typing import Any, Final, TypeVar

import duckdb

from noetl.errors import ToolError
from noetl.tools.duckdb_attachments import Attachment, load_extension, scrubbed
from noetl.tools.tool import Resources

T = TypeVar("T")

MEMORY: Final = ":memory:"
"""The name of an execution's own database: a file in its directory, deleted at its end."""

_MEMORY_FILE: Final = "memory.duckdb"
_INTERRUPT_EVERY_S: Final = 0.05


class Database:
    """A file and its one connection. Its methods block, and run one at a time.

    A file that the author names is released when no call is on it, so that other processes (the author's Python code among them) can open it. Threads
    and memory are DuckDB's own choice: the cores and 80 % of the memory that this process may use.
    """

    def __init__(self, path: Path, *, keep: bool) -> None:
        self.path = path
        self.keep = keep
        """Stay open between two calls."""
        self.lock = asyncio.Lock()
        self.users = 0
        """Calls that are on it, or wait to be."""
        self.broken = False
        """After a fatal error a database answers nothing until it is opened again."""
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._attached: dict[str, tuple[Attachment, int]] = {}

    def enter(self, session: Session, attachments: Sequence[Attachment]) -> None:
        if self._connection is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = duckdb.connect(self.path)
            self._connection.execute("SET GLOBAL TimeZone = 'UTC'")
        for attachment in attachments:
            self._attach(self._connection, attachment)
            session.entered.append(attachment.alias)
        session.begin(self._connection.cursor())

    def _attach(self, connection: duckdb.DuckDBPyConnection, attachment: Attachment) -> None:
        known, users = self._attached.get(attachment.alias, (attachment, 0))
        if known != attachment:
            raise ToolError(
                f"'{attachment.alias}' is attached to this database with another credential: choose another alias", kind="database", retryable=True
            )
        if users == 0:
            load_extension(connection, attachment.extension)
            try:
                connection.execute(attachment.enter)
            except duckdb.Error as error:
                reason = scrubbed(str(error), attachment.secrets)
                kind = "connection" if "Unable to connect" in reason else "database"
                raise ToolError(f"can't attach '{attachment.alias}': {reason}", kind=kind, retryable=kind == "connection") from None
        self._attached[attachment.alias] = (attachment, users + 1)

    def leave(self, session: Session) -> None:
        """What the call attached is gone when nobody else uses it; an open transaction is rolled back."""
        session.end()
        for alias in reversed(session.entered):
            self._detach(alias)
        if self.users == 0 and (self.broken or not self.keep):
            self.close()

    def _detach(self, alias: str) -> None:
        if self._connection is None:
            return  # the execution is over, and its database with it
        attachment, users = self._attached.pop(alias)
        if users > 1:
            self._attached[alias] = (attachment, users - 1)
        elif not self.broken:
            self._connection.execute(attachment.leave)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection, self._attached, self.broken = None, {}, False


class Session:
    """One call's stay on a database."""

    def __init__(self, resources: Resources, database: Database) -> None:
        self.database = database
        self.entered: list[str] = []
        self._cursor: duckdb.DuckDBPyConnection | None = None
        self._resources = resources
        self._started = Event()
        self._stopped = Event()

    @property
    def has_begun(self) -> bool:
        return self._cursor is not None or bool(self.entered)

    @property
    def cursor(self) -> duckdb.DuckDBPyConnection:
        assert self._cursor is not None, "a session is used after `enter` and before `leave`"
        return self._cursor

    def begin(self, cursor: duckdb.DuckDBPyConnection) -> None:
        self._cursor = cursor

    def end(self) -> None:
        if self._cursor is not None:
            self._cursor.close()

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        """Run `function` on a thread. When the caller is cancelled, what it does in the database is interrupted, and has ended before the
        cancellation goes on."""
        self._started.clear()
        work = asyncio.ensure_future(self._resources.run_blocking(self._begin, function, args))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            self._stopped.set()
            if not self._started.is_set():
                work.cancel()  # no thread was free; one that starts it now finds it stopped
            await self._interrupt(work)
            raise

    async def _interrupt(self, work: asyncio.Future[Any]) -> None:
        while not work.done():
            if self._cursor is not None:
                self._cursor.interrupt()  # again and again: the query may not have begun yet
            with suppress(asyncio.CancelledError):  # a second cancellation does not make it end sooner; the first one is raised
                await asyncio.wait([work], timeout=_INTERRUPT_EVERY_S)
        if not work.cancelled():
            work.exception()  # how it ended is of no interest any more

    def _begin(self, function: Callable[..., T], args: tuple[Any, ...]) -> T:
        self._started.set()
        self.check()
        return function(*args)

    def check(self) -> None:
        """To be called between two statements: an interruption stops only the one that runs."""
        if self._stopped.is_set():
            raise duckdb.InterruptException("the call was cancelled")


class Databases:
    """All databases of a node."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._open: dict[Path, Database] = {}

    @asynccontextmanager
    async def session(self, name: str, execution_id: int, working_dir: Path, attachments: Sequence[Attachment]) -> AsyncIterator[Session]:
        """A cursor of its own on the database of that name, with these attachments, for as long as the block lasts."""
        database = self._database(name, execution_id, working_dir)
        database.users += 1
        session = Session(self._resources, database)
        try:
            async with database.lock:
                await session.run(database.enter, session, attachments)
            yield session
        finally:
            await asyncio.shield(self._leave(database, session))

    def _database(self, name: str, execution_id: int, working_dir: Path) -> Database:
        own = name == MEMORY
        path = self._memory_file(execution_id) if own else (working_dir / name).resolve()
        return self._open.setdefault(path, Database(path, keep=own))

    def _memory_file(self, execution_id: int) -> Path:
        return self._resources.execution_dir(execution_id) / _MEMORY_FILE

    async def _leave(self, database: Database, session: Session) -> None:
        async with database.lock:
            database.users -= 1
            if session.has_begun:
                await self._resources.run_blocking(database.leave, session)
        if database.users == 0 and not database.keep and self._open.get(database.path) is database:
            del self._open[database.path]

    async def end_execution(self, execution_id: int) -> None:
        database = self._open.pop(self._memory_file(execution_id), None)
        if database is not None:
            async with database.lock:
                await self._resources.run_blocking(database.close)

    async def close(self) -> None:
        for database in list(self._open.values()):
            async with database.lock:
                await self._resources.run_blocking(database.close)


async def open_databases(resources: Resources) -> Databases:
    return Databases(resources)
