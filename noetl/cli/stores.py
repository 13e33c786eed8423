"""The local store, for commands that look into it without running anything."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from noetl.ids import ExecutionId
    from noetl.store.log import ExecutionRow
    from noetl.store.store import Store

T = TypeVar("T")

store_option = click.option("--store", metavar="PATH", help="The store. Default: noetl.db in NOETL_HOME (./.noetl).")


def find_store(store: str | None) -> tuple[Path, Path]:
    """The directory and the file of a store that is there. Raises `NotFound`."""
    from noetl.errors import NotFound
    from noetl.node.place import MEMORY, home_dir, store_place

    if store == MEMORY:
        raise NotFound("a store in memory is gone with its process")
    directory, file = store_place(home_dir(os.environ), store)
    if not file.exists():
        raise NotFound(f"there is no store {file}: nothing was run here yet, or NOETL_HOME or --store must say where")
    return directory, file


@contextlib.asynccontextmanager
async def open_store(store: str | None) -> AsyncIterator[Store]:
    """Raises `NotFound`, `LogUnavailable`, `StoreTooNew`."""
    from noetl.settings import StoreSettings
    from noetl.store.logs.sqlite import open_sqlite

    directory, file = find_store(store)
    opened = await open_sqlite(file, directory, StoreSettings())
    try:
        yield opened
    finally:
        await opened.close()


async def row_of(store: Store, execution_id: ExecutionId) -> ExecutionRow:
    """Raises `NotFound`."""
    from noetl.errors import NotFound

    row = await store.executions.execution(execution_id)
    if row is None:
        raise NotFound(f"there is no execution {execution_id} in this store")
    return row


def in_store(store: str | None, work: Callable[[Store], Awaitable[T]], missing: T | None = None) -> T:
    """Do something with the store. What can't be done ends this process, with the reason.

    `missing` is the answer where nothing was run yet: the store is not there, and nobody said that it should be.
    """

    async def with_store() -> T:
        async with open_store(store) as opened:
            return await work(opened)

    if missing is not None and store is None and not _default_file().exists():
        return missing
    return or_fail(with_store)


def _default_file() -> Path:
    from noetl.node.place import home_dir, store_place

    return store_place(home_dir(os.environ), None)[1]


def or_fail(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Exit status 2 for what was asked wrongly, 1 for what went wrong."""
    import asyncio

    from noetl.cli.problems import fail
    from noetl.errors import NoetlError, NotAllowed, NotFound

    try:
        return asyncio.run(work())
    except (NotFound, NotAllowed) as error:
        fail(str(error), 2)
    except NoetlError as error:
        fail(str(error))
