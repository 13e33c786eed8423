"""What runs the attempts of other nodes' executions: for each pool one who takes commands while slots are free; and the desk where owners ask."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, Final

import msgspec
from msgspec import Struct

from noetl.actors.actor import Actor, Context, Exit, Reason, Signal
from noetl.actors.ref import Reply
from noetl.engine.exchange import Busy, ExecutionsOver, HowBusy, NodeInbox, Parcel, Runs, StopCall, WhatRuns, decode_command
from noetl.engine.flight import Airport, Flight, StopFlight, decline
from noetl.engine.pool import Gauge, pool_name
from noetl.mailbox.address import NODES, node_address, pool_commands
from noetl.mailbox.remote import Mailed, receive
from noetl.mailbox.transport import Command, Listening, Puller
from noetl.tools.tool import Resources

ACK_WITHIN_S: Final = 5.0
"""A command that was pulled and not acked for so long is given to another node. The bus may have sent it to one that hears nothing; where it was
heard after all and its owner is slow to grant it, the owner grants it to one of them."""
_PAUSE_S: Final = 0.5
_UNSURE_S: Final = 0.05
_CHECK_S: Final = 0.2
_log: Final = logging.getLogger("noetl.actors.worker")


class TakerMessage(Struct, frozen=True):
    """Anything a taker may be told."""


class Came(TakerMessage, frozen=True):
    """To oneself: commands from a puller, or the error."""

    puller: int
    commands: Any


class Landed(TakerMessage, frozen=True):
    """A flight needs its slot no more."""


class PullAgain(TakerMessage, frozen=True):
    puller: int


class Check(TakerMessage, frozen=True):
    """To oneself: see whether this node may still take anything."""


class DrainTaker(TakerMessage, frozen=True):
    """Take nothing more. Answered when no flight is left."""

    reply: Reply[None]


class Done(TakerMessage, frozen=True):
    """To oneself: work is done, or the error."""

    error: Any


TakerInbox = Came | Landed | PullAgain | Check | DrainTaker | Done


class Taker(Actor[TakerInbox]):
    """Pulls as many commands as slots are free: from the pool's, and from those that only this node of the pool can run."""

    __slots__ = ("_airport", "_drained", "_flying", "_gauge", "_idle", "_number", "_pool", "_pullers", "_slots")
    trap_exit: ClassVar[bool] = True
    capacity: ClassVar[int] = 1_000_000

    def __init__(self, pool: str, slots: int, gauge: Gauge, airport: Airport) -> None:
        self._pool = pool
        self._slots = slots
        self._gauge = gauge
        self._airport = airport
        self._flying = 0
        self._number = 0
        self._pullers: list[Puller] = []
        self._idle: set[int] = set()
        """Pullers that do not pull, since no slot was free."""
        self._drained: list[Reply[None]] | None = None

    def init(self, ctx: Context[TakerInbox]) -> None:
        ctx.registry.register(taker_name(self._pool), ctx.self_ref)
        node = self._airport.vicinity.life().node
        names = (self._pool, f"{self._pool}@{node}")
        self._pullers = [self._airport.bus.puller(name, (pool_commands(name),), ACK_WITHIN_S) for name in names]
        for puller in range(len(self._pullers)):
            self._pull(puller, ctx)
        ctx.send_interval(_CHECK_S, Check())
        self._decline_lost(ctx)  # what an incarnation before this one has taken down with it

    def handle(self, message: TakerInbox, ctx: Context[TakerInbox]) -> None:
        match message:
            case Came(puller, commands):
                self._came(puller, commands, ctx)
            case Landed():
                self._flying -= 1
                for puller in sorted(self._idle):
                    self._pull(puller, ctx)
            case PullAgain(puller):
                self._pull(puller, ctx)
            case Check():
                if not self._airport.vicinity.is_sure():
                    self._rest()
            case DrainTaker(reply):
                self._drained = [*(self._drained or ()), reply]
                self._rest()
                self._tell_drained(ctx)
            case Done(error):
                if isinstance(error, BaseException):
                    raise error

    def signal(self, signal: Signal, ctx: Context[TakerInbox]) -> None:
        """A flight that has crashed has lost what it may have been granted: the owner is told, through the store."""
        if not isinstance(signal, Exit):
            return
        ctx.forget(signal.ref)
        self._decline_lost(ctx)
        self._tell_drained(ctx)

    def _rest(self) -> None:
        """Others take what waits."""
        for puller in self._pullers:
            puller.rest()

    def terminate(self, reason: Reason, ctx: Context[TakerInbox]) -> None:
        for puller in self._pullers:
            puller.close()

    def _decline_lost(self, ctx: Context[TakerInbox]) -> None:
        own = self._airport.vicinity.own
        for command in self._airport.flights.take_lost(self._pool):
            if own is not None:
                ctx.run(decline(command, own, self._airport), Done)

    def _free(self) -> int:
        return min(self._slots - self._flying, self._gauge.free)

    def _pull(self, puller: int, ctx: Context[TakerInbox]) -> None:
        free = self._free()
        if not self._airport.vicinity.is_sure():
            ctx.send_after(_UNSURE_S, PullAgain(puller))
            return
        if free <= 0 or self._drained is not None:
            self._idle.add(puller)
            if self._flying < self._slots and self._drained is None:
                ctx.send_after(_PAUSE_S, PullAgain(puller))  # others have the slots
            return
        self._idle.discard(puller)
        ctx.run(self._pullers[puller].pull(free), lambda commands: Came(puller, commands))

    def _came(self, puller: int, commands: Any, ctx: Context[TakerInbox]) -> None:
        if isinstance(commands, BaseException):
            ctx.send_after(_PAUSE_S, PullAgain(puller))
            return
        may_take = self._drained is None and self._airport.vicinity.is_sure()
        for command in commands:
            if may_take:
                self._take_off(command, ctx)
            else:
                command.give_back()
        self._pull(puller, ctx)

    def _take_off(self, pulled: Command, ctx: Context[TakerInbox]) -> None:
        try:
            command = decode_command(pulled.body)
        except msgspec.MsgspecError as error:
            _log.warning("a command of pool %s can't be read: %s", self._pool, error)
            pulled.term(f"it can't be read: {error}")
            return
        self._flying += 1
        self._number += 1
        pool = ctx.registry.whereis(pool_name(self._pool))
        landed = ctx.callback(lambda _: Landed())
        start = partial(Flight, command, pulled, self._pool, pool, self._airport, partial(landed, None))
        ctx.spawn(start, f"{self._number}", shutdown_s=10.0)

    def _tell_drained(self, ctx: Context[TakerInbox]) -> None:
        if self._drained and not ctx.children():
            for reply in self._drained:
                reply.send(None)
            self._drained = []


