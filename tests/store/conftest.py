"""A store in the test's folder, and one in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from noetl.settings import StoreSettings
from noetl.store.logs.sqlite import open_sqlite
from noetl.store.store import Store

OpenStore = Callable[..., Awaitable[Store]]


@pytest.fixture
async def open_store(tmp_path: Path) -> AsyncIterator[OpenStore]:
    """Opens stores on the file `noetl.db` of the test's folder, or on another; closes them at the end."""
    async with AsyncExitStack() as stack:

        async def open_(file: Path | None = tmp_path / "noetl.db", settings: StoreSettings | None = None) -> Store:
            store = await open_sqlite(file, tmp_path, settings or StoreSettings())
            stack.push_async_callback(store.close)
            return store

        yield open_


@pytest.fixture(params=["file", "memory"])
async def store(request: pytest.FixtureRequest, open_store: OpenStore, tmp_path: Path) -> Store:
    return await open_store(tmp_path / "noetl.db" if request.param == "file" else None)
