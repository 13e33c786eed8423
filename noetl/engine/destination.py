"""Where a command is to go: to a pool, or to one node of it. Pure, from who is there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

from noetl.cluster.capacity import capable, keeper, pool_for
from noetl.engine.order import Order
from noetl.mailbox.address import commands
from noetl.store.members import Member


class Destination(Struct, frozen=True):
    """`node` None: any that has the pool."""

    pool: str
    node: str | None = None

    def subject(self, priority: int) -> str:
        return commands(self.pool if self.node is None else f"{self.pool}@{self.node}", priority)


def destination(order: Order, members: Iterable[Member], number: int) -> Destination | None:
    """Of the sending of that number: where several nodes would do they take turns. None: nobody can run it now."""
    able = capable(members, order.requires)
    if order.shares:
        return _of_keeper(order, able)
    pool = pool_for(able, order.program.task.kind, order.pool)
    if pool is None or not order.requires:
        return None if pool is None else Destination(pool)
    having = [member for member in able if pool in member.node.pools]
    return Destination(pool, having[number % len(having)].node.id)


def _of_keeper(order: Order, able: Sequence[Member]) -> Destination | None:
    """The node that has the database which calls of the execution share."""
    kind, kept = order.program.task.kind, order.kept
    serving = [member for member in able if pool_for([member], kind, order.pool) is not None]
    chosen = keeper(serving, order.call.execution_id, None if kept is None else kept.node, "" if kept is None else kept.directory)
    pool = None if chosen is None else pool_for([chosen], kind, order.pool)
    return None if chosen is None or pool is None else Destination(pool, chosen.node.id)
