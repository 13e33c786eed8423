"""Tokens, the audit log and idempotency keys in PostgreSQL."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

from noetl.store.access import AuditRow, Request, TokenRow
from noetl.store.logs.postgres_database import Database

_TOKEN: Final = "id, hash, name, role, domains, created_at, created_by, expires_at, revoked_at"  # noqa: S105  columns
_ADD: Final = f"insert into tokens ({_TOKEN}) values ($1, $2, $3, $4, $5, $6, $7, $8, $9)"  # noqa: S608  constants
_SELECT: Final = f"select {_TOKEN} from tokens"  # noqa: S608  constants
_NOTE: Final = "insert into audit (at, actor, action, subject, outcome) values ($1, $2, $3, $4, $5)"
_CLAIM: Final = "insert into requests (caller, key, digest, execution_id, at) values ($1, $2, $3, $4, $5) on conflict do nothing"
_CLAIMED: Final = "select caller, key, digest, execution_id, at from requests where caller = $1 and key = $2"


class PostgresTokens:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, row: TokenRow) -> None:
        about = (row.id, row.hash, row.name, row.role, list(row.domains))
        await self._database.execute(_ADD, *about, row.created_at, row.created_by, row.expires_at, row.revoked_at)

    async def by_hash(self, digest: bytes) -> TokenRow | None:
        row = await self._database.row(f"{_SELECT} where hash = $1", digest)
        return None if row is None else _token(row)

    async def all(self) -> list[TokenRow]:
        return [_token(row) for row in await self._database.fetch(f"{_SELECT} order by created_at, id")]

    async def revoke(self, token_id: str, at: dt.datetime) -> bool:
        found = await self._database.value("update tokens set revoked_at = coalesce(revoked_at, $1) where id = $2 returning id", at, token_id)
        return found is not None


def _token(row: Any) -> TokenRow:
    return TokenRow(**{**row, "domains": tuple(row["domains"])})


class PostgresAudit:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def note(self, row: AuditRow) -> None:
        await self._database.execute(_NOTE, row.at, row.actor, row.action, row.subject, row.outcome)

    async def latest(self, limit: int = 100) -> list[AuditRow]:
        rows = await self._database.fetch("select at, actor, action, subject, outcome from audit order by id desc limit $1", limit)
        return [AuditRow(**row) for row in rows]


class PostgresRequests:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, request: Request) -> Request:
        """In two statements: what another transaction has kept meanwhile is seen by the second."""
        async with self._database.connection() as connection:
            await connection.execute(_CLAIM, request.caller, request.key, request.digest, request.execution_id, request.at)
            return Request(*await connection.fetchrow(_CLAIMED, request.caller, request.key))
