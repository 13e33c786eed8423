"""What an execution's log holds: one closed union, in the past tense. docs/reference/events.md lists the names.

Events carry rendered values, so that recovery folds them and decides nothing again. `run` numbers the firings of steps within the execution, from 1;
`index` is the iteration within the run (0 where the step has no loop, -1 for what a loop does as a whole); `task` is a label; `attempt` counts from
1. Values may be handles (`noetl.values`). A field added later has a default; readers skip fields they do not know.
"""

from __future__ import annotations

import datetime as dt
from typing import Any, Literal

import msgspec
from msgspec import Struct

from noetl.values import pack_leaf, unpack_leaf

Value = Any
Boundary = Literal["task", "enter", "call", "exit", "loop", "save"]
"""Where rules are read. task: a task's policy after its call. The others are the step's rules: before the first call, after each call, after the
last, after the loop. save: no rules, a sink of the pipeline; the rule's position is that of the task."""
Phase = Literal["pending", "running", "waiting", "completed", "failed", "cancelled"]


class Event(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="event"):
    """Anything that a log may hold."""


class Parent(Struct, frozen=True):
    """Who started this execution as a child: which call of which execution, and which step's result it wants."""

    execution_id: int
    call_id: str
    depth: int
    run: int
    index: int
    return_step: str | None = None


class Patch(Struct, frozen=True, omit_defaults=True):
    """One write. `scope` result replaces the step's result; `op` append and extend add to a list."""

    scope: Literal["ctx", "iter", "step", "result"]
    key: str
    value: Value
    op: Literal["set", "append", "extend"] = "set"


class Token(Struct, frozen=True, omit_defaults=True):
    """A token in the place between two steps. `source` is None for the one that starts the execution."""

    id: int
    target: str
    source: str | None = None
    args: dict[str, Value] = {}


class LoopPlan(Struct, frozen=True, omit_defaults=True):
    """What a loop goes over: `items` is a list or the handle of one."""

    items: Value
    total: int
    in_flight: int = 1
    best_effort: bool = False


# -- the execution -----------------------------------------------------------------------------------------------------


class ExecutionRequested(Event, frozen=True, kw_only=True):
    at: dt.datetime
    path: str
    net: str
    """Content hash of the compiled net that this execution is pinned to."""
    payload: dict[str, Value] = {}
    merge: bool = True
    """Whether the payload's mappings merge into those of the workload, or replace them."""
    env: dict[str, Value] = {}
    parent: Parent | None = None
    requested_by: str = ""
    version: int | None = None
    """Of the playbook in the catalog; None when it came from a file."""
    labels: dict[str, str] = {}


class ExecutionStarted(Event, frozen=True, kw_only=True):
    """`workload` is rendered and has the payload in it. The first token waits for step `entry`."""

    entry: str
    workload: dict[str, Value] = {}
    ctx: dict[str, Value] = {}
    spec: dict[str, Value] = {}


class CancelRequested(Event, frozen=True, kw_only=True):
    at: dt.datetime
    reason: str = ""


class ExecutionStopping(Event, frozen=True, kw_only=True):
    """An unhandled failure ends the execution: what still runs may finish until `until`, then it is cancelled."""

    error: dict[str, Value]
    until: dt.datetime | None = None


class GraceEnded(Event, frozen=True, kw_only=True):
    """What still runs is cancelled now."""


class ExecutionCompleted(Event, frozen=True, kw_only=True):
    at: dt.datetime
    result: Value = None


class ExecutionFailed(Event, frozen=True, kw_only=True):
    at: dt.datetime
    error: dict[str, Value]


class ExecutionCancelled(Event, frozen=True, kw_only=True):
    """`unconfirmed` names calls whose remote work could not be confirmed stopped."""

    at: dt.datetime
    reason: str = ""
    unconfirmed: tuple[str, ...] = ()


class ExecutionResumed(Event, frozen=True, kw_only=True):
    """Taken up again by another process. `retried` are the failed runs that are tried again; `lost` counts the attempts that were under way."""

    at: dt.datetime
    node: str
    retried: tuple[int, ...] = ()
    lost: int = 0


# -- steps -------------------------------------------------------------------------------------------------------------


class StepEvent(Event, frozen=True, kw_only=True):
    step: str
    run: int


class StepScheduled(StepEvent, frozen=True, kw_only=True):
    """A transition fired: it took these tokens. `args` are the step's inputs with the tokens' over them."""

    at: dt.datetime
    tokens: tuple[int, ...]
    args: dict[str, Value] = {}
    loop: LoopPlan | None = None
    timeout_s: float | None = None
    final: bool = False
    """It is the playbook's `final_step`: it took no token."""


