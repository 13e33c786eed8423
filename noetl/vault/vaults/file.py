"""Credentials from a JSON file: a list of {name, type, data}. Read once, when the first one is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from noetl.errors import SettingsError
from noetl.vault.credential import CredentialRecord


class _Entry(Struct, frozen=True):
    name: str
    type: str
    data: dict[str, Any]


class FileVault:
    """`path` None: there are no credentials."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._records: dict[str, CredentialRecord] | None = None

    async def open(self, name: str) -> CredentialRecord | None:
        if self._records is None:
            self._records = read_credentials(self._path) if self._path is not None else {}
        return self._records.get(name)


def read_credentials(path: Path) -> dict[str, CredentialRecord]:
    """Raises `SettingsError` that names the file and the place, never a value."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SettingsError(f"NOETL_CREDENTIALS: {path} can't be read: {error.strerror or error}") from error
    try:
        entries = msgspec.json.decode(content, type=list[_Entry])
    except msgspec.MsgspecError as error:
        raise SettingsError(f"NOETL_CREDENTIALS: {path} must hold a list of {{name, type, data}}: {_place_only(error)}") from None
    records: dict[str, CredentialRecord] = {}
    for entry in entries:
        if entry.name in records:
            raise SettingsError(f"NOETL_CREDENTIALS: {path} has two credentials called '{entry.name}'")
        records[entry.name] = CredentialRecord(entry.name, entry.type, entry.data)
    return records


def _place_only(error: msgspec.MsgspecError) -> str:
    """The parser's words. They name types, keys and positions; a value is never among them."""
    return str(error)
