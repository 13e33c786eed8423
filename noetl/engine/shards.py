"""The common shards that this node owns: which they are, who tells them what the store and the other nodes have for them.

A shard that was taken begins when the nodes have said what they run of it, so that nothing that runs is started a second time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import msgspec
from msgspec import Struct

from noetl import __version__
from noetl.actors.actor import Actor, Context, Exit, Reason, Signal, is_abnormal
from noetl.actors.ref import Ref
from noetl.cluster.capacity import workers
from noetl.cluster.formats import oldest_of, to_raise
from noetl.cluster.membership import GROUP, ClusterSeen, Vicinity
from noetl.cluster.shares import moves
from noetl.engine import step
from noetl.engine.auditor import what_runs
from noetl.engine.claims import lost
from noetl.engine.engine import Engine
from noetl.engine.evolve import FORMAT
from noetl.engine.exchange import (
    Claim,
    ExecutionsOver,
    Nudge,
    Over,
    OwnerInbox,
    Report,
    Runs,
    decode_for_owner,
    encode,
    unpacked,
)
from noetl.engine.messages import Reported
from noetl.engine.shard import Claimed, FormatRaised, Look, Shard, ShardInbox
from noetl.engine.shard import Reported as ForShard
from noetl.engine.wire import decode_outcome
from noetl.errors import LogUnavailable, NoetlError
from noetl.mailbox.address import NODES, mailboxes
from noetl.mailbox.transport import BusUnavailable, Delivery, Listening, Transport
from noetl.probe import Happening
from noetl.store.lease import Shard as ShardLease
from noetl.store.members import Cluster, Incarnation
from noetl.store.projection import Waiting

_SURVEY_S: Final = 1.0
"""How long a node may take to say what it runs. What runs on one that does not may run a second time; the first outcome counts."""
SHARDS: Final = "shards"
"""The name under which the keeper of common shards is registered."""
_FLUSH_S: Final = 0.2
_TOGETHER: Final = 1_000
"""Of executions that have ended, in one message."""
_log: Final = logging.getLogger("noetl.actors.shards")


class ShardsMoved(Happening, frozen=True):
    """This node owns these shards now, and those no more."""

    taken: tuple[int, ...] = ()
    given: tuple[int, ...] = ()


class Taken(Struct, frozen=True):
    """To oneself: what became of the attempt to own more."""

    shards: Any


class Surveyed(Struct, frozen=True):
    """To oneself: what runs of these shards on other nodes, and what is to be gone on with; or the error."""

    shards: tuple[ShardLease, ...]
    found: Any


class Given(Struct, frozen=True):
    """To oneself: shards were given back, or the error."""

    shards: tuple[ShardLease, ...]
    error: Any


class Raised(Struct, frozen=True):
    """To oneself: shards may have a newer format now, or the error. The next look at the cluster shows which."""

    error: Any


class Poll(Struct, frozen=True):
    """To oneself: time to look into the store."""


class Polled(Struct, frozen=True):
    waiting: Any


class Heard(Struct, frozen=True):
    """A node has sent something to the owner of a shard."""

    shard: int
    delivery: Any


class Unpacked(Struct, frozen=True):
    """To oneself: a large outcome was read, or could not."""

    shard: int
    report: Report
    delivery: Any
    body: Any


class ExecutionEnded(Struct, frozen=True):
    """An execution of ours is over: nodes may let go of what its tools keep."""

    over: Over


class Flush(Struct, frozen=True):
    """To oneself: tell the nodes of those that have ended."""


ShardsInbox = ClusterSeen | Taken | Surveyed | Given | Raised | Poll | Polled | Heard | Unpacked | ExecutionEnded | Flush


@dataclass(slots=True)
class Owned:
    """A shard of ours. `format`: its logs may be written in it. `ref` None: it has not begun. `ear` hears what other nodes have for it."""

    lease: ShardLease
    format: int
    ref: Ref[ShardInbox] | None = None
    ear: Listening | None = None
    leaving: bool = False


class Survey(Struct, frozen=True):
    runs: tuple[Runs, ...]
    left: dict[int, list[int]]


class Shards(Actor[ShardsInbox]):
    __slots__ = ("_bus", "_engine", "_flushing", "_moving", "_over", "_owned", "_past", "_raising", "_vicinity", "_warned")
    trap_exit: ClassVar[bool] = True
    capacity: ClassVar[int] = 1_000_000

    def __init__(self, engine: Engine, bus: Transport, vicinity: Vicinity) -> None:
        self._engine = engine
        self._bus = bus
        self._vicinity = vicinity
        self._owned: dict[int, Owned] = {}
        self._past: dict[int, int] = {}
        """Epochs under which shards were ours: a look may be older than what was done since."""
        self._moving = False
        """Shards are being taken or given back."""
        self._raising = False
        self._warned = False
        self._over: list[Over] = []
        self._flushing = False

    def init(self, ctx: Context[ShardsInbox]) -> None:
        ctx.registry.register(SHARDS, ctx.self_ref)
        ctx.registry.join(GROUP, ctx.self_ref)
        ctx.self_ref.report(ClusterSeen(self._vicinity.cluster))
        ctx.send_after(self._engine.settings.engine.inbox_poll_s, Poll())

    def handle(self, message: ShardsInbox, ctx: Context[ShardsInbox]) -> None:
        match message:
            case Heard(shard, delivery):
                self._heard(shard, delivery, ctx)
            case Unpacked():
                self._unpacked(message)
            case ClusterSeen(cluster):
                self._seen(cluster, ctx)
            case Taken(shards):
                self._taken(shards, ctx)
            case Surveyed(shards, found):
                self._surveyed(shards, found, ctx)
            case Given(shards, error):
                self._given(shards, error)
            case Raised(error):
                self._raised(error)
            case Poll():
                ctx.run(self._waiting(ctx), Polled)
            case Polled(waiting):
                self._polled(waiting, ctx)
            case ExecutionEnded(over):
                self._ended(over, ctx)
            case Flush():
                self._flush()

    def signal(self, signal: Signal, ctx: Context[ShardsInbox]) -> None:
        """A shard has ended: because it leaves, or it has crashed, and with it all that ran in it here."""
        if not isinstance(signal, Exit):
            return
        id_ = ctx.record(signal.ref)
        ctx.forget(signal.ref)
        owned = self._owned.get(id_)
        if owned is None or owned.ref is not signal.ref:
            return
        self._deafen(owned)
        owned.ref = None
        if owned.leaving:
            ctx.run(self._engine.store.members.give_back((owned.lease,)), lambda error: Given((owned.lease,), error))
        elif is_abnormal(signal.reason):
            ctx.run(self._survey((owned.lease,)), lambda found: Surveyed((owned.lease,), found))

    def terminate(self, reason: Reason, ctx: Context[ShardsInbox]) -> None:
        for owned in self._owned.values():
            self._deafen(owned)

    def _deafen(self, owned: Owned) -> None:
        if owned.ear is not None:
            owned.ear.stop()
            owned.ear = None

    # -- which shards --------------------------------------------------------------------------------------------------

    def _seen(self, cluster: Cluster, ctx: Context[ShardsInbox]) -> None:
        own = self._vicinity.own
        if own is None:
            return
        self._raise_formats(cluster, own, ctx)
        self._warn_if_too_old(cluster)
        ours = {row.shard.id: row.shard for row in cluster.shards if row.owner == own}
        fresh = tuple(lease for id_, lease in ours.items() if id_ not in self._owned and not self._moving and lease.epoch > self._past.get(id_, 0))
        if fresh:  # ours by the store, though nobody here knows of it: our predecessor had taken them
            self._begin(fresh, ctx)
        if self._moving:
            return
        wanted = moves(cluster, own)
        if wanted.take:
            self._moving = True
            ctx.run(self._engine.store.members.take(wanted.take, own), Taken)
        leaving = [owned for lease in wanted.give if (owned := self._owned.get(lease.id)) is not None and owned.ref is not None]
        for owned in leaving:
            owned.leaving = True
            assert owned.ref is not None
            ctx.shutdown(owned.ref)

    def _taken(self, shards: Any, ctx: Context[ShardsInbox]) -> None:
        self._moving = False
        if isinstance(shards, LogUnavailable):
            return
        if isinstance(shards, BaseException):
            raise shards
        if shards:
            ctx.probe.emit(ShardsMoved(taken=tuple(shard.id for shard in shards)))
            self._begin(tuple(shards), ctx)

    def _begin(self, shards: tuple[ShardLease, ...], ctx: Context[ShardsInbox]) -> None:
        formats = {row.shard.id: row.format for row in self._vicinity.cluster.shards}  # they only grow: one that is behind is not wrong
        for lease in shards:
            self._owned[lease.id] = Owned(lease, formats[lease.id])
        ctx.run(self._survey(shards), lambda found: Surveyed(shards, found))

    def _given(self, shards: tuple[ShardLease, ...], error: Any) -> None:
        if isinstance(error, BaseException) and not isinstance(error, LogUnavailable):
            raise error
        for lease in shards:  # (one that could not be given back is seen as ours at the next look, and tried again)
            self._engine.claims.drop_shard(lease.id)
            if error is None:
                self._past[lease.id] = lease.epoch
            self._owned.pop(lease.id, None)

    # -- in which format -----------------------------------------------------------------------------------------------

    def _raise_formats(self, cluster: Cluster, own: Incarnation, ctx: Context[ShardsInbox]) -> None:
        """First in the store, so that nobody older takes the shard; nothing is written in the newer format before that is seen there."""
        for row in cluster.shards:
            owned = self._owned.get(row.shard.id)
            if owned is not None and owned.lease == row.shard and owned.format < row.format:
                owned.format = row.format
                if owned.ref is not None:
                    owned.ref.report(FormatRaised(row.format))
        wanted = to_raise(cluster, own)
        if wanted.shards and not self._raising:
            self._raising = True
            ctx.run(self._engine.store.members.raise_format(wanted.shards, wanted.to), Raised)

    def _raised(self, error: Any) -> None:
        self._raising = False
        if isinstance(error, BaseException) and not isinstance(error, LogUnavailable):
            raise error

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

    # -- the beginning of a shard --------------------------------------------------------------------------------------

    async def _survey(self, shards: Sequence[ShardLease]) -> Survey:
        own = self._vicinity.own
        ids = tuple(shard.id for shard in shards)
        others = [member for member in workers(self._vicinity.members) if member.incarnation != own]
        runs = await asyncio.gather(*(what_runs(self._bus, member.node.id, ids, _SURVEY_S) for member in others))
        left = {id_: await self._engine.store.executions.left_in(id_) for id_ in ids}
        return Survey(tuple(found for found in runs if found is not None), left)

    def _surveyed(self, shards: tuple[ShardLease, ...], found: Any, ctx: Context[ShardsInbox]) -> None:
        if isinstance(found, LogUnavailable):
            ctx.run(self._survey_later(shards), lambda again: Surveyed(shards, again))
            return
        if isinstance(found, BaseException):
            raise found
        ids = {lease.id for lease in shards}
        for runs in found.runs:
            for held in runs.attempts:
                if held.granted and held.shard in ids:
                    self._engine.claims.claim(held.key, held.shard, runs.by)
        for lease in shards:
            owned = self._owned.get(lease.id)
            if owned is not None and owned.lease == lease and owned.ref is None:
                self._start(owned, found.left[lease.id], ctx)

    async def _survey_later(self, shards: Sequence[ShardLease]) -> Survey:
        await asyncio.sleep(self._engine.settings.engine.inbox_poll_s)
        return await self._survey(shards)

    def _start(self, owned: Owned, left: list[int], ctx: Context[ShardsInbox]) -> None:
        lease, own = owned.lease, ctx.self_ref
        ref: Ref[ShardInbox] = ctx.spawn(
            lambda: Shard(self._engine, lease, format_=owned.format, is_common=True, over=lambda over: own.report(ExecutionEnded(over))),
            f"{lease.id}.{lease.epoch}.{ctx.clock.monotonic():.0f}",
            shutdown_s=20.0,
            record=lease.id,
        )
        owned.ref = ref
        owned.ear = self._bus.listen(mailboxes(lease.id), lambda delivery: own.report(Heard(lease.id, delivery)))
        if left:
            ref.report(Look(tuple(left)))

    # -- what other nodes send -----------------------------------------------------------------------------------------

    def _heard(self, shard: int, delivery: Delivery, ctx: Context[ShardsInbox]) -> None:
        owned = self._owned.get(shard)
        if owned is None or owned.ref is None or owned.leaving:
            return  # it is sent again, to the next owner
        try:
            message: OwnerInbox = decode_for_owner(delivery.body)
        except msgspec.MsgspecError as error:
            _log.warning("a message at %s can't be read: %s", delivery.subject, error)
            return
        match message:
            case Claim():
                owned.ref.report(Claimed(step.Claimed(message, delivery.reply)))
            case Report(outcome=parcel):
                if parcel.blob is None:
                    self._unpacked(Unpacked(shard, message, delivery, parcel.body))
                else:
                    ctx.run(unpacked(parcel, self._engine.cache), lambda body: Unpacked(shard, message, delivery, body))
            case Nudge(execution_id):
                owned.ref.report(Look((execution_id,)))

    def _unpacked(self, message: Unpacked) -> None:
        owned = self._owned.get(message.shard)
        if owned is None or owned.ref is None:
            return
        execution_id = message.report.key.execution_id
        if isinstance(message.body, LogUnavailable):
            return  # it is sent again
        try:
            if isinstance(message.body, BaseException):
                raise message.body
            outcome = decode_outcome(message.body, self._engine.secrets)
        except (NoetlError, msgspec.MsgspecError) as error:
            outcome = lost(message.report.key, f"its outcome can't be read: {error}")
        owned.ref.report(ForShard(execution_id, Reported(outcome=outcome, done=lambda: message.delivery.reply(b""))))

    # -- the store -----------------------------------------------------------------------------------------------------

    async def _waiting(self, ctx: Context[ShardsInbox]) -> list[Waiting]:
        store, ids = self._engine.store, [id_ for id_, owned in self._owned.items() if owned.ref is not None]
        if not ids:
            return []
        return [*await store.inbox.waiting(ids), *await store.executions.due(ids, ctx.now())]

    def _polled(self, waiting: Any, ctx: Context[ShardsInbox]) -> None:
        if isinstance(waiting, BaseException) and not isinstance(waiting, LogUnavailable):
            raise waiting
        found: list[Waiting] = [] if isinstance(waiting, BaseException) else waiting
        for shard, execution_id in dict.fromkeys(found):
            owned = self._owned.get(shard)
            if owned is not None and owned.ref is not None:
                owned.ref.report(Look((execution_id,)))
        ctx.send_after(self._engine.settings.engine.inbox_poll_s, Poll())

    # -- executions that have ended ------------------------------------------------------------------------------------

    def _ended(self, over: Over, ctx: Context[ShardsInbox]) -> None:
        self._over.append(over)
        if not self._flushing:
            self._flushing = True
            ctx.send_after(_FLUSH_S, Flush())

    def _flush(self) -> None:
        self._flushing = False
        over, self._over = self._over, []
        for start in range(0, len(over), _TOGETHER):
            try:
                self._bus.publish(NODES, encode(ExecutionsOver(tuple(over[start : start + _TOGETHER]))))
            except BusUnavailable:
                return  # nodes let go of it when they end, at the latest