class StepSkipped(Event, frozen=True, kw_only=True):
    """Admission was denied: the tokens are gone."""

    step: str
    tokens: tuple[int, ...]
    reason: str = ""


class StepCompleted(StepEvent, frozen=True, kw_only=True):
    at: dt.datetime


class StepFailed(StepEvent, frozen=True, kw_only=True):
    """`result` is what the tool answered all the same."""

    at: dt.datetime
    error: dict[str, Value]


class StepRouted(StepEvent, frozen=True, kw_only=True):
    """The arcs were chosen. `handled` is whether a failure was answered by one of them."""

    tokens: tuple[Token, ...] = ()
    writes: tuple[Patch, ...] = ()
    handled: bool = True


# -- inside a step -----------------------------------------------------------------------------------------------------


class FrameEvent(StepEvent, frozen=True, kw_only=True):
    index: int = 0


class TaskScheduled(FrameEvent, frozen=True, kw_only=True):
    """What runs next in the pipeline. `call` counts deliberate repeats; `sink` is the position (rule, action) of a sink instead of a task of the
    pipeline."""

    task: str
    attempt: int = 1
    call: int = 0
    due_at: dt.datetime | None = None
    retries: dict[str, int] | None = None
    """Retries so far by each rule of the task, when they changed."""
    overrides: dict[str, Value] | None = None
    sink: tuple[Boundary, int, int] | None = None


class AttemptEvent(FrameEvent, frozen=True, kw_only=True):
    task: str
    attempt: int
    started_at: dt.datetime | None = None
    duration_s: float = 0.0


class AttemptSucceeded(AttemptEvent, frozen=True, kw_only=True):
    """`helper` is what the kind adds to the envelope: {"http": {...}}, {"pg": {...}}. `node` ran it, where that was not the one that owns the
    execution. `directory` is the id of the one in which it has left what the execution's later calls of its kind need."""

    result: Value = None
    helper: dict[str, Value] = {}
    node: str = ""
    directory: str = ""


class AttemptFailed(AttemptEvent, frozen=True, kw_only=True):
    error: dict[str, Value]
    result: Value = None
    helper: dict[str, Value] = {}
    node: str = ""
    directory: str = ""


class AttemptCancelled(AttemptEvent, frozen=True, kw_only=True):
    confirmed: bool = True


class AttemptLost(FrameEvent, frozen=True, kw_only=True):
    """Its node or process went away through no fault of the code: it runs again as the next attempt."""

    task: str
    attempt: int
    reason: str
    counted: bool = True


class OutcomeLate(FrameEvent, frozen=True, kw_only=True):
    """What an attempt gave that had been recorded as lost: it was not, but another has taken its place. It changes nothing."""

    task: str
    attempt: int
    status: Literal["succeeded", "failed"]
    node: str = ""
    duration_s: float = 0.0


class ChildStarted(FrameEvent, frozen=True, kw_only=True):
    """The call is a sub-playbook: its execution was started."""

    task: str
    child: int
    path: str
    net: str
    call_id: str
    payload: dict[str, Value] = {}
    return_step: str | None = None


class Written(FrameEvent, frozen=True, kw_only=True):
    writes: tuple[Patch, ...]


class TargetsChosen(FrameEvent, frozen=True, kw_only=True):
    """A rule chose where the step's tokens go."""

    targets: tuple[tuple[str, dict[str, Value]], ...]


class IterationCompleted(FrameEvent, frozen=True, kw_only=True):
    result: Value = None


class IterationFailed(FrameEvent, frozen=True, kw_only=True):
    error: dict[str, Value]


class WarningRaised(FrameEvent, frozen=True, kw_only=True):
    message: str


AnyEvent = (
    ExecutionRequested
    | ExecutionStarted
    | CancelRequested
    | ExecutionStopping
    | GraceEnded
    | ExecutionCompleted
    | ExecutionFailed
    | ExecutionCancelled
    | ExecutionResumed
    | StepScheduled
    | StepSkipped
    | StepCompleted
    | StepFailed
    | StepRouted
    | TaskScheduled
    | AttemptSucceeded
    | AttemptFailed
    | AttemptCancelled
    | AttemptLost
    | OutcomeLate
    | ChildStarted
    | Written
    | TargetsChosen
    | IterationCompleted
    | IterationFailed
    | WarningRaised
)

encode_events = msgspec.msgpack.Encoder(enc_hook=pack_leaf).encode
decode_events = msgspec.msgpack.Decoder(tuple[AnyEvent, ...], ext_hook=unpack_leaf).decode
