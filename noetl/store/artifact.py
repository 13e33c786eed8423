"""Which artifacts are still needed, and the removal of the others: by mark and age, never at once."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterable, Iterator
from pathlib import Path
from typing import Final

_HASH_CHARS: Final = 64
_HASHES: Final = re.compile(rb"[0-9a-f]{%d,}" % _HASH_CHARS)


async def needed(root: Path, bodies: AsyncIterable[bytes]) -> set[str]:
    """The artifacts that are spoken of in `bodies`, or in other artifacts that are needed.

    Whatever reads like the hash of one counts: handles at any depth, inside what is shown of a sealed value too, and references that a playbook has
    put into a text of its own.
    """
    there = {blob.name: blob for blob in _blobs(root)}
    found: set[str] = set()
    async for body in bodies:
        found |= there.keys() & set(_named_in(body))
    waiting = list(found)
    while waiting:
        inner = (there.keys() & set(_named_in(there[waiting.pop()].read_bytes()))) - found
        found |= inner
        waiting += inner
    return found


def _named_in(encoded: bytes) -> Iterator[str]:
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


def _blobs(root: Path) -> Iterator[Path]:
    """What lies in the folders, also what writers that were killed have left there."""
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        if folder.is_dir():
            yield from sorted(folder.iterdir())
