"""Sealed credentials in PostgreSQL."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any, Final

from noetl.store.credentials import ListedCredential, Opening, Rewrapped, Sealing, StoredCredential
from noetl.store.logs.postgres_database import Database

_COLUMNS: Final = "name, version, kind, sealed, data_key, key_id, fields, domains, hosts, description, at, by"
_INSERT: Final = f"insert into credentials ({_COLUMNS}) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"  # noqa: S608  constants
_ALIVE: Final = "sealed is not null"
_SELECT: Final = f"select {_COLUMNS} from credentials where {_ALIVE}"  # noqa: S608  constants
_NEWEST: Final = (
    f"select {_COLUMNS}, (select min(at) from credentials as first where first.name = credentials.name and first.sealed is not null) as first"  # noqa: S608  constants
    f" from credentials where {_ALIVE} and version = (select max(version) from credentials as newest where newest.name = credentials.name)"
)
_RECORD: Final = "insert into credential_openings (name, version, execution_id, step, at) values ($1, $2, $3, $4, $5)"
_OPENINGS: Final = "select name, version, execution_id, step, at from credential_openings where name = $1 order by id desc limit $2"
_REWRAP: Final = "update credentials set data_key = $1, key_id = $2 where name = $3 and version = $4 and key_id = $5"


class PostgresCredentials:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, name: str, make: Callable[[int], StoredCredential]) -> ListedCredential:
        async with self._database.transaction() as connection:
            await _lock(connection, name)
            newest = await connection.fetchval("select max(version) from credentials where name = $1", name)
            made = make((newest or 0) + 1)
            await connection.execute("delete from credentials where name = $1 and sealed is null", name)
            await connection.execute(_INSERT, *_values(made))
            return ListedCredential(made, await connection.fetchval("select min(at) from credentials where name = $1", name))

    async def latest(self, name: str) -> ListedCredential | None:
        row = await self._database.row(f"{_NEWEST} and name = $1", name)
        return None if row is None else _listed(row)

    async def list_latest(self) -> list[ListedCredential]:
        return [_listed(row) for row in await self._database.fetch(f"{_NEWEST} order by name")]

    async def versions(self, name: str) -> list[StoredCredential]:
        return [_stored(row) for row in await self._database.fetch(f"{_SELECT} and name = $1 order by version", name)]

    async def remove(self, name: str, at: dt.datetime, by: str) -> bool:
        async with self._database.transaction() as connection:
            await _lock(connection, name)
            newest = await connection.fetchval(f"select max(version) from credentials where name = $1 and {_ALIVE}", name)  # noqa: S608  constants
            if newest is None:
                return False
            await connection.execute("delete from credentials where name = $1", name)
            await connection.execute(_INSERT, name, newest + 1, "", None, None, None, [], [], [], "", at, by)
            return True

    async def record(self, opening: Opening) -> None:
        await self._database.execute(_RECORD, opening.name, opening.version, opening.execution_id, opening.step, opening.at)

    async def openings(self, name: str, *, limit: int = 100) -> list[Opening]:
        return [Opening(*row) for row in await self._database.fetch(_OPENINGS, name, limit)]

    async def not_under(self, key_id: str, *, after: tuple[str, int] = ("", 0), limit: int = 500) -> list[StoredCredential]:
        rows = await self._database.fetch(
            f"{_SELECT} and key_id <> $1 and (name, version) > ($2, $3) order by name, version limit $4", key_id, *after, limit
        )
        return [_stored(row) for row in rows]

    async def rewrap(self, changes: Sequence[Rewrapped]) -> None:
        rows = [(change.data_key, change.key_id, change.name, change.version, change.before) for change in changes]
        await self._database.execute_many(_REWRAP, rows)


async def _lock(connection: Any, name: str) -> None:
    await connection.execute("select pg_advisory_xact_lock(hashtext($1))", f"noetl credential {name}")


def _values(stored: StoredCredential) -> tuple[Any, ...]:
    lists = (list(names) for names in (stored.fields, stored.domains, stored.hosts))
    sealing = stored.sealing
    about = (stored.description, stored.at, stored.by)
    return (stored.name, stored.version, stored.kind, sealing.data, sealing.data_key, sealing.key_id, *lists, *about)


def _stored(row: Any) -> StoredCredential:
    return StoredCredential(
        name=row["name"],
        version=row["version"],
        kind=row["kind"],
        sealing=Sealing(row["sealed"], row["data_key"], row["key_id"]),
        fields=tuple(row["fields"]),
        domains=tuple(row["domains"]),
        hosts=tuple(row["hosts"]),
        description=row["description"],
        at=row["at"],
        by=row["by"],
    )


def _listed(row: Any) -> ListedCredential:
    return ListedCredential(_stored(row), row["first"])
