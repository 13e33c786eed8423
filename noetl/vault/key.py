"""The key that seals: 32 random bytes in a file that only its owner can read."""

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
            _make(path)
        key = path.read_bytes()
    except OSError as error:
        raise SettingsError(f"the vault's key {path} can't be read or made: {error.strerror or error}") from error
    if len(key) != KEY_BYTES:
        raise SettingsError(f"the vault's key {path} must have {KEY_BYTES} bytes, it has {len(key)}")
    return key


def _make(path: Path) -> None:
    make_directory(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, secrets.token_bytes(KEY_BYTES))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    try:
        os.link(temporary, path)  # unlike a rename it never replaces a key that is there
    except FileExistsError:
        return
    finally:
        temporary.unlink()
