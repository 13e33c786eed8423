"""A pool of slots. A slot is a monitored loan: it comes back when the borrower gives it back or dies."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from typing import Any, ClassVar

from msgspec import Struct

from noetl.actors.actor import Actor, Context, Down, Signal
from noetl.actors.ref import Ref, Reply
from noetl.actors.registry import Registry
from noetl.errors import ToolRefused

TOP_PRIORITY = 9


class Granted(Struct, frozen=True):
    """To the borrower: the slot is yours until you end or give it back."""


class PoolMessage(Struct, frozen=True):
    """Anything a pool may be told."""


class Borrow(PoolMessage, frozen=True):
    """Ask for a slot. `priority` 0..9, 9 first; within one priority, who asked first."""

    borrower: Ref[Any]
    priority: int = 5


class GiveBack(PoolMessage, frozen=True):
    borrower: Ref[Any]


class PoolStatus(Struct, frozen=True):
    slots: int
    free: int
    waiting: int


class HowIs(PoolMessage, frozen=True):
    reply: Reply[PoolStatus]


class Drain(PoolMessage, frozen=True):
    """Grant nothing any more. `reply` is answered when all slots have come back."""

    reply: Reply[None]


PoolInbox = Borrow | GiveBack | HowIs | Drain


def borrow(pool: Ref[PoolInbox], borrower: Ref[Any], priority: int) -> None:
    """The borrower will be told `Granted`. Raises `ActorDead`."""
    pool.tell(Borrow(borrower, priority))


def give_back(pool: Ref[PoolInbox], borrower: Ref[Any]) -> None:
    pool.report(GiveBack(borrower))


class Gauge:
    """What others may see of a pool without asking it: how many slots are free."""

    __slots__ = ("free",)

    def __init__(self, free: int = 0) -> None:
        self.free = free


class Pool(Actor[PoolInbox]):
    """`slots` loans at a time."""

    __slots__ = ("_drained", "_gauge", "_holders", "_name", "_number", "_slots", "_waiting")
    capacity: ClassVar[int] = 1_000_000

    def __init__(self, name: str, slots: int, gauge: Gauge | None = None) -> None:
        self._name = name
        self._slots = slots
        self._gauge = gauge or Gauge()
        self._gauge.free = slots
        self._drained: list[Reply[None]] | None = None
        """Who waits until all slots have come back; None: it does not drain."""
        self._holders: set[Ref[Any]] = set()
        self._waiting: list[tuple[int, int, Ref[Any]]] = []
        self._number = 0

    def init(self, ctx: Context[PoolInbox]) -> None:
        ctx.registry.register(pool_name(self._name), ctx.self_ref)

    def handle(self, message: PoolInbox, ctx: Context[PoolInbox]) -> None:
        match message:
            case Borrow(borrower, priority):
                ctx.monitor(borrower)
                if self._gauge.free and self._drained is None:
                    self._grant(borrower)
                else:
                    self._number += 1
                    heapq.heappush(self._waiting, (TOP_PRIORITY - priority, self._number, borrower))
            case GiveBack(borrower):
                ctx.demonitor(borrower)
                self._take_back(borrower)
            case HowIs(reply):
                waiting = sum(borrower.is_alive() for _, _, borrower in self._waiting)
                reply.send(PoolStatus(self._slots, self._gauge.free, waiting))
            case Drain(reply):
                self._drained = [*(self._drained or ()), reply]
                self._tell_drained()

    def signal(self, signal: Signal, ctx: Context[PoolInbox]) -> None:
        if isinstance(signal, Down):
            self._take_back(signal.ref)

    def _grant(self, borrower: Ref[Any]) -> None:
        self._gauge.free -= 1
        self._holders.add(borrower)
        borrower.report(Granted())

    def _take_back(self, borrower: Ref[Any]) -> None:
        """Free the slot for the next who still waits. One that dies while it waits is passed over."""
        if borrower not in self._holders:
            return
        self._holders.discard(borrower)
        self._gauge.free += 1
        while self._gauge.free and self._waiting and self._drained is None:
            _, _, following = heapq.heappop(self._waiting)
            if following.is_alive():
                self._grant(following)
        self._tell_drained()

    def _tell_drained(self) -> None:
        if self._drained and self._gauge.free == self._slots:
            for reply in self._drained:
                reply.send(None)
            self._drained = []


class LocalPools:
    """The pools of this node, in the order of its profile: `serves` maps pool -> tool kinds, `*` for all. Their actors are in the registry."""

    def __init__(self, registry: Registry, serves: Mapping[str, frozenset[str]], gauges: Mapping[str, Gauge]) -> None:
        self._registry = registry
        self._serves = serves
        self._gauges = gauges

    def name_for(self, kind: str, pool: str | None) -> str | None:
        """The pool that a step names, else the first that serves the kind. None: there is none."""
        for name, kinds in self._serves.items():
            if name == pool or (pool is None and (kind in kinds or "*" in kinds)):
                return name
        return None

    def find(self, kind: str, pool: str | None) -> Ref[PoolInbox]:
        """Raises `ToolRefused` when there is none."""
        name = self.name_for(kind, pool)
        if name is not None:
            return self._registry.whereis(pool_name(name))
        wanted = f"pool '{pool}'" if pool is not None else f"pool for tool kind '{kind}'"
        raise ToolRefused(f"this node has no {wanted}; its pools are {', '.join(self._serves)}", kind="config")

    def room(self, name: str) -> bool:
        return self._gauges[name].free > 0


def pool_name(pool: str) -> str:
    """The name under which a pool's actor is registered."""
    return f"pool/{pool}"
