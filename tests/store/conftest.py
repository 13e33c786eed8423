"""Stores of every kind: in a file, in memory, and in a real PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from noetl.settings import PostgresSettings, StoreSettings
from noetl.store.logs.postgres import open_postgres
from noetl.store.logs.sqlite import open_sqlite
from noetl.store.store import Store
from tests.postgres import Postgres, new_database

OpenStore = Callable[..., Awaitable[Store]]
OpenAgain = Callable[[], Awaitable[Store]]
"""Opens the store of the test once more, as another process would."""


@pytest.fixture
async def open_store(tmp_path: Path) -> AsyncIterator[OpenStore]:
    """Opens stores on the file `noetl.db` of the test's folder, or on another; closes them at the end."""
    async with AsyncExitStack() as stack:

        async def open_(file: Path | None = tmp_path / "noetl.db", settings: StoreSettings | None = None) -> Store:
            store = await open_sqlite(file, tmp_path, settings or StoreSettings())
            stack.push_async_callback(store.close)
            return store

        yield open_


@pytest.fixture
async def open_server(postgres: Postgres, tmp_path: Path) -> AsyncIterator[OpenStore]:
    """Opens stores on a database of the test's own; closes them at the end."""
    database = await new_database(postgres)
    async with AsyncExitStack() as stack:

        async def open_(settings: StoreSettings | None = None) -> Store:
            store = await open_postgres(PostgresSettings(dsn=postgres.dsn(database)), settings or StoreSettings(), tmp_path)
            stack.push_async_callback(store.close)
            return store

        yield open_


@pytest.fixture(params=["file", "memory", "postgres"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    async with AsyncExitStack() as stack:
        if request.param == "postgres":
            postgres: Postgres = request.getfixturevalue("postgres")
            made = await open_postgres(PostgresSettings(dsn=postgres.dsn(await new_database(postgres))), StoreSettings(), tmp_path)
        else:
            made = await open_sqlite(tmp_path / "noetl.db" if request.param == "file" else None, tmp_path, StoreSettings())
        stack.push_async_callback(made.close)
        yield made


@pytest.fixture(params=["file", "postgres"])
def open_shared(request: pytest.FixtureRequest) -> OpenStore:
    """Opens a store that several may have opened at once."""
    opening: OpenStore = request.getfixturevalue("open_store" if request.param == "file" else "open_server")
    return opening
