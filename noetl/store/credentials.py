"""Credentials as they lie in the store: sealed, version by version, with a record of who has opened them. Who can open them is `noetl/vault`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec import Struct


class Sealing(Struct, frozen=True):
    """The data of a credential, encrypted with a key of its own, and that key, wrapped by the master key called `key_id`."""

    data: bytes
    data_key: bytes
    key_id: str


class StoredCredential(Struct, frozen=True, kw_only=True):
    """One version. `fields` are the names of its data's fields. `at` and `by` say when it was put there and by whom."""

    name: str
    version: int
    kind: str
    sealing: Sealing
    fields: tuple[str, ...]
    domains: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    description: str = ""
    at: dt.datetime
    by: str = ""


class ListedCredential(Struct, frozen=True):
    """The newest version, and since when there is one of that name."""

    latest: StoredCredential
    created_at: dt.datetime


class Opening(Struct, frozen=True):
    """Somebody was given the data of a credential."""

    name: str
    version: int
    execution_id: int
    step: str
    at: dt.datetime


class Rewrapped(Struct, frozen=True):
    """A version's data key under another master key. It replaces the one under `before`, and no other."""

    name: str
    version: int
    before: str
    data_key: bytes
    key_id: str


class Credentials(Protocol):
    async def add(self, name: str, make: Callable[[int], StoredCredential]) -> ListedCredential:
        """Store the next version, made by `make` from its number; the older ones are kept. Numbers are never used twice, not even after a removal."""
        ...

    async def latest(self, name: str) -> ListedCredential | None: ...

    async def list_latest(self) -> list[ListedCredential]:
        """The newest version of each, by name."""
        ...

    async def versions(self, name: str) -> list[StoredCredential]:
        """All that are kept, oldest first."""
        ...

    async def remove(self, name: str, at: dt.datetime, by: str) -> bool:
        """Remove all versions, so that nothing is left to open. A tombstone stays: who removed it and when. False: there was none."""
        ...

    async def record(self, opening: Opening) -> None:
        """Durable when this returns."""
        ...

    async def openings(self, name: str, *, limit: int = 100) -> list[Opening]:
        """Newest first; also of a credential that is gone."""
        ...

    async def not_under(self, key_id: str, *, after: tuple[str, int] = ("", 0), limit: int = 500) -> list[StoredCredential]:
        """Versions whose data key is wrapped by another master key, in the order of name and version, behind `after`."""
        ...

    async def rewrap(self, changes: Sequence[Rewrapped]) -> None:
        """All of them, or none when the store fails. A version that is gone, or was changed meanwhile, is left alone."""
        ...
