"""Where an attempt runs: in a pool of this node, or wherever somebody takes its command."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from msgspec import Struct

from noetl.actors.actor import AnyActor
from noetl.actors.ref import Ref
from noetl.engine.attempt import Attempt, Children
from noetl.engine.call import Caller
from noetl.engine.order import Order
from noetl.engine.pool import LocalPools, PoolInbox, borrow
from noetl.store.lease import Shard


class Placed(Struct, frozen=True):
    """`make` gives the attempt's actor. `pool` is asked for a slot for it; None: it runs on another node."""

    make: Callable[[], AnyActor[Any]]
    pool: Ref[PoolInbox] | None

    @property
    def is_remote(self) -> bool:
        return self.pool is None

    def started(self, attempt: Ref[Any], order: Order) -> None:
        """The attempt's actor is there."""
        if self.pool is not None:
            borrow(self.pool, attempt, order.priority)


class Places(Protocol):
    def place(self, order: Order, step: Ref[Any], shard: Shard) -> Placed:
        """Raises `ToolRefused` when nobody here serves it, and there is nobody else."""
        ...


class LocalPlaces:
    """All that runs, runs here."""

    def __init__(self, pools: LocalPools, caller: Caller, children: Children) -> None:
        self._pools = pools
        self._caller = caller
        self._children = children

    def place(self, order: Order, step: Ref[Any], shard: Shard) -> Placed:
        pool = self._pools.find(order.program.task.kind, order.pool)
        return Placed(lambda: Attempt(order, self._caller, self._children, step.report), pool)

    def serves(self, kind: str, pool: str | None) -> bool:
        return self._pools.name_for(kind, pool) is not None

    def has_room(self, kind: str, pool: str | None) -> bool:
        """Whether a slot is free."""
        name = self._pools.name_for(kind, pool)
        return name is not None and self._pools.room(name)
