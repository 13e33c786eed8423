"""Opening the credentials that a task's `auth` names. What is opened is known as a secret from then on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from noetl.errors import CredentialUnreadable, NotAllowed, ToolError, ToolRefused
from noetl.tools.tool import Credential
from noetl.vault.credential import CredentialRecord, Use, Vault, secrets_of
from noetl.vault.secrets import Secrets

_ABOUT: Final = frozenset({"source", "key", "tool", "type", "service", "scope", "provider", "oauth_credential", "credential"})


class Credentials:
    def __init__(self, vault: Vault, secrets: Secrets) -> None:
        self._vault = vault
        self._secrets = secrets

    async def open_all(self, auth: Any, use: Use) -> dict[str, Credential]:
        """Alias -> credential for a rendered `auth`: a name, one entry, or a mapping of aliases to names or entries. The only one has the alias ''.

        Raises:
            ToolError: kind `auth`: no credential of that name. Kind `unsupported`: a source that is not there yet.
        """
        if auth is None or auth == "":
            return {}
        if isinstance(auth, str):
            return {"": await self._named(auth, use)}
        if not isinstance(auth, Mapping):
            raise ToolRefused(f"'auth' must be the name of a credential or a mapping, not {type(auth).__name__}")
        if _ABOUT & set(auth) and not all(isinstance(value, Mapping) for value in auth.values()):
            return {"": await self._entry(auth, use)}
        return {str(alias): await (self._named(entry, use) if isinstance(entry, str) else self._entry(entry, use)) for alias, entry in auth.items()}

    async def _named(self, name: str, use: Use) -> Credential:
        try:
            record = await self._vault.open(name, use)
        except (NotAllowed, CredentialUnreadable) as error:
            raise ToolError(str(error), kind="auth") from error
        if record is None:
            raise ToolError(f"there is no credential '{name}': add it to the vault, or to the file that NOETL_CREDENTIALS names", kind="auth")
        return self._opened(record)

    async def _entry(self, entry: Mapping[str, Any], use: Use) -> Credential:
        """One structured entry: which credential, as which kind, for which scope; or the fields themselves."""
        kind = entry.get("type") or entry.get("tool") or entry.get("service")
        key = entry.get("key") or entry.get("credential")
        if entry.get("source", "credential") != "credential" or entry.get("provider"):
            raise ToolRefused(f"credentials from {entry.get('provider') or entry['source']} are not supported here", kind="unsupported")
        if key is None:
            data = {name: value for name, value in entry.items() if name not in _ABOUT}
            return self._opened(CredentialRecord("", str(kind or ""), data))
        named = await self._named(str(key), use)
        data = named.data if "scope" not in entry else {**named.data, "scope": entry["scope"]}
        return Credential(named.name, str(kind or named.kind), data)

    def _opened(self, record: CredentialRecord) -> Credential:
        self._secrets.learn(secrets_of(record))
        return Credential(record.name, record.kind, record.data)
