"""One command on the node that took it: claim the attempt at its owner, run it, tell the outcome until it is committed.

The outcome is kept here until the owner says so; where the bus does not get it there, it goes into the execution's inbox in the store.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import NoneType
from typing import Any, ClassVar, Final

import msgspec
from msgspec import Struct

from noetl.actors.actor import Actor, Context, Exit, Signal, is_abnormal
from noetl.actors.ref import Ref
from noetl.cluster.membership import Vicinity
from noetl.engine.attempt import Attempt, Children
from noetl.engine.cache import ValueCache
from noetl.engine.call import Caller
from noetl.engine.exchange import (
    AttemptKey,
    Claim,
    ClaimAnswer,
    Command,
    Declined,
    Held,
    Parcel,
    Report,
    encode,
    fits,
    owner,
    packed,
    unpacked,
)
from noetl.engine.library import Library
from noetl.engine.messages import ChildRequested, Failed, Lost, OutcomeMessage, Stopped, Succeeded
from noetl.engine.order import Order
from noetl.engine.pool import PoolInbox, borrow
from noetl.engine.step import crashed
from noetl.engine.wire import decode_order, encode_outcome, order_of
from noetl.errors import AskTimeout, CallError, LogUnavailable, NoetlError, NotFound
from noetl.mailbox.transport import Command as Pulled
from noetl.mailbox.transport import Transport
from noetl.store.log import InboxRow
from noetl.store.members import Incarnation
from noetl.store.patience import patiently
from noetl.store.store import Store
from noetl.vault.secrets import Secrets

_CLAIM_S: Final = 3.0
_CLAIM_TRIES: Final = 7
"""About as long as it takes another server to take over what the owner of an execution has left."""
_REPORT_S: Final = 3.0
_PATIENCE_S: Final = 5.0
"""How long the bus may fail before an outcome goes to the store."""
_PAUSE_S: Final = 0.2
_PAUSE_MAX_S: Final = 2.0
_STOP_S: Final = 8.0


class Aloft(Struct, frozen=True):
    """A command that this node has taken."""

    command: Command
    pool: str
    ref: Ref[FlightInbox]
    granted: bool = False


class Flights:
    """What this node runs for others, has asked for, or has run and not yet told. One per node; it outlives the actors.

    What ends well takes itself out. What is left when its actor is gone was lost here, and its owner is told so.
    """

    def __init__(self) -> None:
        self._aloft: dict[AttemptKey, Aloft] = {}

    def add(self, command: Command, pool: str, ref: Ref[FlightInbox]) -> None:
        self._aloft[command.key] = Aloft(command, pool, ref)

    def grant(self, key: AttemptKey) -> None:
        self._aloft[key] = msgspec.structs.replace(self._aloft[key], granted=True)

    def remove(self, key: AttemptKey) -> None:
        self._aloft.pop(key, None)

    def find(self, key: AttemptKey) -> Ref[FlightInbox] | None:
        found = self._aloft.get(key)
        return None if found is None else found.ref

    def take_lost(self, pool: str) -> list[Command]:
        """Those of a pool whose actors are gone. They are here no more."""
        lost = [aloft.command for aloft in self._aloft.values() if aloft.pool == pool and aloft.ref.is_dead()]
        for command in lost:
            del self._aloft[command.key]
        return lost

    def of(self, shards: frozenset[int]) -> tuple[Held, ...]:
        found = [aloft for aloft in self._aloft.values() if aloft.command.shard in shards]
        return tuple(Held(aloft.command.key, aloft.command.shard, aloft.granted) for aloft in found)

    def __len__(self) -> int:
        return sum(aloft.granted for aloft in self._aloft.values())


@dataclass(frozen=True, slots=True)
class Airport:
    """What all flights of a node share. `directory` is the id of the one in which its tools keep what lasts."""

    node: str
    directory: str
    bus: Transport
    store: Store
    library: Library
    cache: ValueCache
    secrets: Secrets
    caller: Caller
    children: Children
    vicinity: Vicinity
    flights: Flights


class ClaimEnded(Struct, frozen=True):
    """To oneself: the order; None: it is not for us; or the error."""

    order: Any


class StopFlight(Struct, frozen=True):
    """The owner wants it stopped. `answer` takes the outcome, as a `Parcel`."""

    answer: Callable[[Parcel], None]


class Told(Struct, frozen=True):
    """To oneself: the outcome is where it belongs, or the error."""

    error: Any


FlightInbox = ClaimEnded | StopFlight | Told | Succeeded | Failed | Stopped | Lost | ChildRequested


class Flight(Actor[FlightInbox]):
    """`landed` is called when it needs its slot no more, also when it never got one."""

    __slots__ = ("_airport", "_command", "_landed", "_order", "_outcome", "_pool", "_pool_name", "_pulled", "_running", "_stoppers")
    trap_exit: ClassVar[bool] = True

    def __init__(self, command: Command, pulled: Pulled, pool_name: str, pool: Ref[PoolInbox], airport: Airport, landed: Callable[[], None]) -> None:
        self._command = command
        self._pulled = pulled
        self._pool_name = pool_name
        self._pool = pool
        self._airport = airport
        self._landed = landed
        self._order: Order | None = None
        self._running: Ref[Any] | None = None
        self._outcome: OutcomeMessage | None = None
        self._stoppers: list[Callable[[Parcel], None]] = []

    def init(self, ctx: Context[FlightInbox]) -> None:
        """It is known here before it is claimed: what an owner has granted and this node does not know of is lost."""
        if self._airport.flights.find(self._command.key) is not None:
            self._pulled.ack()  # the same command once more: who has it goes on
            ctx.stop()
            return
        self._airport.flights.add(self._command, self._pool_name, ctx.self_ref)
        ctx.run(_claimed(self._command, self._airport), ClaimEnded)

    def handle(self, message: FlightInbox, ctx: Context[FlightInbox]) -> None:
        match message:
            case ClaimEnded(order):
                self._claim_ended(order, ctx)
            case StopFlight(answer):
                self._stop(answer, ctx)
            case Told(error):
                if isinstance(error, BaseException):
                    raise error
                self._end(ctx)
            case _:
                self._take(message, ctx)

    def signal(self, signal: Signal, ctx: Context[FlightInbox]) -> None:
        """Signals overtake messages: what an attempt has told before it ended well is still to come."""
        if isinstance(signal, Exit) and signal.ref is self._running:
            self._running = None
            if is_abnormal(signal.reason) and self._outcome is None and self._order is not None:
                self._take(crashed(self._order, signal.reason), ctx)

    def terminate(self, reason: Any, ctx: Context[FlightInbox]) -> None:
        if self._outcome is None:
            self._landed()
        for answer in self._stoppers:
            answer(Parcel())

    def _claim_ended(self, order: Any, ctx: Context[FlightInbox]) -> None:
        """A command that nobody could be asked about comes again by itself."""
        if isinstance(order, Unreachable):
            self._end(ctx)
            return
        if isinstance(order, Elsewhere):
            self._pulled.give_back()
            self._end(ctx)
            return
        self._pulled.ack()
        if order is None:
            self._end(ctx)
        elif isinstance(order, NoetlError):
            self._take(_unreadable(self._command.key, order, ctx), ctx)
        elif isinstance(order, BaseException):
            raise order
        else:
            self._fly(order, ctx)

    def _end(self, ctx: Context[FlightInbox]) -> None:
        """Well: nothing of it is left to be told."""
        self._airport.flights.remove(self._command.key)
        ctx.stop()

    def _fly(self, order: Order, ctx: Context[FlightInbox]) -> None:
        airport = self._airport
        self._order = order
        attempt = ctx.spawn(lambda: Attempt(order, airport.caller, airport.children, ctx.self_ref.report), "attempt", shutdown_s=_STOP_S)
        self._running = attempt
        if self._stoppers:
            ctx.shutdown(attempt)
        else:
            borrow(self._pool, attempt, order.priority)

    def _stop(self, answer: Callable[[Parcel], None], ctx: Context[FlightInbox]) -> None:
        self._stoppers.append(answer)
        if self._outcome is not None:
            self._answer_stoppers()
        elif self._running is not None:
            ctx.shutdown(self._running)
        # else its claim is under way: what comes of that is stopped when it starts

    def _take(self, outcome: OutcomeMessage, ctx: Context[FlightInbox]) -> None:
        if self._outcome is None:
            if isinstance(outcome, (Succeeded, Failed)):
                shares = self._order is not None and self._order.shares
                outcome = msgspec.structs.replace(outcome, node=self._airport.node, directory=self._airport.directory if shares else "")
            self._outcome = outcome
            self._landed()
            self._answer_stoppers()
            ctx.run(_told(self._command, outcome, self._airport), Told)

    def _answer_stoppers(self) -> None:
        """What does not fit into a message comes with the report."""
        assert self._outcome is not None
        stoppers, self._stoppers = self._stoppers, []
        if stoppers:
            body = encode_outcome(self._outcome, self._airport.secrets)
            for answer in stoppers:
                answer(Parcel(body if fits(body) else b""))


class Unreachable(Exception):
    """The owner could not be asked."""


class Elsewhere(Exception):
    """The owner takes this node for dead."""


async def _claimed(command: Command, airport: Airport) -> Order | None:
    """Raises `Unreachable`, `Elsewhere`; `NoetlError` when the order can't be read here."""
    own = airport.vicinity.own
    if own is None:
        raise Unreachable
    asked = owner(command.shard, command.key.execution_id, airport.bus)
    heard = False
    for number in range(_CLAIM_TRIES):
        try:
            answer = await asked.ask(Claim(command.key, own), ClaimAnswer, _CLAIM_S)
        except CallError as error:
            heard = heard or isinstance(error, AskTimeout)
            await asyncio.sleep(min(_PAUSE_S * 2**number, _PAUSE_MAX_S))
        else:
            if answer.elsewhere:
                raise Elsewhere
            if answer.order is None:
                return None
            airport.flights.grant(command.key)  # before it is read, which may take a while: a new owner may ask meanwhile what runs here
            return await patiently(partial(_order, answer.order, airport), LogUnavailable)
    if heard:  # perhaps it was granted, and the answer has not come
        await decline(command, own, airport)
    raise Unreachable


