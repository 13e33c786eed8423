"""Bytes on disk, named by the SHA-256 of their content: `root / hash[:2] / hash`.

A blob is there whole or not at all: it is written beside its place, flushed, and renamed. When `write_blob` has returned, the blob survives a
power loss. Any number of processes may write and read the same root.
"""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import secrets
from pathlib import Path
from typing import Final

from noetl.errors import LogCorrupt, NotFound

_HASH_CHARS: Final = 64


def blob_path(root: Path, content_hash: str) -> Path:
    """Where the blob lies, if it does.

    Raises:
        NotFound: the hash is none; it may come from outside, and must not lead out of the root.
    """
    if len(content_hash) != _HASH_CHARS or not set(content_hash) <= set("0123456789abcdef"):
        raise NotFound(f"{content_hash[:80]!r} is not the SHA-256 of a blob")
    return root / content_hash[:2] / content_hash


def write_blob(root: Path, data: bytes | memoryview) -> str:
    """Keep `data` durably; its hash. What is there already is not written again, but counts as new for who sweeps by age.

    Raises:
        OSError: disk full, no permission. Nothing is left behind.
    """
    content_hash = hashlib.sha256(data).hexdigest()
    path = blob_path(root, content_hash)
    if _touch(path, len(data)):
        _sync_directory(path.parent)  # another writer may have renamed it and not got to this yet
        return content_hash
    make_directory(path.parent)
    temporary = path.with_name(f".{content_hash}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        _write_synced(temporary, data)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)
    return content_hash


def read_blob(root: Path, content_hash: str) -> memoryview:
    """The blob, memory-mapped, read-only, and checked against its hash.

    Raises:
        NotFound: no such blob under this root.
        LogCorrupt: the bytes are not those that were written.
    """
    path = blob_path(root, content_hash)
    try:
        with path.open("rb") as file:
            empty = os.fstat(file.fileno()).st_size == 0
            view = memoryview(b"" if empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except FileNotFoundError:
        raise NotFound(f"no blob {content_hash} in {root}") from None
    if hashlib.sha256(view).hexdigest() != content_hash:
        raise LogCorrupt(f"{path} does not hold what was written: its content has another hash than its name")
    return view


def _touch(path: Path, size: int) -> bool:
    """Whether the blob is there in full length; its age starts again."""
    try:
        if path.stat().st_size != size:
            return False
        os.utime(path)
    except FileNotFoundError:
        return False
    return True


def _write_synced(path: Path, data: bytes | memoryview) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def make_directory(directory: Path) -> None:
    """Make a directory and those above it, so that they survive a power loss. One that is there is left as it is.

    Raises:
        OSError: what is there is no directory, or none can be made.
    """
    if directory.is_dir():
        return
    make_directory(directory.parent)
    try:
        directory.mkdir(exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(directory)) from None
    _sync_directory(directory.parent)


def _sync_directory(directory: Path) -> None:
    """Make the names in a directory durable, not only the files behind them."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
