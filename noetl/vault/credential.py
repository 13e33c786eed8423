"""What a credential is, and which of its fields are secret."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, Protocol
from urllib.parse import unquote, urlsplit

from msgspec import Struct

OPEN_FIELDS: Final = frozenset(
    {
        "access_key_id", "account", "client_id", "database", "db_host", "db_name", "db_port", "db_user", "dbname", "driver",
        "endpoint", "header", "host", "key_id", "port", "region", "role", "schema", "scope", "sslmode", "token_url", "url",
        "user", "username", "warehouse",
    }
)  # fmt: skip
"""Fields that say where and who. All others are secret."""


class CredentialRecord(Struct, frozen=True):
    """An opened credential. Never printed. `hosts`: the only ones to which http may send it, all when empty. `version` 0: its vault counts none."""

    name: str
    kind: str
    data: dict[str, Any]
    hosts: tuple[str, ...] = ()
    version: int = 0

    def __repr__(self) -> str:
        return f"<credential {self.name} ({self.kind})>"


class Use(Struct, frozen=True):
    """Who opens a credential: a step of an execution, whose playbook belongs to a domain."""

    execution_id: int
    step: str
    domain: str


def domain_of(path: str) -> str:
    """The domain that a playbook belongs to: the first part of its catalog path."""
    return path.strip("/").partition("/")[0]


class Vault(Protocol):
    """Where credentials are looked up by name."""

    async def open(self, name: str, use: Use) -> CredentialRecord | None:
        """The credential, or None when there is none of that name.

        Raises:
            NotAllowed: it is not for this use.
            CredentialUnreadable: it is there and can't be opened.
        """
        ...

    async def renew(self, record: CredentialRecord, changes: Mapping[str, Any]) -> bool:
        """Keep what the use of a credential has changed in it, such as a refresh token that was exchanged; a field that becomes None goes.

        False: it is not in this vault, or somebody has stored another version of it meanwhile, which stays.
        """
        ...


def renewed(data: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The data of a credential after `Vault.renew`."""
    return {name: value for name, value in {**data, **changes}.items() if not (name in changes and value is None)}


def secrets_of(record: CredentialRecord) -> Iterator[str]:
    """The texts that must not be seen: secret fields, passwords inside of addresses, and the login that basic authentication makes of two fields."""
    for key, value in record.data.items():
        if key.lower() not in OPEN_FIELDS:
            yield from _texts(value)
        elif isinstance(value, str):
            yield from _passwords(value)
    user = record.data.get("username", record.data.get("user"))
    if user is not None and "password" in record.data:
        yield f"{user}:{record.data['password']}"


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
        yield from _passwords(value)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, int) and not isinstance(value, bool):
        yield str(value)


def _passwords(text: str) -> Iterator[str]:
    """In a URL, or in words such as `host=db password='x y'`."""
    for match in _PASSWORD_WORD.finditer(text):
        yield match[1] if match[1] is not None else match[2]
    try:
        password = urlsplit(text).password
    except ValueError:
        return
    if password:
        yield unquote(password)


_PASSWORD_WORD: Final = re.compile(r"\bpassword\s*=\s*(?:'((?:\\.|[^'\\])*)'|([^\s&;]+))", re.IGNORECASE)
