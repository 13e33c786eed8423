"""An attempt: one call of one task, in a slot of its pool. A child of its step; lives until its outcome is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from noetl.actors.actor import SHUTDOWN, AsyncActor, Context, Reason
from noetl.engine.call import Caller, Done, Outcome, Refused
from noetl.engine.messages import ChildRequested, Failed, Lost, OutcomeMessage, Stopped, Succeeded
from noetl.engine.order import Order
from noetl.engine.pool import Granted
from noetl.errors import ToolError
from noetl.events import Value
from noetl.ids import ExecutionId
from noetl.tools.tool import StartChild


class Children(Protocol):
    """Finds the playbook of a sub-execution."""

    async def resolve(self, path: str, order: Order) -> tuple[str, str]:
        """Catalog path and net hash, stored. Raises `ToolError`: kind `not_found`, or `limit` when it would be nested too deeply."""
        ...

    def new_id(self) -> ExecutionId: ...


class Attempt(AsyncActor[Granted]):
    """`tell` takes its outcome to the step. A shutdown cancels the call; the tool stops its remote work, and the outcome says that it was stopped."""

    def __init__(self, order: Order, caller: Caller, children: Children, tell: Callable[[OutcomeMessage], None]) -> None:
        self._order = order
        self._caller = caller
        self._children = children
        self._tell_step = tell
        self._told = False

    async def handle(self, message: Granted, ctx: Context[Granted]) -> None:
        clock = self._caller.clock
        started_at, started = clock.now(), clock.monotonic()
        outcome = await self._caller.call(self._order)
        self._tell(await self._message(outcome, {"started_at": started_at, "duration_s": clock.monotonic() - started}))
        ctx.stop()

    async def terminate(self, reason: Reason, ctx: Context[Granted]) -> None:
        if reason is SHUTDOWN and not self._told:
            self._tell(Stopped(**self._about()))

    def _tell(self, outcome: OutcomeMessage) -> None:
        self._told = True
        self._tell_step(outcome)

    async def _message(self, outcome: Outcome, times: dict[str, Any]) -> OutcomeMessage:
        match outcome:
            case Done(result, helper):
                return Succeeded(**self._about(), **times, result=result, helper=helper)
            case Refused(error, result, helper) if error["kind"] == "worker_lost":
                return Lost(**self._about(), reason=error["message"])
            case Refused(error, result, helper):
                return Failed(**self._about(), **times, error=error, result=result, helper=helper)
            case StartChild(path, payload, return_step):
                return await self._child(path, payload, return_step, times)

    async def _child(self, path: str, payload: dict[str, Value], return_step: str | None, times: dict[str, Any]) -> OutcomeMessage:
        try:
            found, net = await self._children.resolve(path, self._order)
        except ToolError as error:
            return Failed(**self._about(), **times, error={"kind": error.kind, "message": error.message, "retryable": error.retryable})
        return ChildRequested(
            **self._about(),
            child=self._children.new_id(),
            call_id=self._order.call.id,
            path=found,
            net=net,
            payload=payload,
            return_step=return_step,
        )

    def _about(self) -> dict[str, Any]:
        call = self._order.call
        task, attempt, number = self._order.key
        return {"run": call.run, "index": call.index, "task": task, "attempt": attempt, "call": number}