def taker_name(pool: str) -> str:
    """The name under which the taker of a pool is registered."""
    return f"taker/{pool}"


class Handled(Struct, frozen=True):
    """To oneself: as `Done`."""

    error: Any


DeskInbox = Mailed[NodeInbox] | Handled


class Desk(Actor[DeskInbox]):
    """Answers what owners ask this node."""

    __slots__ = ("_airport", "_ears", "_gauges", "_resources")

    def __init__(self, airport: Airport, resources: Resources, gauges: Mapping[str, Gauge]) -> None:
        self._airport = airport
        self._gauges = gauges
        self._resources = resources
        self._ears: list[Listening] = []

    def init(self, ctx: Context[DeskInbox]) -> None:
        node, hear = self._airport.vicinity.life().node, ctx.self_ref.report
        self._ears = [receive(self._airport.bus, address, NodeInbox, hear) for address in (node_address(node), NODES)]

    def handle(self, message: DeskInbox, ctx: Context[DeskInbox]) -> None:
        if isinstance(message, Handled):
            if isinstance(message.error, BaseException):
                raise message.error
            return
        match message.message:
            case WhatRuns(shards):
                message.answer(Runs(self._airport.vicinity.life(), self._airport.flights.of(frozenset(shards))))
            case HowBusy():
                message.answer(Busy({name: gauge.free for name, gauge in self._gauges.items()}))
            case StopCall(key):
                flight = self._airport.flights.find(key)
                if flight is None:
                    message.answer(Parcel())
                else:
                    flight.report(StopFlight(message.answer))
            case ExecutionsOver(over):
                for ended in over:
                    ctx.run(self._resources.end_execution(ended.execution_id, resumable=ended.resumable), Handled)

    def terminate(self, reason: Reason, ctx: Context[DeskInbox]) -> None:
        for ear in self._ears:
            ear.stop()
