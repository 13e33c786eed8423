"""Tokens, the audit log and idempotency keys in SQLite."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any, Final

from noetl.store.access import AuditRow, Request, TokenRow
from noetl.store.logs.sqlite_append import at_micros, from_micros, to_micros
from noetl.store.logs.sqlite_connection import Connection
from noetl.store.logs.sqlite_database import Database

_TOKEN: Final = "id, hash, name, role, domains, created_at, created_by, expires_at, revoked_at"  # noqa: S105  columns

_ADD: Final = f"insert into tokens ({_TOKEN}) values (?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608  constants
_BY_HASH: Final = f"select {_TOKEN} from tokens where hash = ?"  # noqa: S608  constants
_LATEST: Final = "select at, actor, action, subject, outcome from audit order by id desc limit ?"


class SqliteTokens:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, row: TokenRow) -> None:
        times = to_micros(row.created_at), row.created_by, to_micros(row.expires_at), to_micros(row.revoked_at)
        values = (row.id, row.hash, row.name, row.role, json.dumps(row.domains), *times)
        await self._database.write(lambda connection: connection.execute(_ADD, values))

    async def by_hash(self, digest: bytes) -> TokenRow | None:
        found = await self._database.look(lambda connection: connection.execute(_BY_HASH, (digest,)).fetchone())
        return None if found is None else _token(found)

    async def all(self) -> list[TokenRow]:
        return await self._select("order by created_at, id", ())

    async def revoke(self, token_id: str, at: dt.datetime) -> bool:
        def update(connection: Connection) -> bool:
            return connection.execute("update tokens set revoked_at = coalesce(revoked_at, ?) where id = ?", (to_micros(at), token_id)).rowcount > 0

        found: bool = await self._database.write(update)
        return found

    async def _select(self, where: str, values: tuple[Any, ...]) -> list[TokenRow]:
        rows = await self._database.read(
            lambda connection: connection.execute(f"select {_TOKEN} from tokens {where}", values).fetchall()  # noqa: S608  constants
        )
        return [_token(row) for row in rows]


def _token(row: tuple[Any, ...]) -> TokenRow:
    id_, digest, name, role, domains, created_at, created_by, expires_at, revoked_at = row
    return TokenRow(
        id=id_,
        hash=digest,
        name=name,
        role=role,
        domains=tuple(json.loads(domains)),
        created_at=at_micros(created_at),
        created_by=created_by,
        expires_at=from_micros(expires_at),
        revoked_at=from_micros(revoked_at),
    )


class SqliteAudit:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def note(self, row: AuditRow) -> None:
        values = (to_micros(row.at), row.actor, row.action, row.subject, row.outcome)
        await self._database.write(
            lambda connection: connection.execute("insert into audit (at, actor, action, subject, outcome) values (?, ?, ?, ?, ?)", values)
        )

    async def latest(self, limit: int = 100) -> list[AuditRow]:
        rows = await self._database.read(
            lambda connection: connection.execute(
                "select at, actor, action, subject, outcome from audit order by id desc limit ?", (limit,)
            ).fetchall()
        )
        return [
            AuditRow(at=at_micros(at), actor=actor, action=action, subject=subject, outcome=outcome) for at, actor, action, subject, outcome in rows
        ]


class SqliteRequests:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, request: Request) -> Request:
        def insert(connection: Connection) -> Request:
            values = (request.caller, request.key, request.digest, request.execution_id, to_micros(request.at))
            connection.execute("insert into requests (caller, key, digest, execution_id, at) values (?, ?, ?, ?, ?) on conflict do nothing", values)
            kept = connection.execute(
                "select digest, execution_id, at from requests where caller = ? and key = ?", (request.caller, request.key)
            ).fetchone()
            return Request(request.caller, request.key, kept[0], kept[1], at_micros(kept[2]))

        claimed: Request = await self._database.write(insert)
        return claimed
