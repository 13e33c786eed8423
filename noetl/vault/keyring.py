"""The master keys of a vault: the one that seals now, and older ones that must still open.

A key is 32 random bytes; its id is made from them, so that a file need not say whose it is. Keys in files lie so:

    vault.key            the one that seals; made when it is first needed
    vault.key.d/<id>     every one that was ever current since the first rotation

A rotation puts the new key into the directory before it becomes the current one, so that whoever meets its id finds it: no process has to start
again, and a rotation that is killed anywhere leaves keys that open everything.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hashlib
import re
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

from msgspec import Struct

from noetl.blobs import make_directory
from noetl.errors import SettingsError
from noetl.settings import VaultSettings
from noetl.vault.key import KEY_BYTES, read_key, read_or_make_key, write_key

ID_BYTES: Final = 8
_COMMAND_S: Final = 30.0


class Key(Struct, frozen=True):
    """`id` is the start of a hash of the key, in hex."""

    id: str
    secret: bytes

    def __repr__(self) -> str:
        return f"<key {self.id}>"


def key_of(secret: bytes) -> Key:
    return Key(hashlib.sha256(b"noetl vault key\0" + secret).hexdigest()[: 2 * ID_BYTES], secret)


class KeyRing(Protocol):
    def current(self) -> Key:
        """The one to seal with. Raises `SettingsError`: it can't be read or made, or is no key."""
        ...

    def find(self, key_id: str) -> Key | None:
        """Any of them. Raises as `current`."""
        ...

    def all(self) -> list[Key]:
        """The current one first. Raises as `current`."""
        ...


class GivenKeys:
    """Keys that somebody else keeps. The first is the current one."""

    def __init__(self, *given: bytes, older: KeyRing | None = None) -> None:
        self._keys = {key.id: key for key in map(key_of, given)}
        self._older = older

    def current(self) -> Key:
        return next(iter(self._keys.values()))

    def find(self, key_id: str) -> Key | None:
        return self._keys.get(key_id) or (None if self._older is None else self._older.find(key_id))

    def all(self) -> list[Key]:
        return [*self._keys.values(), *([] if self._older is None else self._older.all())]


class FileKeys:
    """Keys in files beside the store. What another process does to them is seen at the next use."""

    def __init__(self, path: Path, *, make: bool = True) -> None:
        self._path = path
        self._make = make
        """Whether a first key is made where there is none."""
        self._found: dict[str, Key] = {}
        self._current: tuple[tuple[int, int], Key] | None = None

    @property
    def directory(self) -> Path:
        return self._path.with_name(f"{self._path.name}.d")

    def current(self) -> Key:
        seen = self._seen()
        if self._current is None or seen != self._current[0]:
            secret = read_or_make_key(self._path) if self._make else read_key(self._path)
            self._current = (self._seen() or (0, 0), key_of(secret))
        return self._current[1]

    def find(self, key_id: str) -> Key | None:
        if self._current is not None and self._current[1].id == key_id:
            return self._current[1]
        if key_id not in self._found:
            file = self.directory / key_id
            if re.fullmatch(r"[0-9a-f]+", key_id) and file.exists():
                self._found[key_id] = key_of(read_key(file))
            elif self._make or self._path.exists():
                current = self.current()
                return current if current.id == key_id else None
        return self._found.get(key_id)

    def all(self) -> list[Key]:
        files = sorted(self.directory.glob("[0-9a-f]*")) if self.directory.exists() else []
        own = [self.current()] if self._make or self._path.exists() else []
        return list({key.id: key for key in (*own, *(key_of(read_key(file)) for file in files))}.values())

    def rotate(self) -> Key:
        """Make another key the current one. Both are in the directory before that. Raises `SettingsError`."""
        before, after = self.current(), key_of(secrets.token_bytes(KEY_BYTES))
        try:
            make_directory(self.directory)
            self.directory.chmod(0o700)
            for key in (before, after):
                write_key(self.directory / key.id, key.secret, replace=False)
            write_key(self._path, after.secret, replace=True)
        except OSError as error:
            raise SettingsError(f"the vault's key {self._path} can't be replaced: {error.strerror or error}") from error
        return self.current()

    def _seen(self) -> tuple[int, int] | None:
        """What changes when the file is replaced."""
        with contextlib.suppress(OSError):  # who reads it says what is wrong with it
            found = self._path.stat()
            return found.st_ino, found.st_mtime_ns
        return None


async def open_keys(settings: VaultSettings, directory: Path | None, environment: Mapping[str, str]) -> KeyRing:
    """The keys of a store in `directory`; of one in memory, a key that ends with it. Where the settings name keys, those in files only open.

    Raises:
        SettingsError: what the settings name gives no key.
    """
    if settings.key_env is None and settings.key_command is None:
        return GivenKeys(secrets.token_bytes(KEY_BYTES)) if directory is None else FileKeys(directory / "vault.key")
    if settings.key_command is not None:
        given = _decoded(await _output(settings.key_command, environment), "vault.key_command: its output")
    else:
        assert settings.key_env is not None
        given = _decoded(environment.get(settings.key_env, ""), f"vault.key_env: the variable {settings.key_env}")
    return GivenKeys(*given, older=None if directory is None else FileKeys(directory / "vault.key", make=False))


def _decoded(text: str, source: str) -> Sequence[bytes]:
    """Keys in base64 or hex, separated by white space or commas. An error never shows any of it."""
    words = text.replace(",", " ").split()
    keys = [_key(word) for word in words]
    if not keys or any(key is None for key in keys):
        raise SettingsError(f"{source} must be {KEY_BYTES} bytes in base64 or hex; for several keys, the one that seals first")
    return [key for key in keys if key is not None]


def _key(word: str) -> bytes | None:
    with contextlib.suppress(binascii.Error, ValueError):
        key = bytes.fromhex(word) if len(word) == 2 * KEY_BYTES else base64.b64decode(word.translate(_URL_SAFE), validate=True)
        return key if len(key) == KEY_BYTES else None
    return None


_URL_SAFE: Final = str.maketrans("-_", "+/")


async def _output(command: str, environment: Mapping[str, str]) -> str:
    """What a command prints. Its errors go where this process's go."""
    process = await asyncio.create_subprocess_shell(
        command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, env=dict(environment), start_new_session=True
    )
    try:
        async with asyncio.timeout(_COMMAND_S):
            output, _ = await process.communicate()
    except TimeoutError:
        raise SettingsError(f"vault.key_command: no answer within {_COMMAND_S:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise SettingsError(f"vault.key_command: it ended with status {process.returncode}")
    return output.decode(errors="replace")
