"""In which format the logs of the common shards may be written, while nodes of two versions live together. Pure.

A node reads all formats up to its own. The format of the cluster is the newest that every member reads: until the last node of the version before is
gone, the new ones write what it reads, so that it may take over from them. Then owners raise their shards to the newer one, and nothing older takes
them any more.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from noetl.store.lease import Shard
from noetl.store.members import Cluster, Incarnation, Member, ShardRow


class Raise(Struct, frozen=True):
    shards: tuple[Shard, ...] = ()
    to: int = 0


def common_format(members: Iterable[Member]) -> int:
    """The newest format that all members read, 0 when there are none. Those that drain still own shards, and one whose lease has run out may be back:
    until it is buried it counts."""
    return min((member.node.format for member in members), default=0)


def to_raise(cluster: Cluster, own: Incarnation) -> Raise:
    """Which of a node's shards may be written in a newer format from now on."""
    newest = common_format(cluster.members)
    return Raise(tuple(row.shard for row in cluster.shards if row.owner == own and row.format < newest), newest)


def readers(row: ShardRow, members: Iterable[Member]) -> list[Member]:
    """Who reads all that a shard's logs may hold."""
    return [member for member in members if member.node.format >= row.format]


def oldest_of(cluster: Cluster) -> int:
    """The format of the shard that is furthest behind. A node that does not read it has nothing to own."""
    return min((row.format for row in cluster.shards), default=0)
