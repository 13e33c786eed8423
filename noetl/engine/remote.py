"""An attempt that runs on another node, as its step sees it: it puts the command on the bus and answers who claims it.

Its outcome does not come here but to the execution, so that it finds it also when all this has ended. It ends when the outcome is committed.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from msgspec import Struct

from noetl.actors.actor import Actor, Context, Timer
from noetl.actors.ref import Ref
from noetl.cluster.capacity import pool_for, workers
from noetl.cluster.membership import Vicinity
from noetl.dsl.kinds import OWN_DATABASE
from noetl.engine.cache import ValueCache
from noetl.engine.claims import Claims
from noetl.engine.destination import Destination, destination
from noetl.engine.exchange import AttemptKey, ClaimAnswer, Command, Parcel, StopCall, encode, fits, node, packed, unpacked
from noetl.engine.messages import Failed, OutcomeMessage, Stopped
from noetl.engine.order import Order
from noetl.engine.places import LocalPlaces, Placed
from noetl.engine.wire import decode_outcome, encode_order
from noetl.mailbox.transport import Transport
from noetl.store.lease import Shard
from noetl.store.members import Incarnation
from noetl.vault.secrets import Secrets

REMOTE: Final = "remote"
"""The process group of all remote attempts of a node: whoever is told `Send` and was not claimed sends its command again."""
DISPATCHER: Final = "dispatcher"
"""The name of the actor that puts commands into the stream."""
RESEND_S: Final = 30.0
"""A command that nobody has claimed is sent again."""
_RETRY_S: Final = 1.0
_STOP_S: Final = 9.0


@dataclass(frozen=True, slots=True)
class Remote:
    """What all remote attempts of a node share. `return_s`: how long a node that has what a call needs may be away."""

    bus: Transport
    claims: Claims
    vicinity: Vicinity
    cache: ValueCache
    secrets: Secrets
    return_s: float


class Send(Struct, frozen=True):
    """To oneself: put the command on the bus, unless it was claimed."""


class Sent(Struct, frozen=True):
    """The stream has it, or the error."""

    error: Any


class Watch(Struct, frozen=True):
    """To oneself: see whether the node is still there to which the sending of that number went."""

    number: int


class Asked(Struct, frozen=True):
    """A node claims it."""

    by: Incarnation
    answer: Callable[[ClaimAnswer], None]


class Stop(Struct, frozen=True):
    """Nobody needs it any more."""


class StopAnswered(Struct, frozen=True):
    """To oneself: the node has said what became of the call, or nothing."""

    answer: Any


class Want(Struct, frozen=True):
    """To the dispatcher: put this command into the stream when its turn comes. `attempt` is told `Sent`."""

    attempt: Ref[Any]
    pool: str
    priority: int
    fair_key: str
    subject: str
    body: bytes
    message_id: str


class Withdraw(Struct, frozen=True):
    """To the dispatcher: the command was claimed, or nobody needs it."""

    attempt: Ref[Any]
    pool: str


RemoteInbox = Send | Sent | Watch | Asked | Stop | StopAnswered


class RemoteAttempt(Actor[RemoteInbox]):
    __slots__ = ("_again", "_holder", "_key", "_missed", "_order", "_pool", "_remote", "_sent", "_shard", "_tell", "_to")
    capacity: ClassVar[int] = 1_000

    def __init__(self, order: Order, shard: Shard, remote: Remote, tell: Callable[[OutcomeMessage], None]) -> None:
        self._order = order
        self._shard = shard
        self._remote = remote
        self._tell = tell
        self._sent = 0
        self._again: Timer | None = None
        """Of the next sending."""
        self._missed = 0
        """How often in a row nobody was there to run it."""
        self._to: Destination | None = None
        self._pool = ""
        """Of the last sending."""
        self._key = key_of(order)
        self._holder: Incarnation | None = remote.claims.holder(self._key)
        """Who runs it: claimed when another incarnation of this actor was here, or under another owner of the shard."""

    def init(self, ctx: Context[RemoteInbox]) -> None:
        ctx.registry.join(REMOTE, ctx.self_ref)
        self._send(ctx)

    def handle(self, message: RemoteInbox, ctx: Context[RemoteInbox]) -> None:
        match message:
            case Send():
                self._send(ctx)
            case Sent(error):
                if self._again is not None:
                    self._again.cancel()
                self._again = ctx.send_after(RESEND_S if error is None else _RETRY_S, Send())
                if error is None and self._to is not None and self._to.node is not None:
                    ctx.send_after(_RETRY_S, Watch(self._sent))
            case Watch(number):
                self._watch(number, ctx)
            case Asked(by, answer):
                self._answer(by, answer, ctx)
            case Stop():
                self._stop(ctx)
            case StopAnswered(answer):
                self._tell(answer if not isinstance(answer, BaseException) else self._stopped(confirmed=False))
                ctx.stop()

    # -- the command ---------------------------------------------------------------------------------------------------

    def _send(self, ctx: Context[RemoteInbox]) -> None:
        """To the pool; to one node where not every node of the pool will do. While nobody can run it, it waits."""
        if self._holder is not None:
            return
        to = self._to = destination(self._order, self._remote.vicinity.members, self._sent)
        if to is None:
            self._miss(ctx)
            return
        self._pool = to.pool
        self._missed = 0
        self._sent += 1
        body = encode(Command(self._shard.id, self._key, self._order.call.step))
        order, dispatcher = self._order, ctx.registry.find(DISPATCHER)
        if dispatcher is not None:
            want = Want(ctx.self_ref, to.pool, order.priority, order.fair_key, to.subject(order.priority), body, self._sending_id())
            dispatcher.report(want)

    def _sending_id(self) -> str:
        """Of this sending: a command that is sent again must not be taken for a double."""
        key = self._key
        parts = (key.execution_id, key.run, key.index, key.attempt, key.call, key.task, self._shard.epoch, self._sent)
        return ".".join(map(str, parts))

    def _watch(self, number: int, ctx: Context[RemoteInbox]) -> None:
        """A command that only one node can take is sent to another when that one has gone."""
        if self._holder is not None or number != self._sent or self._to is None:
            return
        if any(member.node.id == self._to.node for member in workers(self._remote.vicinity.members)):
            ctx.send_after(_RETRY_S, Watch(number))
        else:
            self._send(ctx)

    def _is_for(self, node: Incarnation) -> bool:
        """A command that was sent to another node before may come back from there."""
        return not self._order.shares or (self._to is not None and self._to.node == node.node)

    def _miss(self, ctx: Context[RemoteInbox]) -> None:
        """Nobody can run it now. What lies on a node that does not come back can't be had."""
        self._missed += 1
        if self._order.kept is None or self._missed * _RETRY_S < self._remote.return_s:
            ctx.send_after(_RETRY_S, Send())
            return
        self._tell(_database_lost(self._order, ctx.now()))
        ctx.stop()

    # -- claims --------------------------------------------------------------------------------------------------------

    def _answer(self, by: Incarnation, answer: Callable[[ClaimAnswer], None], ctx: Context[RemoteInbox]) -> None:
        remote = self._remote
        if remote.vicinity.is_gone(by):  # it does not know yet; nothing that it runs would count
            answer(ClaimAnswer(elsewhere=True))
            return
        if not self._is_for(by) or not remote.claims.claim(self._key, self._shard.id, by, self._pool):
            answer(ClaimAnswer())
            return
        self._holder = by
        self._withdraw(ctx)
        body = encode_order(self._order, remote.secrets)
        if fits(body):
            answer(ClaimAnswer(Parcel(body)))
        else:
            ctx.run(_answer_large(body, remote.cache, answer), Sent)

    # -- stopping ------------------------------------------------------------------------------------------------------

    def _stop(self, ctx: Context[RemoteInbox]) -> None:
        """Where it runs, it is stopped there; it can't be claimed any more."""
        holder = self._holder
        if holder is None:
            self._withdraw(ctx)
            self._tell(self._stopped(confirmed=True))
            ctx.stop()
        else:
            ctx.run(self._ask_to_stop(holder), StopAnswered)

    def _withdraw(self, ctx: Context[RemoteInbox]) -> None:
        dispatcher = ctx.registry.find(DISPATCHER)
        if dispatcher is not None:
            dispatcher.report(Withdraw(ctx.self_ref, self._pool))

    async def _ask_to_stop(self, holder: Incarnation) -> OutcomeMessage:
        remote = self._remote
        parcel = await node(holder.node, remote.bus).ask(StopCall(self._key), Parcel, _STOP_S)
        if not parcel.body and parcel.blob is None:
            return self._stopped(confirmed=True)  # it has told its outcome and forgotten it
        return decode_outcome(await unpacked(parcel, remote.cache), remote.secrets)

    def _stopped(self, *, confirmed: bool) -> Stopped:
        key = self._key
        return Stopped(run=key.run, index=key.index, task=key.task, attempt=key.attempt, call=key.call, confirmed=confirmed)


