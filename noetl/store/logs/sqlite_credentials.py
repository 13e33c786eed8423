"""Sealed credentials in the SQLite store."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from noetl.store.credentials import ListedCredential, Opening, Rewrapped, Sealing, StoredCredential
from noetl.store.logs.sqlite_append import from_micros, to_micros
from noetl.store.logs.sqlite_connection import Connection
from noetl.store.logs.sqlite_database import Database

_COLUMNS: Final = "name, version, kind, sealed, data_key, key_id, fields, domains, hosts, description, at, by"
_ALIVE: Final = "sealed is not null"
_NEWEST: Final = (
    f"select {_COLUMNS}, (select min(at) from credentials as first where first.name = credentials.name and first.sealed is not null)"  # noqa: S608  constants
    f" from credentials where {_ALIVE} and version = (select max(version) from credentials as newest where newest.name = credentials.name)"
)


class SqliteCredentials:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, name: str, make: Callable[[int], StoredCredential]) -> ListedCredential:
        def insert(connection: Connection) -> ListedCredential:
            (newest,) = connection.execute("select max(version) from credentials where name = ?", (name,)).fetchone()
            made = make((newest or 0) + 1)
            connection.execute("delete from credentials where name = ? and sealed is null", (name,))
            connection.execute(f"insert into credentials ({_COLUMNS}) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", _values(made))  # noqa: S608  constants
            (first,) = connection.execute("select min(at) from credentials where name = ?", (name,)).fetchone()
            return ListedCredential(made, _at(first))

        added: ListedCredential = await self._database.write(insert)
        return added

    async def latest(self, name: str) -> ListedCredential | None:
        row = await self._database.read(lambda connection: connection.execute(f"{_NEWEST} and name = ?", (name,)).fetchone())
        return None if row is None else _listed(row)

    async def list_latest(self) -> list[ListedCredential]:
        return await self._database.read(lambda connection: [_listed(row) for row in connection.execute(f"{_NEWEST} order by name")])

    async def versions(self, name: str) -> list[StoredCredential]:
        return await self._select("name = ? order by version", (name,))

    async def remove(self, name: str, at: dt.datetime, by: str) -> bool:
        def bury(connection: Connection) -> bool:
            (newest,) = connection.execute(f"select max(version) from credentials where name = ? and {_ALIVE}", (name,)).fetchone()  # noqa: S608  constants
            if newest is None:
                return False
            connection.execute("delete from credentials where name = ?", (name,))
            tombstone = (name, newest + 1, "", None, None, None, "[]", "[]", "[]", "", to_micros(at), by)
            connection.execute(f"insert into credentials ({_COLUMNS}) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", tombstone)  # noqa: S608  constants
            return True

        removed: bool = await self._database.write(bury)
        return removed

    async def record(self, opening: Opening) -> None:
        values = (opening.name, opening.version, opening.execution_id, opening.step, to_micros(opening.at))
        await self._database.write(
            lambda connection: connection.execute(
                "insert into credential_openings (name, version, execution_id, step, at) values (?, ?, ?, ?, ?)", values
            )
        )

    async def openings(self, name: str, *, limit: int = 100) -> list[Opening]:
        def select(connection: Connection) -> list[Opening]:
            rows = connection.execute(
                "select name, version, execution_id, step, at from credential_openings where name = ? order by id desc limit ?", (name, limit)
            )
            return [Opening(name, version, execution_id, step, _at(at)) for name, version, execution_id, step, at in rows]

        return await self._database.read(select)

    async def not_under(self, key_id: str, *, after: tuple[str, int] = ("", 0), limit: int = 500) -> list[StoredCredential]:
        return await self._select("key_id <> ? and (name, version) > (?, ?) order by name, version limit ?", (key_id, *after, limit))

    async def rewrap(self, changes: Sequence[Rewrapped]) -> None:
        rows = [(change.data_key, change.key_id, change.name, change.version, change.before) for change in changes]
        await self._database.write(
            lambda connection: connection.executemany(
                "update credentials set data_key = ?, key_id = ? where name = ? and version = ? and key_id = ?", rows
            )
        )

    async def _select(self, where: str, values: tuple[Any, ...]) -> list[StoredCredential]:
        statement = f"select {_COLUMNS} from credentials where {_ALIVE} and {where}"  # noqa: S608  constants
        return await self._database.read(lambda connection: [_stored(row) for row in connection.execute(statement, values)])


def _values(stored: StoredCredential) -> tuple[Any, ...]:
    lists = (msgspec.json.encode(names).decode() for names in (stored.fields, stored.domains, stored.hosts))
    sealing = stored.sealing
    about = (stored.description, to_micros(stored.at), stored.by)
    return (stored.name, stored.version, stored.kind, sealing.data, sealing.data_key, sealing.key_id, *lists, *about)


def _stored(row: tuple[Any, ...]) -> StoredCredential:
    name, version, kind, data, data_key, key_id, fields, domains, hosts, description, at, by = row
    return StoredCredential(
        name=name,
        version=version,
        kind=kind,
        sealing=Sealing(data, data_key, key_id),
        fields=_names(fields),
        domains=_names(domains),
        hosts=_names(hosts),
        description=description,
        at=_at(at),
        by=by,
    )


def _listed(row: tuple[Any, ...]) -> ListedCredential:
    return ListedCredential(_stored(row[:-1]), _at(row[-1]))


def _at(micros: int) -> dt.datetime:
    at = from_micros(micros)
    assert at is not None
    return at


_names: Final = msgspec.json.Decoder(tuple[str, ...]).decode
