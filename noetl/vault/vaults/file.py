"""Credentials from a JSON file: a list of {name, type, data}."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from noetl.errors import SettingsError
from noetl.vault.credential import CredentialRecord, Use, renewed


class _Entry(Struct, frozen=True):
    name: str
    type: str
    data: dict[str, Any]


class FileVault:
    def __init__(self, records: Mapping[str, CredentialRecord]) -> None:
        self._records = dict(records)

    async def open(self, name: str, use: Use) -> CredentialRecord | None:
        return self._records.get(name)

    async def renew(self, record: CredentialRecord, changes: Mapping[str, Any]) -> bool:
        """For this process only: the file is the operator's."""
        if self._records.get(record.name) != record:
            return False
        self._records[record.name] = msgspec.structs.replace(record, data=renewed(record.data, changes))
        return True


def read_credentials(path: Path) -> dict[str, CredentialRecord]:
    """Raises `SettingsError` that names the file and the place, never a value."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SettingsError(f"NOETL_CREDENTIALS: {path} can't be read: {error.strerror or error}") from error
    try:
        entries = msgspec.json.decode(content, type=list[_Entry])
    except msgspec.MsgspecError as error:  # its text has types, keys and positions, never a value
        raise SettingsError(f"NOETL_CREDENTIALS: {path} must hold a list of {{name, type, data}}: {error}") from None
    records: dict[str, CredentialRecord] = {}
    for entry in entries:
        if entry.name in records:
            raise SettingsError(f"NOETL_CREDENTIALS: {path} has two credentials called '{entry.name}'")
        records[entry.name] = CredentialRecord(entry.name, entry.type, entry.data)
    return records
