"""The common shards that this node owns: which they are, who tells them what the store and the other nodes have for them.

A shard that was taken begins when the nodes have said what they run of it, so that nothing that runs is started a second time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Final

from msgspec import Struct

from noetl.actors.actor import Actor, Context, Exit, Reason, Signal, is_abnormal
from noetl.actors.ref import Ref
from noetl.cluster.membership import GROUP, ClusterSeen, Vicinity
from noetl.cluster.shares import moves
from noetl.engine import step
from noetl.engine.engine import Engine
from noetl.engine.exchange import Claim, ExecutionsOver, Nudge, Over, OwnerInbox, Report, all_nodes, unpacked
from noetl.engine.mail import Heard, Opened, reported
from noetl.engine.shard import Claimed, Look, Shard, ShardInbox
from noetl.engine.survey import Survey, survey
from noetl.errors import LogUnavailable
from noetl.mailbox.address import mailboxes
from noetl.mailbox.remote import Mailed, receive
from noetl.mailbox.transport import BusUnavailable, Listening, Transport
from noetl.probe import Happening
from noetl.store.lease import Shard as ShardLease
from noetl.store.members import Cluster
from noetl.store.projection import Waiting

SHARDS: Final = "shards"
"""The name under which the keeper of common shards is registered."""
_FLUSH_S: Final = 0.2
_TOGETHER: Final = 1_000
"""Of executions that have ended, in one message."""


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


class Poll(Struct, frozen=True):
    """To oneself: time to look into the store."""


class Polled(Struct, frozen=True):
    waiting: Any


class ExecutionEnded(Struct, frozen=True):
    """An execution of ours is over: nodes may let go of what its tools keep."""

    over: Over


class Flush(Struct, frozen=True):
    """To oneself: tell the nodes of those that have ended."""


ShardsInbox = ClusterSeen | Taken | Surveyed | Given | Poll | Polled | Heard | Opened | ExecutionEnded | Flush


@dataclass(slots=True)
class Owned:
    """A shard of ours. `ref` None: it has not begun. `ear` hears what other nodes have for it."""

    lease: ShardLease
    ref: Ref[ShardInbox] | None = None
    ear: Listening | None = None
    leaving: bool = False


class Shards(Actor[ShardsInbox]):
    __slots__ = ("_bus", "_engine", "_flushing", "_moving", "_over", "_owned", "_past", "_vicinity")
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
        self._over: list[Over] = []
        self._flushing = False

    def init(self, ctx: Context[ShardsInbox]) -> None:
        ctx.registry.register(SHARDS, ctx.self_ref)
        ctx.registry.join(GROUP, ctx.self_ref)
        ctx.self_ref.report(ClusterSeen(self._vicinity.cluster))
        ctx.send_after(self._engine.settings.engine.inbox_poll_s, Poll())

    def handle(self, message: ShardsInbox, ctx: Context[ShardsInbox]) -> None:
        match message:
            case Heard(shard, mailed):
                self._heard(shard, mailed, ctx)
            case Opened():
                self._opened(message)
            case ClusterSeen(cluster):
                self._seen(cluster, ctx)
            case Taken(shards):
                self._taken(shards, ctx)
            case Surveyed(shards, found):
                self._surveyed(shards, found, ctx)
            case Given(shards, error):
                self._given(shards, error)
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
        for lease in shards:
            self._owned[lease.id] = Owned(lease)
        ctx.run(self._survey(shards), lambda found: Surveyed(shards, found))

    def _given(self, shards: tuple[ShardLease, ...], error: Any) -> None:
        if isinstance(error, BaseException) and not isinstance(error, LogUnavailable):
            raise error
        for lease in shards:  # (one that could not be given back is seen as ours at the next look, and tried again)
            self._engine.claims.drop_shard(lease.id)
            if error is None:
                self._past[lease.id] = lease.epoch
            self._owned.pop(lease.id, None)

    # -- the beginning of a shard --------------------------------------------------------------------------------------

    def _survey(self, shards: Sequence[ShardLease]) -> Coroutine[Any, Any, Survey]:
        return survey(shards, self._engine.store.executions, self._bus, self._vicinity)

    def _surveyed(self, shards: tuple[ShardLease, ...], found: Any, ctx: Context[ShardsInbox]) -> None:
        if isinstance(found, LogUnavailable):
            ctx.run(self._survey_later(shards), lambda again: Surveyed(shards, again))
            return
        if isinstance(found, BaseException):
            raise found
        found.note(shards, self._engine.claims)
        for lease in shards:
            owned = self._owned.get(lease.id)
            if owned is not None and owned.lease == lease and owned.ref is None:
                self._start(owned, found.left[lease.id], ctx)

    async def _survey_later(self, shards: Sequence[ShardLease]) -> Survey:
        await asyncio.sleep(self._engine.settings.engine.inbox_poll_s)
        return await self._survey(shards)

    def _start(self, owned: Owned, left: list[int], ctx: Context[ShardsInbox]) -> None:
        lease, own = owned.lease, ctx.self_ref
        format_ = self._vicinity.format_of(lease.id)  # formats only grow: one that is behind is not wrong
        ref: Ref[ShardInbox] = ctx.spawn(
            lambda: Shard(self._engine, lease, format_=format_, is_common=True, over=lambda over: own.report(ExecutionEnded(over))),
            f"{lease.id}.{lease.epoch}.{ctx.clock.monotonic():.0f}",
            shutdown_s=20.0,
            record=lease.id,
        )
        owned.ref = ref
        owned.ear = receive(self._bus, mailboxes(lease.id), OwnerInbox, lambda mailed: own.report(Heard(lease.id, mailed)))
        if left:
            ref.report(Look(tuple(left)))

    # -- what other nodes send -----------------------------------------------------------------------------------------

    def _heard(self, shard: int, mailed: Mailed[OwnerInbox], ctx: Context[ShardsInbox]) -> None:
        owned = self._owned.get(shard)
        if owned is None or owned.ref is None or owned.leaving or not self._vicinity.is_sure():
            return  # it is sent again, to the next owner; who may be there already
        match mailed.message:
            case Claim() as claim:
                owned.ref.report(Claimed(step.Claimed(claim, mailed.answer)))
            case Report(outcome=parcel) as report if parcel.blob is None:
                self._opened(Opened(shard, report, mailed.answer, parcel.body))
            case Report(outcome=parcel) as report:
                ctx.run(unpacked(parcel, self._engine.cache), partial(Opened, shard, report, mailed.answer))
            case Nudge(execution_id):
                owned.ref.report(Look((execution_id,)))

    def _opened(self, opened: Opened) -> None:
        owned, message = self._owned.get(opened.shard), reported(opened, self._engine.secrets)
        if owned is not None and owned.ref is not None and message is not None:
            owned.ref.report(message)

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
                all_nodes(self._bus).tell(ExecutionsOver(tuple(over[start : start + _TOGETHER])))
            except BusUnavailable:
                return  # nodes let go of it when they end, at the latest
