"""Several vaults, asked in turn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from noetl.vault.credential import CredentialRecord, Use, Vault


class LayeredVault:
    """The first that has a credential of the name gives it."""

    def __init__(self, *vaults: Vault) -> None:
        self._vaults = vaults

    async def open(self, name: str, use: Use) -> CredentialRecord | None:
        for vault in self._vaults:
            found = await vault.open(name, use)
            if found is not None:
                return found
        return None

    async def renew(self, record: CredentialRecord, changes: Mapping[str, Any]) -> bool:
        for vault in self._vaults:
            if await vault.renew(record, changes):
                return True
        return False
