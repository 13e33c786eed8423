"""A step: the supervisor of its attempts.

It starts an attempt when the execution orders one, and keeps each outcome until the execution says that it is committed: an execution that restarts
orders again what its log says is under way, and gets the outcome that was kept, or nothing while the attempt still runs.
"""

from __future__ import annotations

import datetime as dt
from typing import Any, ClassVar

from msgspec import Struct

from noetl.actors.actor import Actor, Context, Exit, Signal, is_abnormal
from noetl.actors.ref import Ref
from noetl.engine.attempt import Children, OutcomeMessage, attempt_start
from noetl.engine.call import Caller
from noetl.engine.messages import ChildRequested, Failed, Lost, Stopped, Succeeded
from noetl.engine.order import Order
from noetl.engine.pool import Pools, borrow
from noetl.errors import ToolRefused

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


StepInbox = StartAttempt | StopAttempts | Committed | Succeeded | Failed | Stopped | Lost | ChildRequested


class Step(Actor[StepInbox]):
    """`execution` gets the outcomes."""

    __slots__ = ("_caller", "_children", "_execution", "_kept", "_ordered", "_pools", "_running")
    trap_exit: ClassVar[bool] = True
    capacity: ClassVar[int] = 1_000_000

    def __init__(self, execution: Ref[Any], caller: Caller, pools: Pools, children: Children) -> None:
        self._execution = execution
        self._caller = caller
        self._pools = pools
        self._children = children
        self._running: dict[int, tuple[Order, Ref[Any]]] = {}
        self._ordered: dict[int, tuple[str, int, int]] = {}
        """The attempt of each iteration that the execution has asked for last."""
        self._kept: dict[int, OutcomeMessage] = {}

    def handle(self, message: StepInbox, ctx: Context[StepInbox]) -> None:
        match message:
            case StartAttempt(order):
                self._start(order, ctx)
            case StopAttempts():
                for _, attempt in self._running.values():
                    ctx.shutdown(attempt)
            case Committed(indexes):
                for index in indexes:
                    self._kept.pop(index, None)
                    self._ordered.pop(index, None)
            case _:
                self._take(message)

    def signal(self, signal: Signal, ctx: Context[StepInbox]) -> None:
        if not isinstance(signal, Exit):
            return
        index = ctx.record(signal.ref)
        order, attempt = self._running.get(index, (None, None))
        ctx.forget(signal.ref)
        if order is None or attempt is not signal.ref:
            return
        del self._running[index]
        kept = self._kept.get(index)
        if is_abnormal(signal.reason) and (kept is None or _key(kept) != order.key):
            self._kept.pop(index, None)
            self._take(_crashed(order, signal.reason))

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
        if running is not None and running[0].key == order.key:
            return
        self._kept.pop(index, None)
        self._ordered[index] = order.key
        try:
            pool = self._pools.find(order.program.task.kind, order.pool)
        except ToolRefused as error:
            self._take(_refused(order, error, ctx.now()))
            return
        start = attempt_start(order, self._caller, self._children, ctx.self_ref)
        name = f"{index}.{order.key[0]}.{order.key[1]}.{order.key[2]}"
        attempt = ctx.spawn(start, name, shutdown_s=_STOP_S, record=index)
        self._running[index] = (order, attempt)
        borrow(pool, attempt, order.priority)


def _key(outcome: OutcomeMessage) -> tuple[str, int, int]:
    return outcome.task, outcome.attempt, outcome.call


def _refused(order: Order, error: ToolRefused, now: dt.datetime) -> OutcomeMessage:
    """Nobody here serves the call."""
    task, attempt, call = order.key
    about = {"kind": error.kind, "message": error.message, "retryable": False}
    return Failed(run=order.call.run, index=order.call.index, task=task, attempt=attempt, call=call, started_at=now, duration_s=0.0, error=about)


def _crashed(order: Order, reason: Any) -> OutcomeMessage:
    """The attempt's actor ended without an outcome. Killed: its tool did not stop in time, so nobody knows what became of its work."""
    task, attempt, call = order.key
    run, index = order.call.run, order.call.index
    if isinstance(reason, Exception):
        why = f"the attempt's actor crashed: {type(reason).__name__}: {reason}"
        return Lost(run=run, index=index, task=task, attempt=attempt, call=call, reason=why)
    return Stopped(run=run, index=index, task=task, attempt=attempt, call=call, confirmed=False)
