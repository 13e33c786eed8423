"""Which of the common shards a node takes, and which it gives back. Pure: from what all nodes can see, each decides for itself.

Every server may own an equal share. A node takes what is nobody's up to its share, and gives back what is beyond it; so when a node joins or goes,
only the shards that must move do.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from noetl.store.lease import Shard
from noetl.store.members import Cluster, Incarnation, Member

OWNS: Final = "shards"
"""The role of nodes that own shards."""


class Moves(Struct, frozen=True):
    take: tuple[int, ...] = ()
    give: tuple[Shard, ...] = ()


def owners(members: Iterable[Member]) -> list[Member]:
    """Who may own shards."""
    return [member for member in members if member.is_alive and not member.draining and OWNS in member.node.roles]


def moves(cluster: Cluster, own: Incarnation) -> Moves:
    """What the node of that incarnation should do now."""
    mine = [row.shard for row in cluster.shards if row.owner == own]
    servers = owners(cluster.members)
    if all(member.incarnation != own for member in servers):
        return Moves(give=tuple(mine))
    share = math.ceil(len(cluster.shards) / len(servers))
    free = [row.shard.id for row in cluster.shards if row.owner is None]
    if len(mine) > share:
        liked_least = sorted(mine, key=lambda shard: _liking(own.node, shard.id))
        return Moves(give=tuple(liked_least[: len(mine) - share]))
    liked_most = sorted(free, key=lambda id_: _liking(own.node, id_), reverse=True)
    return Moves(take=tuple(liked_most[: share - len(mine)]))


def _liking(node: str, shard: int) -> int:
    """Nodes like shards differently, so that two of them seldom reach for the same one."""
    return int.from_bytes(hashlib.blake2b(f"{node}/{shard}".encode(), digest_size=8).digest())


def overdue(cluster: Cluster, own: Incarnation) -> list[Incarnation]:
    """Whose lease has run out."""
    return [member.incarnation for member in cluster.members if not member.is_alive and member.incarnation != own]
