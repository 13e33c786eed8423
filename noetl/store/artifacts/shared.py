"""Artifacts in a bucket that all machines reach, with copies on this one.

A bucket that can't be reached is waited for: what has a result to store, or one to read, goes on when it is back, and whoever may not wait so long
gives up by himself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from functools import partial
from pathlib import Path
from typing import Final

from noetl.blobs import blob_path
from noetl.errors import LogCorrupt, NotFound
from noetl.store.artifact import Bucket
from noetl.store.artifacts.disk import DiskArtifacts, RunBlocking, named_in, trim
from noetl.store.patience import patiently

_SPARED_S: Final = 600.0
"""A copy that was written or asked for in this time may be about to be read."""
_REMEMBERED_S: Final = _SPARED_S / 2
_MOST_REMEMBERED: Final = 10_000
_TRIMS: Final = 10
"""How often the copies are looked through while as many bytes as are allowed come in."""
_log: Final = logging.getLogger("noetl.artifacts")


class SharedArtifacts:
    """`local_max_bytes`: how much of the disk the copies may take."""

    def __init__(self, root: Path, bucket: Bucket, run_blocking: RunBlocking, local_max_bytes: int) -> None:
        self.root = root
        self._disk = DiskArtifacts(root, run_blocking)
        self._bucket = bucket
        self._run_blocking = run_blocking
        self._local_max_bytes = local_max_bytes
        self._came_bytes = 0
        """Since the copies were looked through."""
        self._trimming = asyncio.Lock()
        self._brought: dict[str, float] = {}
        """When it was last seen to be here, with all that it speaks of."""

    async def put(self, data: bytes) -> str:
        digest = await self._disk.put(data)
        await self._upload(digest, data)
        await self._came(len(data))
        return digest

    async def share(self, digest: str) -> None:
        data = bytes(await self._disk.get(digest))
        await self._upload(digest, data)
        await self._came(len(data))

    async def get(self, digest: str) -> memoryview:
        try:
            return await self._disk.get(digest)
        except LogCorrupt as error:
            _log.warning("%s; it is fetched again", error)
            await self._run_blocking(partial(blob_path(self.root, digest).unlink, missing_ok=True))
        except NotFound:
            blob_path(self.root, digest)  # what is no hash is nowhere
        return await self._fetch(digest)

    async def bring(self, digest: str) -> None:
        now = time.monotonic()
        if now - self._brought.get(digest, -_REMEMBERED_S) < _REMEMBERED_S:
            return
        waiting, seen = [digest], {digest}
        while waiting:
            try:
                one = waiting.pop()
                named: set[str] = await self._run_blocking(_wanted, blob_path(self.root, one), await self.get(one))
            except NotFound:
                continue
            waiting += named - seen
            seen |= named
        if len(self._brought) >= _MOST_REMEMBERED:
            self._brought.clear()
        self._brought[digest] = now

    async def close(self) -> None:
        await self._bucket.close()

    async def _upload(self, digest: str, data: bytes) -> None:
        if not await patiently(lambda: self._bucket.has(digest)):
            await patiently(lambda: self._bucket.put(digest, data))

    async def _fetch(self, digest: str) -> memoryview:
        data = await patiently(lambda: self._bucket.get(digest))
        if data is None:
            raise NotFound(f"no artifact {digest} in {self.root}, nor in the store that the nodes share")
        if await self._disk.put(data) != digest:
            raise LogCorrupt(f"the artifact {digest} in the store that the nodes share is not what was written")
        await self._came(len(data))
        return await self._disk.get(digest)

    async def _came(self, size: int) -> None:
        self._came_bytes += size
        if self._came_bytes * _TRIMS < self._local_max_bytes or self._trimming.locked():
            return
        async with self._trimming:
            self._came_bytes = 0
            await self._run_blocking(trim, self.root, self._local_max_bytes, _SPARED_S)


def _wanted(path: Path, body: memoryview) -> set[str]:
    """What an artifact speaks of; its copy counts as new."""
    with contextlib.suppress(FileNotFoundError):
        os.utime(path)
    return set(named_in(body))
