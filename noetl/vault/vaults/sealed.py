"""Credentials in the store, sealed: the vault of every node that uses the store."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from noetl.clock import Clock
from noetl.errors import NotAllowed, StaleVersion
from noetl.store.credentials import Credentials, ListedCredential, Opening, Rewrapped, StoredCredential
from noetl.values import to_plain
from noetl.vault.credential import CredentialRecord, Use, renewed
from noetl.vault.envelope import Label, data_key_of, seal, unseal, wrap
from noetl.vault.keyring import KeyRing

_NAME: Final = re.compile(r"[^\s\x00-\x1f\x7f](?:[^\x00-\x1f\x7f]{0,198}[^\s\x00-\x1f\x7f])?")


class CredentialInfo(Struct, frozen=True):
    """What may be seen of a credential. `fields` are the names of its fields; the times are those of its first and its newest version."""

    name: str
    kind: str
    version: int
    fields: tuple[str, ...]
    domains: tuple[str, ...]
    hosts: tuple[str, ...]
    description: str
    created_at: dt.datetime
    updated_at: dt.datetime
    updated_by: str


Infos = list[CredentialInfo]


class SealedVault:
    def __init__(self, credentials: Credentials, keys: KeyRing, clock: Clock) -> None:
        self._credentials = credentials
        self._keys = keys
        self._clock = clock

    async def put(
        self,
        name: str,
        kind: str,
        data: Mapping[str, Any],
        *,
        domains: Sequence[str] = (),
        hosts: Sequence[str] = (),
        description: str = "",
        by: str = "",
    ) -> CredentialInfo:
        """Store a new version; the next task that opens the credential gets it.

        Raises:
            ValueError: a name, kind, domain or host that can't be. Shows no value of `data`.
            ToolRefused: kind `unsupported`: the package that seals is not installed.
        """
        return await self._add(name, kind, data, domains, hosts, description, by)

    async def _add(
        self,
        name: str,
        kind: str,
        data: Mapping[str, Any],
        domains: Sequence[str],
        hosts: Sequence[str],
        description: str,
        by: str,
        after: int | None = None,
    ) -> CredentialInfo:
        """`after`: only as the version that follows this one; else raises `StaleVersion`."""
        about = {"domains": _checked(domains, "domain"), "hosts": tuple(host.lower() for host in _checked(hosts, "host"))}
        for word, text in (("name", name), ("kind", kind)):
            if not _NAME.fullmatch(text):
                raise ValueError(f"the {word} of a credential is a text of 1 to 200 characters, without line breaks, and no white space around it")
        plain, key = to_plain(dict(data)), self._keys.current()

        def make(version: int) -> StoredCredential:
            if after is not None and version != after + 1:
                raise StaleVersion(f"credential '{name}' has a newer version than {after}")
            return StoredCredential(
                name=name,
                version=version,
                kind=kind,
                sealing=seal(plain, Label(name, version, kind, **about), key),
                fields=tuple(str(field) for field in plain),
                description=description,
                at=self._clock.now(),
                by=by,
                **about,
            )

        return _info(await self._credentials.add(name, make))

    async def list(self) -> Infos:
        return [_info(found) for found in await self._credentials.list_latest()]

    async def info(self, name: str) -> CredentialInfo | None:
        found = await self._credentials.latest(name)
        return None if found is None else _info(found)

    async def delete(self, name: str, *, by: str = "") -> bool:
        """All versions. False: there was none."""
        return await self._credentials.remove(name, self._clock.now(), by)

    async def open(self, name: str, use: Use) -> CredentialRecord | None:
        """The newest version; that it was opened is in the store before anybody has it.

        Raises:
            NotAllowed: it is for playbooks of other domains.
            CredentialUnreadable: its key is not here, or its row was changed.
        """
        found = await self._credentials.latest(name)
        if found is None:
            return None
        stored = found.latest
        if stored.domains and use.domain not in stored.domains:
            raise NotAllowed(f"credential '{name}' is for playbooks of the domains {', '.join(stored.domains)}; this one's is '{use.domain}'")
        data = unseal(stored, self._keys)
        await self._credentials.record(Opening(name, stored.version, use.execution_id, use.step, self._clock.now()))
        return CredentialRecord(name, stored.kind, data, hosts=stored.hosts, version=stored.version)

    async def renew(self, record: CredentialRecord, changes: Mapping[str, Any]) -> bool:
        """As a new version, under the same scope."""
        found = await self._credentials.latest(record.name)
        if found is None or found.latest.version != record.version:
            return False
        latest, data = found.latest, renewed(record.data, changes)
        try:
            await self._add(record.name, record.kind, data, latest.domains, latest.hosts, latest.description, "its use", after=record.version)
        except StaleVersion:
            return False
        return True

    async def rewrap(self) -> tuple[int, tuple[str, ...]]:
        """Wrap every data key by the current master key. How many were wrapped anew, and the names of those whose own key is not here.

        Others may read and write meanwhile; killed at any moment, it can be done again.
        """
        wrapped, after = 0, ("", 0)
        unreadable: dict[str, None] = {}
        while batch := await self._credentials.not_under(self._keys.current().id, after=after):
            after = (batch[-1].name, batch[-1].version)
            key = self._keys.current()
            readable = [stored for stored in batch if self._keys.find(stored.sealing.key_id) is not None]
            unreadable |= dict.fromkeys(stored.name for stored in batch if stored not in readable)
            await self._credentials.rewrap(
                [
                    Rewrapped(stored.name, stored.version, stored.sealing.key_id, wrap(data_key_of(stored, self._keys), stored, key), key.id)
                    for stored in readable
                ]
            )
            wrapped += len(readable)
        return wrapped, tuple(unreadable)


def _checked(names: Sequence[str], what: str) -> tuple[str, ...]:
    allowed = _DOMAIN if what == "domain" else _HOST
    for name in names:
        if not allowed.fullmatch(name):
            raise ValueError(f"'{name}' is no {what}: {_WHAT_IS_ONE[what]}")
    return tuple(dict.fromkeys(names))


_DOMAIN: Final = re.compile(r"[^\s/]+")
_HOST: Final = re.compile(r"(?:\*\.)?[^\s/:@*]+|[0-9A-Fa-f:]+")
_WHAT_IS_ONE: Final = {
    "domain": "it is the first part of a catalog path, without '/'",
    "host": "it is the name or the address of a host, without scheme and port; '*.example.org' stands for all below it",
}


def _info(found: ListedCredential) -> CredentialInfo:
    latest = found.latest
    return CredentialInfo(
        name=latest.name,
        kind=latest.kind,
        version=latest.version,
        fields=latest.fields,
        domains=latest.domains,
        hosts=latest.hosts,
        description=latest.description,
        created_at=found.created_at,
        updated_at=latest.at,
        updated_by=latest.by,
    )
