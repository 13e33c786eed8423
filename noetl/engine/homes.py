"""Where executions live: in the one private shard of a process, or in the common shards of a cluster."""

from __future__ import annotations

import contextlib
from typing import Protocol

from noetl.actors.ref import Ref
from noetl.actors.registry import Registry
from noetl.engine.exchange import Nudge, owner
from noetl.engine.shard import ShardInbox, shard_name
from noetl.mailbox.transport import BusUnavailable, Transport
from noetl.store.lease import Shard
from noetl.store.members import shard_of


class Homes(Protocol):
    def shard_for(self, execution_id: int) -> int:
        """The shard that a new execution belongs to."""
        ...

    def find(self, shard: int) -> Ref[ShardInbox] | None:
        """The shard's actor; None when another process owns it."""
        ...

    def nudge(self, shard: int, execution_id: int) -> None:
        """Tell another process that the store has something for an execution. Without it, it looks by itself, a little later."""
        ...


class PrivateHome:
    def __init__(self, shard: Ref[ShardInbox], lease: Shard) -> None:
        self.shard = shard
        self.lease = lease

    def shard_for(self, execution_id: int) -> int:
        return self.lease.id

    def find(self, shard: int) -> Ref[ShardInbox] | None:
        return self.shard if shard == self.lease.id else None

    def nudge(self, shard: int, execution_id: int) -> None:
        """Processes that share a file have no other way to tell each other."""


class CommonHomes:
    def __init__(self, registry: Registry, bus: Transport) -> None:
        self._registry = registry
        self._bus = bus

    def shard_for(self, execution_id: int) -> int:
        return shard_of(execution_id)

    def find(self, shard: int) -> Ref[ShardInbox] | None:
        return self._registry.find(shard_name(shard))

    def nudge(self, shard: int, execution_id: int) -> None:
        with contextlib.suppress(BusUnavailable):  # the owner looks into the store by itself
            owner(shard, execution_id, self._bus).tell(Nudge(execution_id))
