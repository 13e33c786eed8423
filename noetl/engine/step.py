"""A step: the supervisor of its attempts.

It starts an attempt when the execution orders one, and keeps each outcome until the execution says that it is committed: an execution that restarts
orders again what its log says is under way, and gets the outcome that was kept, or nothing while the attempt still runs.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any, ClassVar

from msgspec import Struct

from noetl.actors.actor import Actor, Context, Exit, Signal, is_abnormal
from noetl.actors.ref import Ref
from noetl.engine.exchange import Claim, ClaimAnswer
from noetl.engine.messages import ChildRequested, Failed, Lost, OutcomeMessage, Stopped, Succeeded
from noetl.engine.order import Order
from noetl.engine.places import Places
from noetl.engine.remote import Asked, Stop
from noetl.errors import ToolRefused
from noetl.store.lease import Shard

_STOP_S = 10.0
"""How long a call may take to stop its remote work."""


class StepMessage(Struct, frozen=True):
    """Anything a step may be told. `index` is the iteration."""


class StartAttempt(StepMessage, frozen=True):
    order: Order


class StopAttempts(StepMessage, frozen=True):
    """Stop what runs. Each attempt's outcome will be `Stopped`, unless it was quicker."""


class Committed(StepMessage, frozen=True):
    """These outcomes are in the log: they need not be kept."""

    indexes: tuple[int, ...]


class Close(StepMessage, frozen=True):
    """The run is over: stop what runs, and end."""


class Claimed(StepMessage, frozen=True):
    """Another node would run an attempt; `answer` takes what it is to be sent."""

    claim: Claim
    answer: Callable[[ClaimAnswer], None]

    def deny(self) -> None:
        self.answer(ClaimAnswer())


StepInbox = StartAttempt | StopAttempts | Committed | Close | Claimed | Succeeded | Failed | Stopped | Lost | ChildRequested


class Running(Struct, frozen=True):
    order: Order
    attempt: Ref[Any]
    is_remote: bool


class Step(Actor[StepInbox]):
    """`execution` gets the outcomes. The attempts of a step that is shut down without `Close`, since its shard moves, go on on other nodes."""

    __slots__ = ("_closing", "_execution", "_kept", "_ordered", "_places", "_running", "_shard")
    trap_exit: ClassVar[bool] = True
    capacity: ClassVar[int] = 1_000_000

    def __init__(self, execution: Ref[Any], places: Places, shard: Shard) -> None:
        self._execution = execution
        self._places = places
        self._shard = shard
        self._closing = False
        self._running: dict[int, Running] = {}
        self._ordered: dict[int, tuple[str, int, int]] = {}
        """The attempt of each iteration that the execution has asked for last."""
        self._kept: dict[int, OutcomeMessage] = {}

    def handle(self, message: StepInbox, ctx: Context[StepInbox]) -> None:
        match message:
            case StartAttempt(order):
                self._start(order, ctx)
            case StopAttempts():
                for running in self._running.values():
                    _stop(running, ctx)
            case Committed(indexes):
                for index in indexes:
                    self._forget(index, ctx)
            case Close():
                self._close(ctx)
            case Claimed():
                self._claimed(message)
            case _:
                self._take(message)

    def signal(self, signal: Signal, ctx: Context[StepInbox]) -> None:
        if not isinstance(signal, Exit):
            return
        index = ctx.record(signal.ref)
        running = self._running.get(index)
        ctx.forget(signal.ref)
        if running is not None and running.attempt is signal.ref:
            del self._running[index]
            kept = self._kept.get(index)
            if is_abnormal(signal.reason) and (kept is None or _key(kept) != running.order.key):
                self._kept.pop(index, None)
                self._take(crashed(running.order, signal.reason))
        if self._closing and not ctx.children():
            ctx.stop()

    def _take(self, outcome: OutcomeMessage) -> None:
        """Keep an outcome and tell it. That of an attempt which was given up, while another was ordered in its place, is nobody's."""
        if self._ordered.get(outcome.index) == _key(outcome):
            self._kept[outcome.index] = outcome
            self._execution.report(outcome)

    def _start(self, order: Order, ctx: Context[StepInbox]) -> None:
        index = order.call.index
        kept = self._kept.get(index)
        if kept is not None and _key(kept) == order.key:
            self._execution.report(kept)
            return
        running = self._running.get(index)
        if running is not None and running.order.key == order.key:
            return
        self._kept.pop(index, None)
        self._ordered[index] = order.key
        try:
            placed = self._places.place(order, ctx.self_ref, self._shard)
        except ToolRefused as error:
            self._take(_refused(order, error, ctx.now()))
            return
        name = f"{index}.{order.key[0]}.{order.key[1]}.{order.key[2]}"
        attempt = ctx.spawn(placed.make, name, shutdown_s=_STOP_S, record=index)
        self._running[index] = Running(order, attempt, placed.is_remote)
        placed.started(attempt, order)

    def _claimed(self, claimed: Claimed) -> None:
        key = claimed.claim.key
        running = self._running.get(key.index)
        if running is not None and running.is_remote and running.order.key == (key.task, key.attempt, key.call):
            running.attempt.report(Asked(claimed.claim.by, claimed.answer))
        else:
            claimed.deny()

    def _forget(self, index: int, ctx: Context[StepInbox]) -> None:
        self._kept.pop(index, None)
        self._ordered.pop(index, None)
        running = self._running.get(index)
        if running is not None and running.is_remote:  # its outcome went past it
            del self._running[index]
            ctx.shutdown(running.attempt)

    def _close(self, ctx: Context[StepInbox]) -> None:
        self._closing = True
        for running in self._running.values():
            _stop(running, ctx)
        if not ctx.children():
            ctx.stop()


def _stop(running: Running, ctx: Context[StepInbox]) -> None:
    if running.is_remote:
        running.attempt.report(Stop())
    else:
        ctx.shutdown(running.attempt)


def _key(outcome: OutcomeMessage) -> tuple[str, int, int]:
    return outcome.task, outcome.attempt, outcome.call


def _refused(order: Order, error: ToolRefused, now: dt.datetime) -> OutcomeMessage:
    """Nobody here serves the call."""
    task, attempt, call = order.key
    about = {"kind": error.kind, "message": error.message, "retryable": False}
    return Failed(run=order.call.run, index=order.call.index, task=task, attempt=attempt, call=call, started_at=now, duration_s=0.0, error=about)


def crashed(order: Order, reason: Any) -> OutcomeMessage:
    """The attempt's actor ended without an outcome. Killed: its tool did not stop in time, so nobody knows what became of its work."""
    task, attempt, call = order.key
    run, index = order.call.run, order.call.index
    if isinstance(reason, Exception):
        why = f"the attempt's actor crashed: {type(reason).__name__}: {reason}"
        return Lost(run=run, index=index, task=task, attempt=attempt, call=call, reason=why)
    return Stopped(run=run, index=index, task=task, attempt=attempt, call=call, confirmed=False)
