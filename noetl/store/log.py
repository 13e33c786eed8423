"""The log of an execution: appends with an expected version, under the epoch of a shard, in a hash chain.

An append is one row: the events that one turn of the execution gave, encoded, and with it whatever must become true in the same transaction.
Contract:

- An append that was answered without an error survives kill -9 and, with full durability, a power loss.
- `StaleVersion`: its version is not the next one; somebody else has appended. `Fenced`: the shard has a newer epoch, or the execution has left it.
  Neither fails the appends beside it.
- What was handed over is never withdrawn: after `LogUnavailable` the append may or may not be there; read its version to know.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Final, Literal, Protocol

from msgspec import Struct

from noetl.errors import LogCorrupt, StoreError
from noetl.events import AnyEvent, Phase, decode_events

NO_HASH: Final = b"\0" * 32
"""What the first append of an execution is chained to."""

InboxKind = Literal["start", "cancel", "child_ended", "outcome", "declined"]
Origin = Literal["run", "node"]
"""Who looks after an execution whose process is gone: a person, who resumes it (`run`), or the next node that starts on the store (`node`)."""


class InboxRow(Struct, frozen=True):
    """Something that one execution, or somebody outside, tells another. `id` is 0 until it is stored."""

    execution_id: int
    kind: InboxKind
    body: bytes
    id: int = 0


class ExecutionRow(Struct, frozen=True, kw_only=True):
    """What can be listed of an execution. `root_id` is the ancestor that has no parent, itself when it is one.

    `version` is that of the playbook in the catalog, None when it came from a file.
    """

    id: int
    path: str
    net: str
    shard: int
    requested_at: dt.datetime
    root_id: int
    parent_id: int | None = None
    status: Phase = "pending"
    started_at: dt.datetime | None = None
    ended_at: dt.datetime | None = None
    wake_at: dt.datetime | None = None
    error: str | None = None
    version: int | None = None
    labels: dict[str, str] = {}
    requested_by: str = ""
    origin: Origin = "run"


class RowChange(Struct, frozen=True, kw_only=True):
    """The row of the appending execution after the append."""

    status: Phase
    started_at: dt.datetime | None = None
    ended_at: dt.datetime | None = None
    wake_at: dt.datetime | None = None
    error: str | None = None


class LoopItem(Struct, frozen=True):
    """The result of one iteration, encoded."""

    run: int
    index: int
    body: bytes


class Append(Struct, frozen=True, kw_only=True):
    """One row of an execution's log. `version` counts its appends from 1, `first_seq` its events from 1; `hash` is `chain(previous hash, body)`."""

    execution_id: int
    version: int
    first_seq: int
    count: int
    at: dt.datetime
    body: bytes
    hash: bytes
    shard: int
    epoch: int
    created: ExecutionRow | None = None
    """The execution's own row, when this append makes it."""
    change: RowChange | None = None
    items: tuple[LoopItem, ...] = ()
    consumed: tuple[int, ...] = ()
    """Ids of inbox rows that this append has taken in."""
    inbox: tuple[InboxRow, ...] = ()
    children: tuple[ExecutionRow, ...] = ()


class StoredAppend(Struct, frozen=True):
    """One row as it is read."""

    version: int
    first_seq: int
    at: dt.datetime
    body: bytes
    hash: bytes

    def events(self) -> tuple[AnyEvent, ...]:
        """Raises `LogCorrupt` when this version of NoETL can't read them."""
        try:
            return decode_events(self.body)
        except ValueError as error:  # msgspec's decode and validation errors
            raise LogCorrupt(f"the events of version {self.version} can't be read: {error}") from error


def chain(previous: bytes, body: bytes) -> bytes:
    """The hash of an append: 32 bytes over the previous append's and this one's stored bytes."""
    return hashlib.sha256(previous + body).digest()


def check_chain(rows: Iterable[StoredAppend], previous: bytes = NO_HASH, version: int = 0) -> None:
    """Raises `LogCorrupt` at the first row that is missing or was changed after it was written."""
    for row in rows:
        version += 1
        if row.version != version:
            raise LogCorrupt(f"version {version} is missing: the next row is {row.version}")
        if chain(previous, row.body) != row.hash:
            raise LogCorrupt(f"version {version} does not hold what was written: its hash does not match")
        previous = row.hash


class FedAppend(Struct, frozen=True):
    """A row of the log on its way to who reads along. `sequence` grows within its shard."""

    shard: int
    sequence: int
    execution_id: int
    path: str
    """Catalog path of the execution."""
    append: StoredAppend


Done = Callable[[StoreError | None], None]


class Log(Protocol):
    """See the module. Callbacks and coroutines run on the loop that opened the store."""

    def append(self, append: Append, done: Done) -> None:
        """Hand an append over. `done` is called once, with None when it is durable. Appends that wait together are committed together."""
        ...

    async def settle(self) -> None:
        """Wait until what was handed over so far is in the log, or refused. Raises `LogUnavailable` when nobody can tell."""
        ...

    async def read(self, execution_id: int, after: int = 0, upto: int | None = None) -> list[StoredAppend]:
        """The rows with `after < version <= upto`, in order."""
        ...

    async def fed(self, after: Mapping[int, int], limit: int = 500) -> list[FedAppend]:
        """What was appended under these shards behind the sequence that is given for each, in the order of each shard's sequence; `limit` of each at
        most. One that is committed later never has a lower sequence than one that was read: nobody who goes on from where he was misses any."""
        ...

    def bodies(self) -> AsyncIterator[bytes]:
        """Everything encoded that is in the store: events, loop items, messages. To find out what is still needed."""
        ...

    async def items(self, execution_id: int, run: int) -> list[tuple[int, bytes]]:
        """What iterations of a run have given so far: (index, encoded result), by index."""
        ...


class Snapshot(Struct, frozen=True):
    """A folded state. `evolve` names the code that made it: another one folds from the start."""

    version: int
    next_seq: int
    hash: bytes
    evolve: str
    body: bytes


class Positions(Protocol):
    """How far readers of the log have come, by their names: the sequence of the last append of each shard that they are done with."""

    async def positions(self, reader: str) -> dict[int, int]: ...

    async def keep_positions(self, reader: str, positions: Mapping[int, int]) -> None:
        """Those that are not named stay. One never goes back."""
        ...


class Snapshots(Protocol):
    async def put_snapshot(self, execution_id: int, snapshot: Snapshot) -> None:
        """Keep the newest snapshot of an execution in place of the one before."""
        ...

    async def snapshot(self, execution_id: int) -> Snapshot | None: ...