async def _answer_large(body: bytes, cache: ValueCache, answer: Callable[[ClaimAnswer], None]) -> None:
    """Without an answer it is claimed again."""
    answer(ClaimAnswer(await packed(body, cache)))


def _database_lost(order: Order, now: dt.datetime) -> Failed:
    key, kept = key_of(order), order.kept
    assert kept is not None
    about = {
        "kind": "not_found",
        "message": f"the database {OWN_DATABASE} of this execution lies on node {kept.node}, which is gone",
        "retryable": False,
    }
    return Failed(run=key.run, index=key.index, task=key.task, attempt=key.attempt, call=key.call, started_at=now, duration_s=0.0, error=about)


def key_of(order: Order) -> AttemptKey:
    task, attempt, call = order.key
    return AttemptKey(order.call.execution_id, order.call.run, order.call.index, task, attempt, call)


class ClusterPlaces:
    """A pool of this node that has a free slot, else another node."""

    def __init__(self, here: LocalPlaces, remote: Remote) -> None:
        self._here = here
        self._remote = remote

    def place(self, order: Order, step: Ref[Any], shard: Shard) -> Placed:
        if self._is_for_here(order):
            return self._here.place(order, step, shard)
        return Placed(lambda: RemoteAttempt(order, shard, self._remote, step.report), None)

    def _is_for_here(self, order: Order) -> bool:
        """Where it would have to wait it is better off with the others, if there are any."""
        kind, remote = order.program.task.kind, self._remote
        if not self._here.serves(kind, order.pool):
            return False
        own = remote.vicinity.own
        others = [member for member in workers(remote.vicinity.members) if member.incarnation != own]
        if order.requires or order.shares:
            return False
        return self._here.has_room(kind, order.pool) or pool_for(others, kind, order.pool) is None
