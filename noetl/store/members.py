"""Nodes of a cluster: who is there, until when, and which of the common shards each owns.

A node's row is the only judge of its life. It is valid for `lease_s` from each renewal, by the store's clock; a node's shards hang on it, there is no
lease per shard. A lease that has run out may still be renewed, until somebody has buried the node: from then on its incarnation can't renew, and
nothing that it owned is its own any more.

After an outage of the store all leases have run out at once, and nobody is to blame. So a node may bury others only when its own lease has not run
out for one whole lease time: it is *steady*.

Each common shard has a format: no log in it was written in a newer one. It only grows. So nodes of two versions live together as long as those of the
newer one write what the older ones read; `noetl/cluster/formats.py` says when that is over.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from msgspec import Struct

from noetl.store.lease import Shard

SHARDS: Final = 64
"""Common shards of a store. Their ids are 1 to this; private shards have much higher ones."""
FIRST_PRIVATE: Final = 1_000_001
RENEWALS_PER_LEASE: Final = 3


def shard_of(execution_id: int, shards: int = SHARDS) -> int:
    """The common shard that a new execution belongs to. Ids that follow each other in time are spread."""
    mixed = (execution_id ^ execution_id >> 32) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
    return 1 + (mixed >> 32) % shards


class Incarnation(Struct, frozen=True):
    """One life of a node. Numbers grow over all nodes: no two lives have the same."""

    node: str
    number: int

    def __str__(self) -> str:
        return f"{self.node}#{self.number}"


class PoolRow(Struct, frozen=True):
    """What a node runs at a time, and of which kinds; `*` for all. `rank` is its place among the pools of the node's profile."""

    slots: int
    tools: tuple[str, ...]
    rank: int = 0


class NodeRow(Struct, frozen=True, kw_only=True):
    """What a node says of itself when it joins. `format` is the newest format of events that it reads. `directory` is the id of the one in which its
    tools keep what lasts; nodes that share it have the same."""

    id: str
    profile: str
    roles: tuple[str, ...]
    host: str
    pid: int
    version: str
    format: int
    started_at: dt.datetime
    url: str | None = None
    directory: str = ""
    pools: dict[str, PoolRow] = {}
    capabilities: dict[str, Any] = {}


class Member(Struct, frozen=True, kw_only=True):
    """A node as the others see it. `lease_left_s`: by the store's clock; negative when its lease has run out."""

    node: NodeRow
    incarnation: Incarnation
    lease_left_s: float
    draining: bool = False

    @property
    def is_alive(self) -> bool:
        return self.lease_left_s > 0


class ShardRow(Struct, frozen=True):
    """A common shard. `owner` None: nobody's. `format`: the newest that its logs may be written in."""

    shard: Shard
    owner: Incarnation | None
    format: int = 1


class Cluster(Struct, frozen=True):
    """All of it at one moment: members that are not buried and have not left, by id, and the common shards, by id."""

    members: tuple[Member, ...]
    shards: tuple[ShardRow, ...]


class Heart(Protocol):
    """Renews a node's lease, on a thread and a connection of its own, so that neither a busy loop nor a long query lets it run out."""

    def is_sure(self) -> bool:
        """Whether the lease runs, as far as this node can know without the store: the last renewal that has succeeded was begun less than a lease
        time ago, by the monotonic clock. While it is, nobody else has what this node has."""
        ...

    def stop(self) -> None:
        """Renew no more. Returns when nothing of it runs."""
        ...


class Members(Protocol):
    async def join(self, node: NodeRow, lease_s: float) -> Incarnation:
        """Begin a life. One of the same id before it is over, and its shards are nobody's: a node that is started again need not wait."""
        ...

    async def renew(self, incarnation: Incarnation) -> None:
        """Prolong the lease by its time, from now.

        Raises:
            Fenced: the node was buried, or its id has a newer life.
            LogUnavailable: the store can't be reached.
        """
        ...

    def heart(self, incarnation: Incarnation, lease_s: float, lost: Callable[[], None]) -> Heart:
        """Renew now and from now on, `RENEWALS_PER_LEASE` times in a lease time, for as long as it takes when the store does not answer. `lost` is
        called once, on the loop that called this, when a renewal is `Fenced`."""
        ...

    async def leave(self, incarnation: Incarnation) -> None:
        """End a life in good order: its shards are nobody's, and it is a member no more. Nothing when it is over already."""
        ...

    async def drain(self, node: str) -> bool:
        """Ask a node to take nothing new. False: there is no such member."""
        ...

    async def cluster(self) -> Cluster: ...

    async def bury(self, dead: Incarnation, by: Incarnation) -> bool:
        """End a life whose lease has run out: its shards are nobody's.

        False when it may not be, or not yet: the lease runs, the life is over already, or `by` is not steady.
        """
        ...

    async def take(self, shards: Sequence[int], by: Incarnation) -> list[Shard]:
        """Own shards that are nobody's, each under a new epoch. Left out are those that somebody else was quicker to take, and those whose format is
        newer than the node of `by` reads.

        Raises:
            Fenced: the life of `by` is over.
        """
        ...

    async def give_back(self, shards: Sequence[Shard]) -> None:
        """Own these no more; each gets a new epoch. Those that are not ours any more are left alone."""
        ...

    async def raise_format(self, shards: Sequence[Shard], to: int) -> None:
        """From now on the logs of these may be written in this format. Those that are not ours any more, or have a newer one, are left alone."""
        ...
