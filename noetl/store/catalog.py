"""Compiled playbooks, by the hash of their content."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct


class CatalogEntry(Struct, frozen=True):
    """A playbook as it was when an execution was pinned to it. `net` is the encoded compiled net; `file` is where it was read from, for messages."""

    hash: str
    path: str
    source: str
    net: bytes
    file: str | None = None


class Catalog(Protocol):
    async def keep(self, entry: CatalogEntry) -> None:
        """Store a playbook unless its hash is there."""
        ...

    async def by_hash(self, net_hash: str) -> CatalogEntry | None: ...
