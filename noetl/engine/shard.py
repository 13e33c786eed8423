"""A shard: the supervisor of the executions that it holds, under the epoch that this process owns it by.

A private shard looks for its messages in the store itself; for the common shards of a cluster, `noetl/engine/shards.py` does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Final

from msgspec import Struct

from noetl.actors.actor import Actor, Context, Exit, Reason, Signal, is_abnormal
from noetl.actors.ref import Ref, Reply
from noetl.engine import effects, messages, step
from noetl.engine.effects import ENDED
from noetl.engine.engine import Engine
from noetl.engine.evolve import FORMAT
from noetl.engine.exchange import Over
from noetl.engine.execution import Execution, Home
from noetl.engine.program import Program
from noetl.engine.recovery import folded
from noetl.engine.state import State
from noetl.engine.step import Step
from noetl.engine.supervisor import INTENSITY, PERIOD_S, Dispatch, ExecutionSupervisor, Forward, Quarantined
from noetl.engine.supervisor import SupervisorInbox as ExecutionSupervisorInbox
from noetl.errors import CallError, Fenced, LogCorrupt, NoetlError, StoreError
from noetl.store.lease import Shard as ShardLease
from noetl.supervisors.intensity import Intensity

SHARD: Final = "shard"
"""The name under which the private shard of a process is registered."""


def shard_name(shard: int) -> str:
    """The name under which a common shard is registered where it is owned."""
    return f"shard/{shard}"


class ShardMessage(Struct, frozen=True):
    """Anything a shard may be told."""


class Submit(ShardMessage, frozen=True):
    """Start a new execution. Answered when it can't be lost any more."""

    execution_id: int
    begin: messages.Begin
    program: Program
    reply: Reply[int]


class TakeUp(ShardMessage, frozen=True):
    """Go on with an execution that another process has left."""

    execution_id: int


class Watch(ShardMessage, frozen=True):
    """Answered with the state when the execution has ended; with the error when this process can't go on with it."""

    execution_id: int
    reply: Reply[State]


class Look(ShardMessage, frozen=True):
    """These executions have something in their inbox."""

    ids: tuple[int, ...]


class Poll(ShardMessage, frozen=True):
    """To oneself: time to look into the store."""


class Polled(ShardMessage, frozen=True):
    """To oneself: what the store has for this shard."""

    ids: tuple[int, ...] | BaseException


class Accepted(ShardMessage, frozen=True):
    execution_id: int


class Ended(ShardMessage, frozen=True):
    state: State


class Passivated(ShardMessage, frozen=True):
    execution_id: int


class Marked(ShardMessage, frozen=True):
    """To oneself: the store knows that an execution is quarantined. Only now is anybody told, who may end the process."""

    execution_id: int
    error: NoetlError
    parent: int | BaseException | None


class Claimed(ShardMessage, frozen=True):
    """A node asks for an attempt of an execution."""

    claimed: step.Claimed


class Reported(ShardMessage, frozen=True):
    """A node tells the outcome of an attempt."""

    execution_id: int
    reported: messages.Reported


class FormatRaised(ShardMessage, frozen=True):
    """From now on logs may be written in this format."""

    to: int


class Handled(ShardMessage, frozen=True):
    """To oneself: work of the shard's own is done."""

    outcome: Any


ShardInbox = Submit | TakeUp | Watch | Look | Poll | Polled | Accepted | Ended | Passivated | Marked | Claimed | Reported | FormatRaised | Handled


def _nobody(over: Over) -> None:
    """There are no other nodes."""