async def decline(command: Command, own: Incarnation, airport: Airport) -> None:
    """Let the owner know that nobody here runs what may have been granted."""
    row = InboxRow(command.key.execution_id, "declined", encode(Declined(command.key, own)))
    await patiently(partial(_left_in_store, row, airport), LogUnavailable)


async def _order(parcel: Parcel, airport: Airport) -> Order:
    body = await unpacked(parcel, airport.cache)
    try:
        wire = decode_order(body, airport.secrets)
    except msgspec.MsgspecError as error:
        raise NoetlError(f"this node can't read the order: {error}") from error
    return order_of(wire, await airport.library.program(wire.net), airport.cache.load)


async def _told(command: Command, outcome: OutcomeMessage, airport: Airport) -> None:
    """Returns when the owner has committed it, or the store has it."""
    body = encode_outcome(outcome, airport.secrets)
    told = owner(command.shard, command.key.execution_id, airport.bus)
    report = Report(command.key, await patiently(partial(packed, body, airport.cache), LogUnavailable))
    loop = asyncio.get_running_loop()
    until, pause_s = loop.time() + _PATIENCE_S, _PAUSE_S
    while True:
        try:
            await told.ask(report, NoneType, _REPORT_S)
        except CallError:
            if loop.time() > until:
                await patiently(partial(_left_in_store, InboxRow(command.key.execution_id, "outcome", body), airport), LogUnavailable)
                return
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _PAUSE_MAX_S)
        else:
            return


async def _left_in_store(row: InboxRow, airport: Airport) -> None:
    """Raises `LogUnavailable`."""
    with contextlib.suppress(NotFound):  # nobody will ask for it
        await airport.store.inbox.put(row)


def _unreadable(key: AttemptKey, error: NoetlError, ctx: Context[Any]) -> Failed:
    about = {"kind": "config", "message": str(error), "retryable": False}
    return Failed(run=key.run, index=key.index, task=key.task, attempt=key.attempt, call=key.call, started_at=ctx.now(), duration_s=0.0, error=about)
