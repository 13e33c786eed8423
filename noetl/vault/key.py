"""A key in a file: 32 random bytes that only its owner can read."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

from noetl.blobs import make_directory
from noetl.errors import SettingsError

KEY_BYTES: Final = 32


def read_or_make_key(path: Path) -> bytes:
    """The key; made when there is none. Of several processes that make it at once, one wins.

    Raises:
        SettingsError: it can't be read or made, or is no key.
    """
    try:
        if not path.exists():
            make_directory(path.parent)
            write_key(path, secrets.token_bytes(KEY_BYTES), replace=False)
    except OSError as error:
        raise _unusable(path, error) from error
    return read_key(path)


def read_key(path: Path) -> bytes:
    """Raises `SettingsError`."""
    try:
        key = path.read_bytes()
    except OSError as error:
        raise _unusable(path, error) from error
    if len(key) != KEY_BYTES:
        raise SettingsError(f"the vault's key {path} must have {KEY_BYTES} bytes, it has {len(key)}")
    return key


def write_key(path: Path, key: bytes, *, replace: bool) -> None:
    """Durable, and whole from the first moment that it can be seen. Without `replace`, a key that is there stays. Raises `OSError`."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, key)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    try:
        if replace:
            temporary.replace(path)
        else:
            os.link(temporary, path)  # unlike a rename it never replaces a key that is there
    except FileExistsError:
        return
    finally:
        temporary.unlink(missing_ok=True)
    _make_durable(path.parent)


def _make_durable(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unusable(path: Path, error: OSError) -> SettingsError:
    return SettingsError(f"the vault's key {path} can't be read or made: {error.strerror or error}")
