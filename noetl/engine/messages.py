"""What an execution may be told: one closed union."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from noetl.errors import StoreError
from noetl.events import Parent, Value


class ExecutionMessage(Struct, frozen=True, kw_only=True, tag_field="kind"):
    """Anything an execution may be told. A field added later carries a default."""


class Begin(ExecutionMessage, frozen=True, kw_only=True):
    """Start: the first message of an execution's life."""

    path: str
    net: str
    payload: dict[str, Value] = {}
    merge: bool = True
    env: dict[str, Value] = {}
    parent: Parent | None = None
    requested_by: str = ""
    version: int | None = None
    labels: dict[str, str] = {}


class CallMessage(ExecutionMessage, frozen=True, kw_only=True):
    """About one attempt: the current one of its frame, or it is late."""

    run: int
    index: int
    task: str
    attempt: int
    call: int = 0


class Succeeded(CallMessage, frozen=True, kw_only=True):
    """`node`: another node ran it. `directory`: of that node, in which it has left what later calls need."""

    started_at: dt.datetime
    duration_s: float
    result: Value = None
    helper: dict[str, Value] = {}
    node: str = ""
    directory: str = ""


class Failed(CallMessage, frozen=True, kw_only=True):
    started_at: dt.datetime
    duration_s: float
    error: dict[str, Value]
    result: Value = None
    helper: dict[str, Value] = {}
    node: str = ""
    directory: str = ""


class Stopped(CallMessage, frozen=True, kw_only=True):
    """It was cancelled, or never started, because the execution ends. `confirmed`: its remote work is known to have stopped."""

    confirmed: bool = True


class Lost(CallMessage, frozen=True, kw_only=True):
    """Its process or node went away through no fault of the code."""

    reason: str


class StepLost(ExecutionMessage, frozen=True, kw_only=True):
    """A step's actor ended, and its attempts with it."""

    run: int
    reason: str


class ChildRequested(CallMessage, frozen=True, kw_only=True):
    """The attempt wants a sub-playbook: its execution `child` is started by this execution's append."""

    child: int
    call_id: str
    path: str
    net: str
    payload: dict[str, Value] = {}
    return_step: str | None = None


OutcomeMessage = Succeeded | Failed | Stopped | Lost | ChildRequested
"""What becomes of an attempt."""


class Reported(ExecutionMessage, frozen=True, kw_only=True):
    """An outcome from another node. `done` is called when it is committed, or changes nothing."""

    outcome: OutcomeMessage
    done: Callable[[], None]


class ChildEnded(ExecutionMessage, frozen=True, kw_only=True):
    """`inbox_id` is the row that says so. `run` is 0 when the child could not say which call it was."""

    child: int
    run: int
    index: int
    status: str
    result: Value = None
    error: dict[str, Any] | None = None
    inbox_id: int = 0


class Cancel(ExecutionMessage, frozen=True, kw_only=True):
    reason: str = ""
    inbox_id: int = 0


class StepTimedOut(ExecutionMessage, frozen=True, kw_only=True):
    run: int


class ValueLost(ExecutionMessage, frozen=True, kw_only=True):
    """A value that a decision needs can't be read any more."""

    message: str


class GraceOver(ExecutionMessage, frozen=True, kw_only=True):
    """What still runs after an unhandled failure has had its time."""


class Resume(ExecutionMessage, frozen=True, kw_only=True):
    """Taken up by `node`. What was under way is lost, what failed is tried again."""

    node: str


class Proceed(ExecutionMessage, frozen=True, kw_only=True):
    """To oneself: go on with what could not be decided: a value is in memory now, or the turn was too long."""


class DueNow(ExecutionMessage, frozen=True, kw_only=True):
    """To oneself: a time has come; what is due starts."""


class Wake(ExecutionMessage, frozen=True, kw_only=True):
    """The store has something for this execution: inbox rows, or a time that has come."""


class AppendEnded(ExecutionMessage, frozen=True, kw_only=True):
    """To oneself: what became of the append that is under way."""

    error: StoreError | None = None


class Fetched(ExecutionMessage, frozen=True, kw_only=True):
    """To oneself: what was asked of the store has come, or could not. `what` tells which question it answers."""

    what: str
    answer: Any = None
    error: BaseException | None = None


Decided = (
    Begin
    | Succeeded
    | Failed
    | Stopped
    | Lost
    | StepLost
    | ChildRequested
    | ChildEnded
    | Cancel
    | StepTimedOut
    | ValueLost
    | GraceOver
    | Resume
    | Proceed
)
"""What `decide` answers with events."""

ExecutionInbox = Decided | Reported | DueNow | Wake | AppendEnded | Fetched