class Shard(Actor[ShardInbox]):
    """Executions that wait for long are not here: the store wakes them. `over` is told of those that have ended. `format_` is that of its logs."""

    __slots__ = ("_crashes", "_engine", "_format", "_home", "_is_common", "_lease", "_live", "_over", "_resting", "_submitted", "_watchers")
    trap_exit: ClassVar[bool] = True
    capacity: ClassVar[int] = 1_000_000

    def __init__(
        self, engine: Engine, lease: ShardLease, *, format_: int = FORMAT, is_common: bool = False, over: Callable[[Over], None] = _nobody
    ) -> None:
        self._engine = engine
        self._format = format_
        self._lease = lease
        self._is_common = is_common
        self._over = over
        self._live: dict[int, Ref[ExecutionSupervisorInbox]] = {}
        self._resting: set[int] = set()
        """Those that have said that they leave memory and have not left it yet."""
        self._crashes: dict[int, Intensity] = {}
        """Of supervisors of executions."""
        self._submitted: dict[int, Submit] = {}
        """Those that may not be in the store yet."""
        self._watchers: dict[int, list[Reply[State]]] = {}

    def init(self, ctx: Context[ShardInbox]) -> None:
        own = ctx.self_ref
        self._home = Home(
            self._lease,
            accepted=lambda id_: own.report(Accepted(id_)),
            ended=lambda state: own.report(Ended(state)),
            wake=lambda ids: own.report(Look(ids)),
            passivated=lambda id_: own.report(Passivated(id_)),
            format_=self._format,
        )
        if self._is_common:
            ctx.registry.register(shard_name(self._lease.id), own)
        else:
            ctx.registry.register(SHARD, own)
            self._poll_later(ctx)

    def handle(self, message: ShardInbox, ctx: Context[ShardInbox]) -> None:
        match message:
            case Submit(id, begin, program):
                self._submitted[id] = message
                self._start(id, ctx, begin=begin, program=program)
            case TakeUp(id):
                self._start(id, ctx, resume=True)
            case Watch(id, reply):
                self._watch(id, reply, ctx)
            case Look(ids):
                for id_ in ids:
                    self._wake(id_, ctx)
            case Claimed(claimed):
                key = claimed.claim.key
                self._live_one(key.execution_id, ctx).report(Dispatch(key.run, "", claimed))
            case Reported(id, reported):
                self._live_one(id, ctx).report(Forward(reported))
            case _:
                self._hear(message, ctx)

    def _hear(self, message: Accepted | Ended | Passivated | Poll | Polled | Marked | FormatRaised | Handled, ctx: Context[ShardInbox]) -> None:
        """News of executions, and of the shard's own work."""
        match message:
            case Accepted(id):
                self._answer_submit(id, None)
            case Ended(state):
                self._ended(state, ctx)
            case Passivated(id):
                self._resting.add(id)
            case Poll():
                ctx.run(self._waiting_in_store(ctx), Polled)
            case Polled(ids):
                self._polled(ids, ctx)
            case Marked(id, error, parent):
                self._marked(id, error, parent, ctx)
            case FormatRaised(to):
                self._home.format = to
            case Handled(outcome):
                if isinstance(outcome, BaseException):
                    raise outcome

    def signal(self, signal: Signal, ctx: Context[ShardInbox]) -> None:
        if not isinstance(signal, Exit):
            return
        id_ = ctx.record(signal.ref)
        ctx.forget(signal.ref)
        if self._live.get(id_) is signal.ref:
            del self._live[id_]
        if id_ in self._resting:  # something may have come for it while it was leaving
            self._resting.discard(id_)
            ctx.run(self._engine.store.inbox.waiting_for(id_), lambda rows: Look((id_,)) if rows else Handled(rows))
        elif isinstance(signal.reason, (StoreError, Quarantined)):
            self._lost(id_, signal.reason, ctx)
        elif is_abnormal(signal.reason):
            self._start_again(id_, signal.reason, ctx)

    def _start_again(self, id_: int, reason: Reason, ctx: Context[ShardInbox]) -> None:
        """The supervisor of an execution has failed itself, and taken the attempts with it."""
        if self._crashes.setdefault(id_, Intensity(INTENSITY, PERIOD_S)).restart_allowed(ctx.clock.monotonic()):
            submitted = self._submitted.get(id_)
            beginning = {} if submitted is None else {"begin": submitted.begin, "program": submitted.program}
            self._start(id_, ctx, has_begun=True, resume=True, **beginning)
        else:
            self._lost(id_, Quarantined(reason), ctx)

    def _start(self, id_: int, ctx: Context[ShardInbox], *, has_begun: bool = False, **how: Any) -> None:
        """`has_begun`: a beginning in `how` may be in the log already."""
        engine, home = self._engine, self._home

        def execution(supervisor: Ref[ExecutionSupervisorInbox]) -> Execution:
            started.append(True)
            is_first = len(started) == 1
            return Execution(engine, home, supervisor, id_, fresh=is_first and not has_begun, **(how if is_first else again))

        def new_step(ref: Ref[Any]) -> Step:
            return Step(ref, engine.places, home.shard)

        started: list[bool] = []
        again = {key: value for key, value in how.items() if key != "resume"}
        self._live[id_] = ctx.spawn(lambda: ExecutionSupervisor(execution, new_step), id_, shutdown_s=20.0, record=id_)

    def _live_one(self, id_: int, ctx: Context[ShardInbox]) -> Ref[ExecutionSupervisorInbox]:
        """The execution, which may have to be read from the store first."""
        if id_ not in self._live:
            self._start(id_, ctx)
        return self._live[id_]

    def _wake(self, id_: int, ctx: Context[ShardInbox]) -> None:
        live = self._live.get(id_)
        if live is not None:
            live.report(Forward(messages.Wake()))
        else:
            self._start(id_, ctx)

    def _ended(self, state: State, ctx: Context[ShardInbox]) -> None:
        live = self._live.pop(state.execution_id, None)
        self._crashes.pop(state.execution_id, None)
        for reply in self._watchers.pop(state.execution_id, ()):
            reply.send(state)
        if live is None and state.execution_id not in self._resting:
            return  # it had ended before
        resumable = state.status == "failed"
        self._over(Over(state.execution_id, resumable))
        ctx.run(self._engine.resources.end_execution(state.execution_id, resumable=resumable), Handled)

    def _lost(self, id_: int, reason: StoreError | Quarantined, ctx: Context[ShardInbox]) -> None:
        """This process can't go on with an execution. One that nobody can go on with is marked in the store."""
        error: NoetlError = reason if isinstance(reason, StoreError) else CallError(f"execution {id_} is quarantined: {reason}")
        if isinstance(reason, (Quarantined, LogCorrupt)):
            ctx.run(self._quarantine(id_, str(reason)), lambda parent: Marked(id_, error, parent))
        else:
            self._fail_waiting(id_, error)

    def _marked(self, id_: int, error: NoetlError, parent: int | BaseException | None, ctx: Context[ShardInbox]) -> None:
        self._fail_waiting(id_, error)
        if isinstance(parent, int):
            self._wake(parent, ctx)
        elif parent is not None:
            raise parent

    def _watch(self, id_: int, reply: Reply[State], ctx: Context[ShardInbox]) -> None:
        self._watchers.setdefault(id_, []).append(reply)
        if id_ not in self._live:
            ctx.run(self._ended_before(id_), _as_news)

    def _fail_waiting(self, id_: int, error: NoetlError) -> None:
        self._answer_submit(id_, error)
        for reply in self._watchers.pop(id_, ()):
            reply.fail(error)

    async def _quarantine(self, id_: int, reason: str) -> int | None:
        """Its parent, which is told in the same transaction: nobody else will."""
        executions = self._engine.store.executions
        row = await executions.execution(id_)
        parent = None if row is None else row.parent_id
        await executions.quarantine(id_, reason, None if parent is None else effects.quarantined_child(parent, id_, reason))
        return parent

    def _drop_all(self, reason: Fenced, ctx: Context[ShardInbox]) -> None:
        """What we hold is somebody else's now."""
        for id_, live in list(self._live.items()):
            ctx.shutdown(live, reason)
            self._lost(id_, reason, ctx)

    def _answer_submit(self, id_: int, error: Exception | None) -> None:
        submitted = self._submitted.pop(id_, None)
        if submitted is None:
            return
        if error is None:
            submitted.reply.send(id_)
        else:
            submitted.reply.fail(error)

    # -- the store -----------------------------------------------------------------------------------------------------

    def _poll_later(self, ctx: Context[ShardInbox]) -> None:
        ctx.send_after(self._engine.settings.engine.inbox_poll_s, Poll())

    async def _waiting_in_store(self, ctx: Context[ShardInbox]) -> tuple[int, ...]:
        """Raises `Fenced` when another process has taken the shard."""
        store = self._engine.store
        if not await store.shards.is_ours(self._lease):
            raise Fenced(f"shard {self._lease.id} was taken over")
        own = (self._lease.id,)
        waiting = await store.inbox.waiting(own)
        due = await store.executions.due(own, ctx.now())
        return tuple(
            dict.fromkeys([*(row.execution_id for row in waiting), *(row.execution_id for row in due if row.execution_id not in self._live)])
        )

    async def _ended_before(self, id_: int) -> State | None:
        """The state of an execution that is over; None while it waits in the store."""
        row = await self._engine.store.executions.execution(id_)
        if row is None or row.status not in ENDED:
            return None
        return (await folded(self._engine.store, id_, self._engine.secrets.open_leaf)).state

    def _polled(self, ids: tuple[int, ...] | BaseException, ctx: Context[ShardInbox]) -> None:
        if isinstance(ids, Fenced):
            self._drop_all(ids, ctx)
            return
        if isinstance(ids, StoreError):
            ids = ()  # the next poll asks again; appends say loudly what is wrong with the store
        elif isinstance(ids, BaseException):
            raise ids
        for id_ in ids:
            self._wake(id_, ctx)
        self._poll_later(ctx)


def _as_news(outcome: State | BaseException | None) -> Ended | Handled:
    return Ended(outcome) if isinstance(outcome, State) else Handled(outcome)
