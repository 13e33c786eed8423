"""Artifacts in a folder; and the removal of those that nobody needs: by mark and age, never at once."""

from __future__ import annotations

import os
import re
import time
from collections.abc import AsyncIterable, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Final

from noetl.blobs import read_blob, write_blob
from noetl.errors import LogUnavailable

RunBlocking = Callable[..., Awaitable[Any]]
_HASH_CHARS: Final = 64
_HASHES: Final = re.compile(rb"[0-9a-f]{%d,}" % _HASH_CHARS)


class DiskArtifacts:
    """Of one machine, or of several that share the folder. `run_blocking` runs a call on a thread."""

    def __init__(self, root: Path, run_blocking: RunBlocking) -> None:
        self.root = root
        self._run_blocking = run_blocking

    async def put(self, data: bytes) -> str:
        try:
            digest: str = await self._run_blocking(write_blob, self.root, data)
        except OSError as error:
            raise LogUnavailable(f"{self.root}: an artifact can't be written: {error.strerror or error}") from error
        return digest

    async def share(self, digest: str) -> None:
        """Whoever has written it has made it durable."""

    async def get(self, digest: str) -> memoryview:
        view: memoryview = await self._run_blocking(read_blob, self.root, digest)
        return view

    async def bring(self, digest: str) -> None:
        """It is there, or nowhere."""

    async def close(self) -> None:
        """Nothing is open."""


async def needed(root: Path, bodies: AsyncIterable[bytes]) -> set[str]:
    """The artifacts that are spoken of in `bodies`, or in other artifacts that are needed.

    Whatever reads like the hash of one counts: handles at any depth, inside what is shown of a sealed value too, and references that a playbook has
    put into a text of its own.
    """
    there = {blob.name: blob for blob in _blobs(root)}
    found: set[str] = set()
    async for body in bodies:
        found |= there.keys() & set(named_in(body))
    waiting = list(found)
    while waiting:
        inner = (there.keys() & set(named_in(there[waiting.pop()].read_bytes()))) - found
        found |= inner
        waiting += inner
    return found


def named_in(encoded: bytes | memoryview) -> Iterator[str]:
    """Whatever in it reads like the hash of an artifact."""
    for match in _HASHES.finditer(encoded):
        text = match.group().decode("ascii")
        for start in range(len(text) - _HASH_CHARS + 1):
            yield text[start : start + _HASH_CHARS]


def sweep(root: Path, kept: set[str], older_than_s: float) -> int:
    """Delete artifacts that are not to be kept and that were last written that long ago; how many there were.

    One that is written again counts as new, so that a writer never loses what it has just found to be there.
    """
    limit = time.time() - older_than_s
    return sum(_remove(blob, limit) for blob in _blobs(root) if blob.name not in kept)


def trim(root: Path, most_bytes: int, older_than_s: float) -> int:
    """Delete the oldest copies until at most that many bytes are left, but none that was written or wanted in the last `older_than_s`; the bytes that
    are left."""
    aged = sorted((about.st_mtime, about.st_size, blob) for blob in _blobs(root) if (about := _stat(blob)) is not None)
    total, limit = sum(size for _, size, _ in aged), time.time() - older_than_s
    for written, size, blob in aged:
        if total <= most_bytes or written >= limit:
            break
        total -= size if _remove(blob, limit) else 0
    return total


def _remove(blob: Path, limit: float) -> bool:
    """An old one: out of the writers' sight first, and back if one of them has found it in the last moment."""
    doomed = blob.with_name(f".{blob.name}.doomed")
    try:
        if blob.stat().st_mtime >= limit:
            return False
        blob.rename(doomed)
        if doomed.stat().st_mtime >= limit:
            doomed.rename(blob)
            return False
        doomed.unlink()
    except FileNotFoundError:
        return False  # another sweep was quicker
    return True


def _stat(blob: Path) -> os.stat_result | None:
    try:
        return blob.stat()
    except FileNotFoundError:
        return None


def _blobs(root: Path) -> Iterator[Path]:
    """What lies in the folders, also what writers that were killed have left there."""
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        if folder.is_dir():
            yield from sorted(folder.iterdir())
