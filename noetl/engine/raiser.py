"""Raises this node's shards to a newer format, once all nodes of the cluster read it; and says so when this node is too old to own any."""

from __future__ import annotations

import logging
from typing import Any, Final

from msgspec import Struct

from noetl import __version__
from noetl.actors.actor import Actor, Context
from noetl.cluster.formats import oldest_of, to_raise
from noetl.cluster.membership import GROUP, ClusterSeen, Vicinity
from noetl.engine.evolve import FORMAT
from noetl.engine.shard import FormatRaised, shard_name
from noetl.errors import LogUnavailable
from noetl.store.lease import Shard
from noetl.store.members import Cluster, Incarnation, Members

_log: Final = logging.getLogger("noetl.actors.shards")


class Raised(Struct, frozen=True):
    """To oneself: shards may have a newer format now, or the error. The next look at the cluster shows which."""

    error: Any


class Raiser(Actor[ClusterSeen | Raised]):
    __slots__ = ("_members", "_raising", "_told", "_vicinity", "_warned")

    def __init__(self, members: Members, vicinity: Vicinity) -> None:
        self._members = members
        self._vicinity = vicinity
        self._raising = False
        self._told: dict[Shard, int] = {}
        """Which format the actor of each shard of ours knows of."""
        self._warned = False

    def init(self, ctx: Context[ClusterSeen | Raised]) -> None:
        ctx.registry.join(GROUP, ctx.self_ref)

    def handle(self, message: ClusterSeen | Raised, ctx: Context[ClusterSeen | Raised]) -> None:
        match message:
            case ClusterSeen(cluster):
                if (own := self._vicinity.own) is not None:
                    self._tell(cluster, own, ctx)
                    self._raise(cluster, own, ctx)
                    self._warn_if_too_old(cluster)
            case Raised(error):
                self._raising = False
                if isinstance(error, BaseException) and not isinstance(error, LogUnavailable):
                    raise error

    def _tell(self, cluster: Cluster, own: Incarnation, ctx: Context[ClusterSeen | Raised]) -> None:
        """Nothing is written in a newer format before that is seen in the store: from then on nobody older takes the shard."""
        ours = [row for row in cluster.shards if row.owner == own]
        self._told = {row.shard: self._told.get(row.shard, 0) for row in ours}
        for row in ours:
            actor = ctx.registry.find(shard_name(row.shard.id))
            if actor is not None and self._told[row.shard] < row.format:
                self._told[row.shard] = row.format
                actor.report(FormatRaised(row.format))

    def _raise(self, cluster: Cluster, own: Incarnation, ctx: Context[ClusterSeen | Raised]) -> None:
        wanted = to_raise(cluster, own)
        if wanted.shards and not self._raising:
            self._raising = True
            ctx.run(self._members.raise_format(wanted.shards, wanted.to), Raised)

    def _warn_if_too_old(self, cluster: Cluster) -> None:
        """Once in each life: this node has nothing to own, and never will have."""
        oldest = oldest_of(cluster)
        if oldest > FORMAT and not self._warned:
            self._warned = True
            _log.warning(
                "this node owns no shard: it is NoETL %s, which reads logs up to format %s, and all shards are in format %s or newer;"
                " start the NoETL that has written them",
                __version__,
                FORMAT,
                oldest,
            )
