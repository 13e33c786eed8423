"""Which artifacts are still needed, and the removal of the others: by mark and age, never at once."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from noetl.values import LOOP_PREFIX, Handle, unpack_leaf


def hashes_in(bodies: Iterable[bytes]) -> set[str]:
    """The artifacts that encoded events or values speak of, also those inside handles."""
    found: set[str] = set()

    def mark(code: int, data: memoryview) -> object:
        leaf = unpack_leaf(code, data)
        if isinstance(leaf, Handle) and not leaf.hash.startswith(LOOP_PREFIX):
            found.add(leaf.hash)
        return leaf

    decode: Any = msgspec.msgpack.Decoder(ext_hook=mark).decode
    for body in bodies:
        decode(body)
    return found


def sweep(root: Path, needed: set[str], older_than_s: float) -> int:
    """Delete artifacts that nobody needs and that were last written that long ago; how many there were.

    One that is being written again now is younger than `older_than_s`, so that a writer never loses what it has just found to be there.
    """
    limit = time.time() - older_than_s
    swept = 0
    for blob in _blobs(root):
        if blob.name not in needed and blob.stat().st_mtime < limit:
            blob.unlink(missing_ok=True)
            swept += 1
    return swept


def _blobs(root: Path) -> Iterator[Path]:
    for folder in root.iterdir() if root.is_dir() else ():
        if folder.is_dir():
            yield from folder.iterdir()
