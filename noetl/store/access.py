"""Who may use the API, who has done what, and which requests were made already."""

from __future__ import annotations

import datetime as dt
from typing import Literal, Protocol

from msgspec import Struct

Role = Literal["viewer", "operator", "editor", "admin"]
"""Each may do what those before it may."""


class TokenRow(Struct, frozen=True, kw_only=True):
    """A token as it is kept: its SHA-256, never itself. `domains`: first parts of catalog paths, or `*` for all."""

    id: str
    hash: bytes
    name: str
    role: Role
    domains: tuple[str, ...]
    created_at: dt.datetime
    created_by: str = ""
    expires_at: dt.datetime | None = None
    revoked_at: dt.datetime | None = None


class Tokens(Protocol):
    async def add(self, row: TokenRow) -> None: ...

    async def by_hash(self, digest: bytes) -> TokenRow | None: ...

    async def all(self) -> list[TokenRow]:
        """In the order of their making, with those that are valid no more."""
        ...

    async def revoke(self, token_id: str, at: dt.datetime) -> bool:
        """False: there is none of that id."""
        ...


class AuditRow(Struct, frozen=True, kw_only=True):
    at: dt.datetime
    actor: str
    action: str
    subject: str
    outcome: Literal["done", "denied"]


class Audit(Protocol):
    async def note(self, row: AuditRow) -> None: ...

    async def latest(self, limit: int = 100) -> list[AuditRow]:
        """The newest first."""
        ...


class Request(Struct, frozen=True):
    """A request under an idempotency key. `digest`: SHA-256 of what was asked for."""

    caller: str
    key: str
    digest: bytes
    execution_id: int
    at: dt.datetime


class Requests(Protocol):
    async def claim(self, request: Request) -> Request:
        """Keep a request unless its caller has used the key before; the one that is kept."""
        ...
