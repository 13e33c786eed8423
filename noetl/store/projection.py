"""What can be asked about executions without reading their logs: the rows that appends keep up to date."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from msgspec import Struct

from noetl.store.log import ExecutionRow, InboxRow


class ExecutionQuery(Struct, frozen=True, kw_only=True):
    """Which executions. What is None is not asked for."""

    status: str | None = None
    path: str | None = None
    domains: tuple[str, ...] | None = None
    """First parts of their paths."""
    label: tuple[str, str | None] | None = None
    """Its name, and its value if that matters."""
    since: dt.datetime | None = None
    """Requested then or later."""
    until: dt.datetime | None = None
    """Requested before."""
    before: int | None = None
    """An id: only executions that are older."""
    limit: int = 100


ALL: Final = ExecutionQuery()


class Waiting(NamedTuple):
    """An execution that is to be woken, and the shard that holds it."""

    shard: int
    execution_id: int


class Executions(Protocol):
    async def execution(self, execution_id: int) -> ExecutionRow | None: ...

    async def list_executions(self, query: ExecutionQuery = ALL) -> list[ExecutionRow]:
        """Newest first; without children."""
        ...

    async def family(self, root_id: int) -> list[ExecutionRow]:
        """An execution and all that descends from it, oldest first."""
        ...

    async def request(self, row: ExecutionRow, begin: InboxRow) -> None:
        """Make an execution that whoever owns its shard will begin: its row, and the message to begin with. Durable when this returns; nothing when
        the row is there already."""
        ...

    async def due(self, shards: Sequence[int], now: dt.datetime) -> list[Waiting]:
        """Executions of these shards that wait in the store and whose time has come."""
        ...

    async def left_in(self, shard: int) -> list[int]:
        """Executions of a shard that somebody has to go on with now: that have not ended, and do not wait for a time."""
        ...

    async def quarantine(self, execution_id: int, reason: str, tell: InboxRow | None = None) -> None:
        """Mark an execution that can't go on as failed, outside of its log; with it, leave a message for another one."""
        ...

    async def prune(self, ended_before: dt.datetime) -> list[int]:
        """Delete families that have ended before that time; the ids of all that are gone."""
        ...


class Inbox(Protocol):
    async def put(self, row: InboxRow) -> None:
        """Leave a message for an execution, whoever owns it. Raises `NotFound`."""
        ...

    async def waiting(self, shards: Sequence[int]) -> list[Waiting]:
        """Executions of these shards with messages that are not taken in, who has waited longest first. One that has ended, or is in quarantine, is
        not woken by any."""
        ...

    async def discard(self, ids: tuple[int, ...]) -> None:
        """Drop messages that change nothing."""
        ...

    async def waiting_for(self, execution_id: int) -> list[InboxRow]: ...
