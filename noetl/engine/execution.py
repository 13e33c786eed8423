"""The actor of one execution: the only writer of its log.

It gathers the messages that wait, lets `decide` turn them into events, appends those, and acts on what follows from the state: orders attempts,
sets timers, wakes other executions. While an append (or a read) is under way, messages gather for the next turn.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, ClassVar

from noetl.actors.actor import Actor, Context
from noetl.actors.ref import Ref
from noetl.engine import messages
from noetl.engine.attempts import Attempts, scheduled_runs
from noetl.engine.decide import decide
from noetl.engine.effects import ENDED, decode_inbox
from noetl.engine.engine import Engine
from noetl.engine.exchange import decode_declined
from noetl.engine.journal import Journal
from noetl.engine.messages import AppendEnded, DueNow, ExecutionInbox, Fetched, Reported, Wake
from noetl.engine.program import Program
from noetl.engine.state import State
from noetl.engine.supervisor import SupervisorInbox
from noetl.engine.timeline import Timeline
from noetl.engine.turn import Turn
from noetl.errors import NoetlError, NotFound, StoreError
from noetl.events import AnyEvent, ExecutionRequested, ExecutionStopping
from noetl.probe import Happening
from noetl.store.lease import Shard
from noetl.store.log import InboxRow


class ExecutionAdvanced(Happening, frozen=True):
    """Events were committed. `first_seq` is the number of the first; `state` is what they led to, and must not be changed."""

    execution_id: int
    first_seq: int
    events: tuple[AnyEvent, ...]
    state: State


class Home:
    """What an execution tells the shard that it lives in, and in which format it may write there."""

    def __init__(
        self,
        shard: Shard,
        *,
        accepted: Callable[[int], None],
        ended: Callable[[State], None],
        wake: Callable[[tuple[int, ...]], None],
        passivated: Callable[[int], None],
        format_: int,
    ) -> None:
        self.shard = shard
        self.format = format_
        """Of the log. It may grow while the execution runs."""
        self.accepted = accepted
        self.ended = ended
        self.wake = wake
        self.passivated = passivated


class Execution(Actor[ExecutionInbox]):
    """`begin` starts a new execution, whose `program` is at hand; without it the log is folded first, and with `resume` what was under way is lost.

    `fresh` is False for the incarnations after the first: they look into the log whether the beginning got there.
    """

    __slots__ = (
        "_attempts",
        "_begin",
        "_busy",
        "_consumed",
        "_engine",
        "_fresh",
        "_hold",
        "_home",
        "_journal",
        "_leaves",
        "_line",
        "_others",
        "_program",
        "_reporters",
        "_resume",
        "_seen",
        "_state",
        "_told",
        "_turn",
        "_waiting",
        "_woken",
    )
    capacity: ClassVar[int] = 1_000_000

    def __init__(
        self,
        engine: Engine,
        home: Home,
        supervisor: Ref[SupervisorInbox],
        execution_id: int,
        *,
        begin: messages.Begin | None = None,
        program: Program | None = None,
        resume: bool = False,
        fresh: bool = True,
    ) -> None:
        self._engine = engine
        self._home = home
        self._state = State(execution_id=execution_id)
        self._journal = Journal(execution_id, home.shard, engine.secrets, engine.origin)
        self._line = Timeline(engine.clock)
        self._attempts = Attempts(engine, supervisor, self._line)
        self._begin = begin
        self._program = program
        self._resume = resume
        self._fresh = fresh
        self._waiting: list[messages.Decided] = []
        """Messages for the next turn."""
        self._reporters: list[Callable[[], None]] = []
        """Who is told when the turn after this is in the log."""
        self._told: list[Callable[[], None]] = []
        """Who is told when this turn is in the log."""
        self._busy = False
        """A turn is on its way into the log, or what it needs is being read."""
        self._woken = False
        self._leaves = False
        """After the turn that is on its way nothing is to be done for so long that the execution may leave memory."""
        self._turn: Turn | None = None
        self._consumed: tuple[int, ...] = ()
        self._seen: set[int] = set()
        """Inbox rows that were read and are not yet gone from the store."""
        self._others: tuple[int, ...] = ()
        """Executions that find something in their inbox after the append."""
        self._hold = engine.cache.hold()

    def init(self, ctx: Context[ExecutionInbox]) -> None:
        if self._begin is not None and self._program is not None and self._fresh:
            ctx.self_ref.report(self._begin)
        else:
            self._read(ctx, "log", self._recover())

    def handle(self, message: ExecutionInbox, ctx: Context[ExecutionInbox]) -> None:
        match message:
            case AppendEnded(error=error):
                self._appended(error, ctx)
            case Fetched(what=what, answer=answer):
                self._fetched(what, answer, ctx)
            case DueNow():
                self._attempts.start_due(self._known_program(), self._state, ctx)
            case Wake():
                self._woken = True
                self._go_on(ctx)
            case Reported(outcome=outcome, done=done):
                self._waiting.append(outcome)
                self._reporters.append(done)
                self._go_on(ctx)
            case _:
                self._waiting.append(message)
                self._go_on(ctx)

    def terminate(self, reason: Any, ctx: Context[ExecutionInbox]) -> None:
        self._hold.close()

    # -- reading -------------------------------------------------------------------------------------------------------

    def _read(self, ctx: Context[ExecutionInbox], what: str, work: Coroutine[Any, Any, Any]) -> None:
        """Wait for the store; messages gather meanwhile."""
        self._busy = True
        ctx.run(work, lambda answer: Fetched(what=what, answer=answer))

    async def _recover(self) -> tuple[State, Program, list[InboxRow]] | None:
        """What the store has; None when a beginning did not get there."""
        await self._engine.store.log.settle()  # what an incarnation before this has handed over may still be on its way
        try:
            state = await self._journal.recover(self._engine.store)
        except NotFound:
            if self._begin is None:
                raise
            return None
        row = self._journal.row
        assert row is not None
        program = await self._engine.library.program(row.net)
        return state, program, await self._engine.store.inbox.waiting_for(row.id)

    def _fetched(self, what: str, answer: Any, ctx: Context[ExecutionInbox]) -> None:
        if what == "order":
            self._ordered(answer, ctx)
            return
        if what == "snapshot":
            _raise_if_failed(answer)
            return
        self._busy = False
        match what, answer:
            case "log", None if self._begin is not None:
                self._waiting.insert(0, self._begin)
            case "values", NoetlError() as error:
                self._waiting.insert(0, messages.ValueLost(message=str(error)))
            case "log", NotFound() as error:
                self._end_reports()  # nobody will ever need what they tell
                raise error
            case _, BaseException() as error:
                raise error
            case "log", (state, program, rows):
                self._recovered(state, program, rows, ctx)
            case "inbox", rows:
                self._take_in(rows)
            case "values", _:
                self._waiting.insert(0, messages.Proceed())
            case "artifacts", _:
                self._append(ctx)
        self._go_on(ctx)

    def _recovered(self, state: State, program: Program, rows: list[InboxRow], ctx: Context[ExecutionInbox]) -> None:
        """What the log says is under way is ordered again: steps that still run it know it, and others start it."""
        self._state, self._program = state, program
        self._find_time()
        self._home.accepted(state.execution_id)  # an incarnation that crashed between commit and answer has not said so
        if state.status in ENDED and not self._resume:
            self._end_reports()
            self._home.ended(state)
            ctx.stop()
            return
        self._take_in(rows)
        if self._resume:
            self._resume = False
            self._waiting.insert(0, messages.Resume(node=self._engine.node))
        elif state.started:
            self._waiting.insert(0, messages.Proceed())
            frames = [(run.id, index) for run in state.runs.values() for index in run.frames]
            self._attempts.start(frames, program, state, ctx)
        self._attempts.limit(state.runs.values(), ctx)
        if state.grace_until is not None and not state.stopping:
            self._set_grace(ctx)

    def _find_time(self) -> None:
        """Behind the last append; and if the store was to wake it, as much later as has passed since."""
        row, due = self._journal.row, self._first_due(self._journal.at)
        self._line.reach(self._journal.at)
        if row is not None and row.wake_at is not None and due is not None:
            self._line.woken(due, row.wake_at)
        self._line.reach(self._line.now())

    def _take_in(self, rows: list[InboxRow]) -> None:
        for row in rows:
            if row.id not in self._seen:
                self._seen.add(row.id)
                self._consumed = (*self._consumed, row.id)
                if row.kind != "declined":
                    self._waiting.append(decode_inbox(row, self._engine.secrets))
                elif (lost := self._engine.claims.declined(decode_declined(row.body))) is not None:
                    self._waiting.append(lost)

    def _ordered(self, answer: Any, ctx: Context[ExecutionInbox]) -> None:
        if isinstance(answer, NoetlError):
            self._waiting.append(messages.ValueLost(message=str(answer)))
            self._go_on(ctx)
        elif isinstance(answer, BaseException):
            raise answer
        else:
            self._attempts.ordered(answer, self._state)

    def _known_program(self) -> Program:
        assert self._program is not None
        return self._program

    # -- a turn --------------------------------------------------------------------------------------------------------

    def _go_on(self, ctx: Context[ExecutionInbox]) -> None:
        """Start the next turn, unless one is on its way."""
        if self._busy or ctx.is_stopping or self._program is None:
            return
        if self._woken:
            self._woken = False
            self._read(ctx, "inbox", self._engine.store.inbox.waiting_for(self._state.execution_id))
        elif self._waiting:
            self._take_turn(ctx)

    def _take_turn(self, ctx: Context[ExecutionInbox]) -> None:
        engine, now = self._engine, self._line.now()
        self._line.reach(now)
        turn = self._turn = Turn(
            self._known_program(),
            self._state,
            engine.cache.load,
            now,
            chance=engine.chance(),
            node=engine.node,
            format_=self._home.format,
            holds_secret=engine.secrets.found_in,
            inline_max_bytes=engine.settings.values.inline_max_bytes,
        )
        batch, self._waiting = self._waiting, []
        self._told, self._reporters = self._told + self._reporters, []
        for message in batch:
            decide(turn, message)
        if turn.artifacts:
            self._read(ctx, "artifacts", engine.cache.store(turn.artifacts))
        else:
            self._append(ctx)

    def _append(self, ctx: Context[ExecutionInbox]) -> None:
        turn, consumed = self._current_turn(), self._consumed
        self._consumed = ()
        self._busy = True
        if not turn.events:
            if consumed:
                ctx.run(self._engine.store.inbox.discard(consumed), lambda _: AppendEnded())
            else:
                self._appended(None, ctx)
            return
        self._leaves, wake_at = self._waits(turn)
        append = self._journal.append_of(turn, consumed, waiting=self._leaves, wake_at=None if wake_at is None else self._line.on_the_wall(wake_at))
        self._others = tuple({row.execution_id for row in append.inbox})
        self._engine.store.log.append(append, ctx.callback(lambda error: AppendEnded(error=error)))

    def _appended(self, error: StoreError | None, ctx: Context[ExecutionInbox]) -> None:
        """The turn is in the log: act on what follows from it."""
        self._busy = False
        if error is not None:
            ctx.stop(error)
            return
        turn, self._turn = self._current_turn(), None
        self._tell_reporters()
        if turn.events:
            self._act(turn, ctx)
        if turn.needs:
            self._read(ctx, "values", self._fetch_values(turn))
        else:
            self._hold.close()
            self._hold = self._engine.cache.hold()
            if turn.more:
                self._waiting.append(messages.Proceed())
        self._go_on(ctx)

    def _end_reports(self) -> None:
        """What was reported changes nothing any more."""
        self._told, self._reporters = [*self._told, *self._reporters], []
        self._tell_reporters()

    def _tell_reporters(self) -> None:
        told, self._told = self._told, []
        for done in told:
            done()

    async def _fetch_values(self, turn: Turn) -> None:
        for handle in turn.needs.values():
            await self._hold.fetch(handle)

    def _current_turn(self) -> Turn:
        assert self._turn is not None
        return self._turn

    # -- acting --------------------------------------------------------------------------------------------------------

    def _act(self, turn: Turn, ctx: Context[ExecutionInbox]) -> None:
        state, events = self._state, turn.events
        if ExecutionAdvanced in ctx.probe.wanted:
            ctx.probe.emit(ExecutionAdvanced(state.execution_id, self._journal.next_seq - len(events), tuple(events), state))
        if isinstance(events[0], ExecutionRequested):
            self._home.accepted(state.execution_id)
        if self._others:
            self._home.wake(self._others)
        self._attempts.take(events, state)
        self._attempts.close(turn.ended, state)
        if state.status in ENDED:
            self._attempts.close(list(state.runs), state)
            self._home.ended(state)
            ctx.stop()
            return
        self._attempts.limit(scheduled_runs(events, state), ctx)
        if turn.ending:
            self._end_attempts(events, ctx)
        may_start = [key for key in turn.touched if key[0] in state.runs and turn.may_go_on(state.runs[key[0]])]
        self._attempts.start(may_start, self._known_program(), state, ctx)
        self._keep_snapshot(ctx)
        if self._leaves and not self._waiting and not self._woken:
            self._home.passivated(state.execution_id)
            ctx.stop()

    def _end_attempts(self, events: Sequence[AnyEvent], ctx: Context[ExecutionInbox]) -> None:
        """Nothing new starts; what runs is stopped now, or when its grace is over."""
        self._attempts.stop(self._state, ctx, running=self._state.stopping)
        if any(isinstance(event, ExecutionStopping) for event in events):
            self._set_grace(ctx)

    def _set_grace(self, ctx: Context[ExecutionInbox]) -> None:
        until = self._state.grace_until
        if until is not None:
            ctx.send_after(max(self._line.moment(until) - ctx.clock.monotonic(), 0.0), messages.GraceOver())

    def _keep_snapshot(self, ctx: Context[ExecutionInbox]) -> None:
        snapshot = self._journal.snapshot_of(self._state, self._engine.settings.store.snapshot_every)
        if snapshot is not None:
            work = self._engine.store.snapshots.put_snapshot(self._state.execution_id, snapshot)
            ctx.run(work, lambda answer: Fetched(what="snapshot", answer=answer))

    def _waits(self, turn: Turn) -> tuple[bool, dt.datetime | None]:
        """Whether, after this turn, nothing is to be done for so long that the execution may leave memory; and when it is to be woken."""
        if turn.ending or turn.needs or turn.more or not self._attempts.idle_after(turn.events):
            return False, None
        wake_at = self._first_due(turn.now)
        if wake_at is not None and (wake_at - turn.now).total_seconds() < self._engine.settings.engine.passivate_after_s:
            return False, None
        return True, wake_at

    def _first_due(self, now: dt.datetime) -> dt.datetime | None:
        """The first time at which something is due. An attempt that may start at once is due now."""
        times: list[dt.datetime] = []
        for run in self._state.runs.values():
            if run.timeout_s is not None:
                times.append(run.started_at + dt.timedelta(seconds=run.timeout_s))
            times += [frame.due_at or now for frame in run.frames.values() if frame.phase == "attempting" and frame.child is None]
        return min(times, default=None)


def _raise_if_failed(answer: Any) -> None:
    if isinstance(answer, BaseException):
        raise answer
