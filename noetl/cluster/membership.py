"""The actor that keeps a node a member of its cluster, and knows who the others are.

When its life was ended by others it crashes: everything that leans on it is stopped and started again, in a new life. So a node that was thought dead
drops what it held.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct

from noetl.actors.actor import AsyncActor, Context, Reason
from noetl.cluster.formats import common_format
from noetl.cluster.shares import overdue
from noetl.errors import Fenced, LogUnavailable, NotFound
from noetl.probe import Happening
from noetl.store.members import Cluster, Heart, Incarnation, Member, Members, NodeRow

GROUP: Final = "cluster"
"""The process group of those who are told `ClusterSeen`."""
_LOOKS_PER_LEASE: Final = 10


class ClusterSeen(Struct, frozen=True):
    """How the cluster looks now. Told again and again, also when nothing has changed."""

    cluster: Cluster


class MemberBuried(Happening, frozen=True):
    """A node's lease ran out, and this node has ended its life."""

    incarnation: Incarnation


class Look(Struct, frozen=True):
    """To oneself: time to see who is there."""


class Lost(Struct, frozen=True):
    """Our life is over."""


class Vicinity:
    """What this node knows of its cluster, for those who do not want to be told."""

    def __init__(self) -> None:
        self.own: Incarnation | None = None
        self.heart: Heart | None = None
        self._newest = 0
        """The highest number of a life that was seen."""
        self.cluster = Cluster((), ())
        self._looks: list[asyncio.Future[None]] = []

    def see(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._newest = max([self._newest, *(member.incarnation.number for member in cluster.members)])
        looks, self._looks = self._looks, []
        for look in looks:
            if not look.done():
                look.set_result(None)

    async def next_look(self) -> None:
        """Wait until somebody has looked again."""
        look = asyncio.get_running_loop().create_future()
        self._looks.append(look)
        await look

    def is_sure(self) -> bool:
        """Whether this node may act as a member. One that could not renew its lease in time may have been buried, and others may have what it has: it
        takes nothing and answers nobody until it knows."""
        return self.own is not None and self.heart is not None and self.heart.is_sure()

    def is_gone(self, incarnation: Incarnation) -> bool:
        """Whether that life is over, as was seen. (One with a higher number than any has begun since.)"""
        return incarnation.number <= self._newest and self.member(incarnation) is None

    def owns_shards(self) -> bool:
        return self.own is not None and any(row.owner == self.own for row in self.cluster.shards)

    @property
    def members(self) -> tuple[Member, ...]:
        return self.cluster.members

    @property
    def format(self) -> int:
        """The newest format of logs that all members read."""
        return common_format(self.members)

    def format_of(self, shard: int) -> int:
        """In which format the logs of a common shard may be written, by the last look. Raises `NotFound`."""
        found = next((row.format for row in self.cluster.shards if row.shard.id == shard), None)
        if found is None:
            raise NotFound(f"there is no common shard {shard}")
        return found

    def life(self) -> Incarnation:
        """Raises `NotFound` while this node is no member."""
        if self.own is None:
            raise NotFound("this node is no member of a cluster now")
        return self.own

    def member(self, incarnation: Incarnation) -> Member | None:
        return next((member for member in self.members if member.incarnation == incarnation), None)

    async def draining(self) -> None:
        """Wait until somebody has asked this node to take nothing new."""
        while not (self.own is not None and (own := self.member(self.own)) is not None and own.draining):
            await self.next_look()


class Membership(AsyncActor[Look | Lost]):
    """`about` makes what the node says of itself; it is asked at every start. `lease_s`: how long the node counts as alive after each renewal."""

    def __init__(self, members: Members, about: Callable[[], NodeRow], vicinity: Vicinity, lease_s: float) -> None:
        self._members = members
        self._about = about
        self._vicinity = vicinity
        self._lease_s = lease_s
        self._heart: Heart | None = None

    async def init(self, ctx: Context[Any]) -> None:
        about = self._about()
        own = await self._members.join(about, self._lease_s)
        lost: Callable[[None], None] = ctx.callback(lambda _: Lost())
        self._heart = self._members.heart(own, self._lease_s, lambda: lost(None))
        self._vicinity.own, self._vicinity.heart = own, self._heart
        await self._look(ctx)
        ctx.send_interval(self._lease_s / _LOOKS_PER_LEASE, Look())

    async def handle(self, message: Look | Lost, ctx: Context[Any]) -> None:
        if isinstance(message, Lost):
            raise Fenced(f"{self._vicinity.own}: others have ended this node's life, since its lease had run out")
        await self._look(ctx)

    async def terminate(self, reason: Reason, ctx: Context[Any]) -> None:
        """What is left is nobody's at once: nobody has to wait for the lease."""
        own, self._vicinity.own, self._vicinity.heart = self._vicinity.own, None, None
        if self._heart is not None:
            self._heart.stop()
        if own is not None and not isinstance(reason, Fenced):
            await self._members.leave(own)

    async def _look(self, ctx: Context[Any]) -> None:
        own = self._vicinity.life()
        try:
            async with asyncio.timeout(self._lease_s):  # that this node's own life is over must be heard in time
                cluster = await self._members.cluster()
                if await self._bury(cluster, own, ctx):
                    cluster = await self._members.cluster()
        except (LogUnavailable, TimeoutError):
            return  # nobody can be judged now; what was seen last holds
        self._vicinity.see(cluster)
        ctx.registry.broadcast(GROUP, ClusterSeen(cluster))

    async def _bury(self, cluster: Cluster, own: Incarnation, ctx: Context[Any]) -> bool:
        """Whether anybody was."""
        buried = [dead for dead in overdue(cluster, own) if await self._members.bury(dead, own)]
        for dead in buried:
            ctx.probe.emit(MemberBuried(dead))
        return bool(buried)
