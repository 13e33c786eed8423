"""API tokens: `noetl_<id>_<secret>`. Only their SHA-256 is kept: with 256 random bits there is nothing to guess."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
import secrets
from collections.abc import Callable
from typing import Final

from noetl.errors import NotAuthenticated
from noetl.gateway.principal import EVERYWHERE, Principal, principal_of
from noetl.store.access import Role, TokenRow, Tokens

_FORM: Final = re.compile(r"noetl_[0-9a-f]{12}_[\w-]{43}", re.ASCII)
_REMEMBER_S: Final = 5.0
"""How long a token is taken for what it was when it was looked up: a revocation holds after that."""
_REMEMBERED: Final = 10_000


def new_token(
    name: str, role: Role, at: dt.datetime, *, domains: tuple[str, ...] = (EVERYWHERE,), ttl_s: float | None = None, by: str = ""
) -> tuple[str, TokenRow]:
    """A token, to be shown once, and what is kept of it."""
    id_ = secrets.token_hex(6)
    token = f"noetl_{id_}_{secrets.token_urlsafe(32)}"
    expires_at = None if ttl_s is None else at + dt.timedelta(seconds=ttl_s)
    return token, TokenRow(id=id_, hash=digest(token), name=name, role=role, domains=domains, created_at=at, created_by=by, expires_at=expires_at)


def digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


class Doorkeeper:
    """Tells who a token belongs to."""

    def __init__(self, tokens: Tokens, now: Callable[[], dt.datetime]) -> None:
        self._tokens = tokens
        self._now = now
        self._known: dict[bytes, tuple[dt.datetime, TokenRow]] = {}

    async def principal(self, token: str) -> Principal:
        """Raises `NotAuthenticated`; whether it is unknown, expired or revoked is not said."""
        if not _FORM.fullmatch(token):
            raise NotAuthenticated("the token is not valid")
        now, hashed = self._now(), digest(token)
        known = self._known.get(hashed)
        if known is None or (now - known[0]).total_seconds() > _REMEMBER_S:
            row = await self._tokens.by_hash(hashed)
            if row is None:
                self._known.pop(hashed, None)
                raise NotAuthenticated("the token is not valid")
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            known = self._known[hashed] = now, row
        row = known[1]
        if row.revoked_at is not None or (row.expires_at is not None and row.expires_at <= now):
            raise NotAuthenticated("the token is not valid")
        return principal_of(row)

    def forget(self) -> None:
        """A token was revoked here: that holds at once."""
        self._known.clear()
