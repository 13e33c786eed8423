"""Playbooks: as they were compiled, by the hash of that; and as they were registered, by path and version."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping
from typing import Any, Protocol

from msgspec import Struct


class CatalogEntry(Struct, frozen=True):
    """A playbook as it was when an execution was pinned to it. `net` is the encoded compiled net; `file` is where it was read from, for messages."""

    hash: str
    path: str
    source: str
    net: bytes
    file: str | None = None


class PlaybookVersion(Struct, frozen=True, kw_only=True):
    """A playbook as it was registered. `net` is the hash of the compiled one; `files` are the texts of the files that it names."""

    path: str
    version: int
    hash: str
    net: str
    source: str
    registered_at: dt.datetime
    files: dict[str, str] = {}
    labels: dict[str, str] = {}
    registered_by: str = ""


class SchemaVersion(Struct, frozen=True, kw_only=True):
    """A JSON Schema as it was registered. The first part of its name is its domain."""

    name: str
    version: int
    hash: str
    schema: dict[str, Any]
    registered_at: dt.datetime
    registered_by: str = ""


def content_hash(source: str, files: Mapping[str, str]) -> str:
    """What two versions with the same content have in common."""
    digest = hashlib.sha256(source.encode())
    for name in sorted(files):
        digest.update(f"\0{len(name)}:{name}{len(files[name])}:".encode() + files[name].encode())
    return digest.hexdigest()


class Catalog(Protocol):
    async def keep(self, entry: CatalogEntry) -> None:
        """Store a playbook unless its hash is there."""
        ...

    async def by_hash(self, net_hash: str) -> CatalogEntry | None: ...

    async def register(self, wanted: PlaybookVersion, entry: CatalogEntry) -> tuple[PlaybookVersion, bool]:
        """Make the next version of a path, and keep its compiled form, unless the latest has the same hash and labels. `wanted.version` is not read.

        Returns:
            What is in the catalog now, and whether it is new.
        """
        ...

    async def playbook(self, path: str, version: int | None = None) -> PlaybookVersion | None:
        """One version; the latest when `version` is None."""
        ...

    async def playbooks(self, *, after: str = "", limit: int = 100) -> list[PlaybookVersion]:
        """The latest version of each path, in the order of the paths."""
        ...

    async def versions(self, path: str) -> list[PlaybookVersion]:
        """All versions of a path, the latest first."""
        ...

    async def registered_as(self, net_hash: str) -> PlaybookVersion | None:
        """The latest version with that compiled form."""
        ...


class Schemas(Protocol):
    async def register(self, wanted: SchemaVersion) -> tuple[SchemaVersion, bool]:
        """Make the next version of a name, unless the latest has the same hash. `wanted.version` is not read.

        Returns:
            What is in the catalog now, and whether it is new.
        """
        ...

    async def schema(self, name: str, version: int | None = None) -> SchemaVersion | None:
        """One version; the latest when `version` is None."""
        ...

    async def schemas(self, *, after: str = "", limit: int = 100) -> list[SchemaVersion]:
        """The latest version of each name, in the order of the names."""
        ...
