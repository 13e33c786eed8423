"""The catalog in SQLite."""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec

from noetl.store.catalog import CatalogEntry, PlaybookVersion, SchemaVersion
from noetl.store.logs.sqlite_append import at_micros, to_micros
from noetl.store.logs.sqlite_connection import Connection
from noetl.store.logs.sqlite_database import Database

_VERSION: Final = "path, version, hash, net, source, files, labels, registered_at, registered_by"
_INSERT: Final = f"insert into playbooks ({_VERSION}) values (?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608  constants
_LATEST: Final = "version = (select max(version) from playbooks as other where other.path = playbooks.path)"
_KEEP: Final = "insert into catalog (hash, path, file, source, net) values (?, ?, ?, ?, ?) on conflict do nothing"


class SqliteCatalog:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep(self, entry: CatalogEntry) -> None:
        await self._database.write(lambda connection: connection.execute(_KEEP, _entry_values(entry)))

    async def by_hash(self, net_hash: str) -> CatalogEntry | None:
        found = await self._database.look(
            lambda connection: connection.execute("select hash, path, source, net, file from catalog where hash = ?", (net_hash,)).fetchone()
        )
        return None if found is None else CatalogEntry(*found)

    async def register(self, wanted: PlaybookVersion, entry: CatalogEntry) -> tuple[PlaybookVersion, bool]:
        def insert(connection: Connection) -> tuple[PlaybookVersion, bool]:
            latest = _first(connection, f"path = ? and {_LATEST}", (wanted.path,))
            if latest is not None and (latest.hash, latest.labels) == (wanted.hash, wanted.labels):
                return latest, False
            made = msgspec.structs.replace(wanted, version=1 if latest is None else latest.version + 1)
            connection.execute(_KEEP, _entry_values(entry))
            connection.execute(_INSERT, _version_values(made))
            return made, True

        registered: tuple[PlaybookVersion, bool] = await self._database.write(insert)
        return registered

    async def playbook(self, path: str, version: int | None = None) -> PlaybookVersion | None:
        if version is None:
            return await self._database.look(lambda connection: _first(connection, "path = ? order by version desc limit 1", (path,)))
        return await self._database.look(lambda connection: _first(connection, "path = ? and version = ?", (path, version)))

    async def playbooks(self, *, after: str = "", limit: int = 100) -> list[PlaybookVersion]:
        return await self._database.read(lambda connection: _all(connection, f"path > ? and {_LATEST} order by path limit ?", (after, limit)))

    async def versions(self, path: str) -> list[PlaybookVersion]:
        return await self._database.read(lambda connection: _all(connection, "path = ? order by version desc", (path,)))

    async def registered_as(self, net_hash: str) -> PlaybookVersion | None:
        return await self._database.read(lambda connection: _first(connection, "net = ? order by registered_at desc limit 1", (net_hash,)))


def _all(connection: Connection, where: str, values: tuple[Any, ...]) -> list[PlaybookVersion]:
    return [_version(row) for row in connection.execute(f"select {_VERSION} from playbooks where {where}", values)]  # noqa: S608  constants


def _first(connection: Connection, where: str, values: tuple[Any, ...]) -> PlaybookVersion | None:
    return next(iter(_all(connection, where, values)), None)


def _entry_values(entry: CatalogEntry) -> tuple[Any, ...]:
    return entry.hash, entry.path, entry.file, entry.source, entry.net


def _version_values(version: PlaybookVersion) -> tuple[Any, ...]:
    files, labels = msgspec.msgpack.encode(version.files), json.dumps(version.labels)
    about = (version.path, version.version, version.hash, version.net, version.source, files, labels)
    return (*about, to_micros(version.registered_at), version.registered_by)


def _version(row: tuple[Any, ...]) -> PlaybookVersion:
    path, version, digest, net, source, files, labels, registered_at, registered_by = row
    return PlaybookVersion(
        path=path,
        version=version,
        hash=digest,
        net=net,
        source=source,
        files=msgspec.msgpack.decode(files),
        labels=json.loads(labels),
        registered_at=at_micros(registered_at),
        registered_by=registered_by,
    )


_SCHEMA: Final = "name, version, hash, schema, registered_at, registered_by"
_LATEST_SCHEMA: Final = f"select {_SCHEMA} from schemas where name = ? order by version desc limit 1"  # noqa: S608  constants
_ONE_SCHEMA: Final = f"select {_SCHEMA} from schemas where name = ? and version = ?"  # noqa: S608  constants
_SCHEMA_PAGE: Final = (
    f"select {_SCHEMA} from schemas where name > ? and"  # noqa: S608  constants
    " version = (select max(version) from schemas as other where other.name = schemas.name) order by name limit ?"
)


class SqliteSchemas:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def register(self, wanted: SchemaVersion) -> tuple[SchemaVersion, bool]:
        def insert(connection: Connection) -> tuple[SchemaVersion, bool]:
            row = connection.execute(_LATEST_SCHEMA, (wanted.name,)).fetchone()
            latest = None if row is None else _schema(row)
            if latest is not None and latest.hash == wanted.hash:
                return latest, False
            made = msgspec.structs.replace(wanted, version=1 if latest is None else latest.version + 1)
            text, at = msgspec.json.encode(made.schema).decode(), to_micros(made.registered_at)
            values = (made.name, made.version, made.hash, text, at, made.registered_by)
            connection.execute(f"insert into schemas ({_SCHEMA}) values (?, ?, ?, ?, ?, ?)", values)  # noqa: S608  constants
            return made, True

        registered: tuple[SchemaVersion, bool] = await self._database.write(insert)
        return registered

    async def schema(self, name: str, version: int | None = None) -> SchemaVersion | None:
        statement, values = (_LATEST_SCHEMA, (name,)) if version is None else (_ONE_SCHEMA, (name, version))
        row = await self._database.look(lambda connection: connection.execute(statement, values).fetchone())
        return None if row is None else _schema(row)

    async def schemas(self, *, after: str = "", limit: int = 100) -> list[SchemaVersion]:
        return await self._database.read(lambda connection: [_schema(row) for row in connection.execute(_SCHEMA_PAGE, (after, limit))])


def _schema(row: tuple[Any, ...]) -> SchemaVersion:
    name, version, digest, schema, registered_at, registered_by = row
    return SchemaVersion(
        name=name,
        version=version,
        hash=digest,
        schema=msgspec.json.decode(schema),
        registered_at=at_micros(registered_at),
        registered_by=registered_by,
    )
