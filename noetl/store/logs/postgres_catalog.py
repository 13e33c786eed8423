"""The catalog in PostgreSQL."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from noetl.store.catalog import CatalogEntry, PlaybookVersion, SchemaVersion
from noetl.store.logs.postgres_database import Database

_VERSION: Final = "path, version, hash, net, source, files, labels, registered_at, registered_by"
_SELECT: Final = f"select {_VERSION} from playbooks"  # noqa: S608  constants
_INSERT: Final = f"insert into playbooks ({_VERSION}) values ($1, $2, $3, $4, $5, $6, $7, $8, $9)"  # noqa: S608  constants
_LATEST: Final = f"{_SELECT} where path = $1 order by version desc limit 1"
_PAGE: Final = f"select distinct on (path) {_VERSION} from playbooks where path > $1 order by path, version desc limit $2"  # noqa: S608  constants
_KEEP: Final = "insert into catalog (hash, path, file, source, net) values ($1, $2, $3, $4, $5) on conflict do nothing"


class PostgresCatalog:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep(self, entry: CatalogEntry) -> None:
        await self._database.execute(_KEEP, *_entry_values(entry))

    async def by_hash(self, net_hash: str) -> CatalogEntry | None:
        row = await self._database.row("select hash, path, source, net, file from catalog where hash = $1", net_hash)
        return None if row is None else CatalogEntry(*row)

    async def register(self, wanted: PlaybookVersion, entry: CatalogEntry) -> tuple[PlaybookVersion, bool]:
        async with self._database.transaction() as connection:
            await connection.execute("select pg_advisory_xact_lock(hashtext($1))", f"noetl playbook {wanted.path}")
            row = await connection.fetchrow(_LATEST, wanted.path)
            latest = None if row is None else _version(row)
            if latest is not None and (latest.hash, latest.labels) == (wanted.hash, wanted.labels):
                return latest, False
            made = msgspec.structs.replace(wanted, version=1 if latest is None else latest.version + 1)
            await connection.execute(_KEEP, *_entry_values(entry))
            await connection.execute(_INSERT, *_version_values(made))
            return made, True

    async def playbook(self, path: str, version: int | None = None) -> PlaybookVersion | None:
        if version is None:
            row = await self._database.row(_LATEST, path)
        else:
            row = await self._database.row(f"{_SELECT} where path = $1 and version = $2", path, version)
        return None if row is None else _version(row)

    async def playbooks(self, *, after: str = "", limit: int = 100) -> list[PlaybookVersion]:
        return [_version(row) for row in await self._database.fetch(_PAGE, after, limit)]

    async def versions(self, path: str) -> list[PlaybookVersion]:
        return [_version(row) for row in await self._database.fetch(f"{_SELECT} where path = $1 order by version desc", path)]

    async def registered_as(self, net_hash: str) -> PlaybookVersion | None:
        row = await self._database.row(f"{_SELECT} where net = $1 order by registered_at desc limit 1", net_hash)
        return None if row is None else _version(row)


def _entry_values(entry: CatalogEntry) -> tuple[Any, ...]:
    return entry.hash, entry.path, entry.file, entry.source, entry.net


def _version_values(version: PlaybookVersion) -> tuple[Any, ...]:
    about = (version.path, version.version, version.hash, version.net, version.source, msgspec.msgpack.encode(version.files), version.labels)
    return (*about, version.registered_at, version.registered_by)


def _version(row: Any) -> PlaybookVersion:
    return PlaybookVersion(**{**row, "files": msgspec.msgpack.decode(row["files"])})


_SCHEMA: Final = "name, version, hash, schema, registered_at, registered_by"
_SCHEMAS: Final = f"select {_SCHEMA} from schemas"  # noqa: S608  constants
_SCHEMA_PAGE: Final = f"select distinct on (name) {_SCHEMA} from schemas where name > $1 order by name, version desc limit $2"  # noqa: S608  constants


class PostgresSchemas:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def register(self, wanted: SchemaVersion) -> tuple[SchemaVersion, bool]:
        async with self._database.transaction() as connection:
            await connection.execute("select pg_advisory_xact_lock(hashtext($1))", f"noetl schema {wanted.name}")
            row = await connection.fetchrow(f"{_SCHEMAS} where name = $1 order by version desc limit 1", wanted.name)
            latest = None if row is None else SchemaVersion(**row)
            if latest is not None and latest.hash == wanted.hash:
                return latest, False
            made = msgspec.structs.replace(wanted, version=1 if latest is None else latest.version + 1)
            values = (made.name, made.version, made.hash, made.schema, made.registered_at, made.registered_by)
            await connection.execute(f"insert into schemas ({_SCHEMA}) values ($1, $2, $3, $4, $5, $6)", *values)  # noqa: S608  constants
            return made, True

    async def schema(self, name: str, version: int | None = None) -> SchemaVersion | None:
        if version is None:
            row = await self._database.row(f"{_SCHEMAS} where name = $1 order by version desc limit 1", name)
        else:
            row = await self._database.row(f"{_SCHEMAS} where name = $1 and version = $2", name, version)
        return None if row is None else SchemaVersion(**row)

    async def schemas(self, *, after: str = "", limit: int = 100) -> list[SchemaVersion]:
        return [SchemaVersion(**row) for row in await self._database.fetch(_SCHEMA_PAGE, after, limit)]
