"""Puts the commands of this node's attempts into the stream, in the order of priority and fairness.

The stream itself knows no order but that of coming. So only as many commands lie in it as the workers of a pool can take soon; the others wait here,
where who comes later may still be next.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Final

from msgspec import Struct

from noetl.actors.actor import Actor, Context
from noetl.actors.ref import Ref
from noetl.cluster.capacity import workers
from noetl.cluster.fairness import FairQueue
from noetl.cluster.membership import GROUP, ClusterSeen, Vicinity
from noetl.cluster.shares import owners
from noetl.engine.remote import DISPATCHER, REMOTE, Send, Sent, Want, Withdraw
from noetl.mailbox.transport import Transport
from noetl.store.members import Incarnation

_LEAST: Final = 8
_PER_SLOT: Final = 2
"""Commands in the stream for each slot of the pool: while one runs, the next is on its way."""
_SWEEP_S: Final = 1.0


class Put(Struct, frozen=True):
    """To oneself: the stream has it, or the error."""

    want: Want
    error: Any


class Sweep(Struct, frozen=True):
    """To oneself: time to forget those that have ended without a word."""


class BusBegins(Struct, frozen=True):
    """The bus can be reached again, or its stream of commands is a new one: what was sent before may be gone."""


DispatcherInbox = Want | Withdraw | Put | Sweep | ClusterSeen | BusBegins


class Dispatcher(Actor[DispatcherInbox]):
    """`queued` is kept up to date: how many wait for each pool, here or in the stream."""

    __slots__ = ("_bus", "_in_stream", "_queued", "_queues", "_takers", "_vicinity", "_windows")
    capacity: ClassVar[int] = 1_000_000

    def __init__(self, bus: Transport, vicinity: Vicinity, queued: dict[str, int]) -> None:
        self._bus = bus
        self._vicinity = vicinity
        self._queued = queued
        self._queues: dict[str, FairQueue[Want]] = {}
        self._in_stream: dict[str, dict[Ref[Any], None]] = {}
        """Of each pool: whose command is in the stream, or on its way, and not claimed."""
        self._windows: dict[str, int] = {}
        self._takers: frozenset[Incarnation] = frozenset()

    def init(self, ctx: Context[DispatcherInbox]) -> None:
        ctx.registry.register(DISPATCHER, ctx.self_ref)
        ctx.registry.join(GROUP, ctx.self_ref)
        self._look()
        begins: Callable[[object], None] = ctx.callback(lambda _: BusBegins())
        self._bus.on_new_stream(lambda: begins(None))
        self._bus.watch(lambda is_up: begins(None) if is_up else None)
        ctx.send_interval(_SWEEP_S, Sweep())
        ctx.registry.broadcast(REMOTE, Send())  # what an incarnation before this one had waiting

    def handle(self, message: DispatcherInbox, ctx: Context[DispatcherInbox]) -> None:
        match message:
            case Want(pool=pool, priority=priority, fair_key=key):
                if message.attempt in self._in_stream.get(pool, {}):
                    self._put(message, ctx)  # once more: it has its place already
                else:
                    self._queues.setdefault(pool, FairQueue()).push(message, priority, key)
                    self._serve(pool, ctx)
            case Withdraw(attempt, pool):
                self._forget(attempt, pool, ctx)
            case Put(want, error):
                want.attempt.report(Sent(error))
                if error is not None:
                    self._forget(want.attempt, want.pool, ctx)
            case Sweep():
                for pool, held in list(self._in_stream.items()):
                    for attempt in [attempt for attempt in held if not attempt.is_alive()]:
                        self._forget(attempt, pool, ctx)
            case ClusterSeen():
                before = self._takers
                self._look()
                if before - self._takers:  # the bus may have sent commands to the one that is gone
                    self._send_again()
                for pool in list(self._queues):
                    self._serve(pool, ctx)
            case BusBegins():
                self._send_again()

    def _look(self) -> None:
        self._windows = windows(self._vicinity)
        self._takers = frozenset(member.incarnation for member in workers(self._vicinity.members))

    def _send_again(self) -> None:
        """What is in the stream and was not claimed. Where the first sending is still on its way, the second finds the attempt claimed."""
        for held in self._in_stream.values():
            for attempt in held:
                attempt.report(Send())

    def _serve(self, pool: str, ctx: Context[DispatcherInbox]) -> None:
        queue, held = self._queues.get(pool), self._in_stream.setdefault(pool, {})
        while queue and len(held) < self._windows.get(pool, _LEAST):
            want = queue.pop()
            if want.attempt.is_alive():
                held[want.attempt] = None
                self._put(want, ctx)
        self._queued[pool] = len(held) + (0 if queue is None else len(queue))

    def _put(self, want: Want, ctx: Context[DispatcherInbox]) -> None:
        ctx.run(self._bus.command(want.subject, want.body, want.message_id), partial(Put, want))

    def _forget(self, attempt: Ref[Any], pool: str, ctx: Context[DispatcherInbox]) -> None:
        if self._in_stream.get(pool, {}).pop(attempt, self) is None:
            self._serve(pool, ctx)


def windows(vicinity: Vicinity) -> dict[str, int]:
    """How many commands this node may have in the stream for each pool: its share of what all workers of the pool can take."""
    slots: dict[str, int] = {}
    for member in workers(vicinity.members):
        for name, pool in member.node.pools.items():
            slots[name] = slots.get(name, 0) + pool.slots
    servers = max(len(owners(vicinity.members)), 1)
    return {name: max(_PER_SLOT * number // servers, _LEAST) for name, number in slots.items()}
