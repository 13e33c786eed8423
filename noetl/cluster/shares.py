"""Which of the common shards a node takes, and which it gives back. Pure: from what all nodes can see, each decides for itself.

Every server may own an equal share. A node takes what is nobody's up to its share, and gives back what is beyond it; so when a node joins or goes,
only the shards that must move do. One whose lease has run out has its share until it is buried: when the store was away, all have run out, and
nothing should move. Shards that only some servers read, since their format is newer, are shared by those alone.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final

from msgspec import Struct

from noetl.cluster.formats import readers
from noetl.store.lease import Shard
from noetl.store.members import Cluster, Incarnation, Member, ShardRow

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
    servers = [member for member in cluster.members if not member.draining and OWNS in member.node.roles]
    take: tuple[int, ...] = ()
    give: tuple[Shard, ...] = ()
    for rows, sharers in _groups(cluster.shards, servers):
        share = math.ceil(len(rows) / len(sharers)) if own in sharers else 0
        within = _within(rows, share, own)
        take, give = take + within.take, give + within.give
    return Moves(take, give)


def _groups(shards: Iterable[ShardRow], servers: list[Member]) -> Iterator[tuple[list[ShardRow], list[Incarnation]]]:
    """Shards that the same servers may own, and those servers. A node reads all formats up to its own, so how many they are tells who they are."""
    groups: defaultdict[int, list[ShardRow]] = defaultdict(list)
    for row in shards:
        groups[len(readers(row, servers))].append(row)
    for rows in groups.values():
        yield rows, [member.incarnation for member in readers(rows[0], servers)]


def _within(rows: list[ShardRow], share: int, own: Incarnation) -> Moves:
    """Among shards that are shared equally."""
    mine = [row.shard for row in rows if row.owner == own]
    if len(mine) > share:
        liked_least = sorted(mine, key=lambda shard: _liking(own.node, shard.id))
        return Moves(give=tuple(liked_least[: len(mine) - share]))
    free = [row.shard.id for row in rows if row.owner is None]
    liked_most = sorted(free, key=lambda id_: _liking(own.node, id_), reverse=True)
    return Moves(take=tuple(liked_most[: share - len(mine)]))


def _liking(node: str, shard: int) -> int:
    """Nodes like shards differently, so that two of them seldom reach for the same one."""
    return int.from_bytes(hashlib.blake2b(f"{node}/{shard}".encode(), digest_size=8).digest())


def overdue(cluster: Cluster, own: Incarnation) -> list[Incarnation]:
    """Whose lease has run out."""
    return [member.incarnation for member in cluster.members if not member.is_alive and member.incarnation != own]
