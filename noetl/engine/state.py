"""The state of an execution: what its events fold to. Plain data, so that it can be kept as a snapshot.

Values in it are never changed in place, only replaced: attempts read them while the execution goes on.
"""

from __future__ import annotations

import datetime as dt
from typing import Any, Literal

from msgspec import Struct

from noetl.events import Boundary, Parent, Phase, Value

StepStatus = Literal["running", "completed", "failed", "skipped", "cancelled"]
FramePhase = Literal["attempting", "settling", "done", "failed"]


class Outcome(Struct, omit_defaults=True):
    """What the last call of a frame gave: the source of the envelope that guards see."""

    status: Literal["ok", "error"]
    task: str
    attempt: int
    result: Value = None
    error: dict[str, Any] | None = None
    helper: dict[str, Any] = {}
    started_at: dt.datetime | None = None
    duration_s: float = 0.0


class Frame(Struct, omit_defaults=True):
    """One iteration's way through the pipeline. A step without a loop has one, with index 0.

    `phase`: attempting: an attempt is running or due; settling: its outcome is to be judged; done; failed. `sink` (boundary, rule, action) is set
    while the attempt is the sink of that action of a rule, and what follows in the rule waits for it; (save, position, 0) is a sink of the pipeline.
    """

    index: int
    phase: FramePhase = "attempting"
    task: str = ""
    attempt: int = 1
    call: int = 0
    due_at: dt.datetime | None = None
    sink: tuple[Boundary, int, int] | None = None
    sink_task: str = ""
    executed: int = 0
    losses: int = 0
    local: dict[str, Value] = {}
    iter: dict[str, Value] = {}
    labels: dict[str, Value] = {}
    good: Value = None
    """The last result that is not null."""
    prev: Value = None
    """What the task before the current one gave; at first, the step that sent the token."""
    outcome: Outcome | None = None
    retries: dict[str, int] = {}
    overrides: dict[str, dict[str, Value]] = {}
    targets: list[tuple[str, dict[str, Value]]] | None = None
    """Chosen by rules; None while none has chosen."""
    replaced: bool = False
    result: Value = None
    """The result that a rule put in place, when `replaced`."""
    sink_error: dict[str, Any] | None = None
    cancelled: bool = False
    """Its attempt was stopped because the execution ends; a resume starts it again."""
    child: int | None = None
    lost: list[tuple[str, int]] = []
    """Attempts (task, number) that were recorded as lost, and not heard of since."""

    @property
    def current_task(self) -> str:
        """Label of what the frame runs, or ran last: a task of its pipeline, or a sink."""
        return self.task if self.sink is None else self.sink_task


class LoopState(Struct, omit_defaults=True):
    """How far a loop is. `next` is the first index that has no frame yet."""

    items: Value
    total: int
    in_flight: int
    best_effort: bool
    next: int = 0
    success: int = 0
    failed: int = 0
    targets: list[tuple[str, dict[str, Value]]] | None = None
    error: dict[str, Any] | None = None
    """Of the first iteration that failed."""
    size: int = 0
    """Bytes of the encoded results so far, to know whether the list may be read at once."""


class WaitingToken(Struct):
    """A token in its place. `value` is the result of the step that sent it."""

    id: int
    args: dict[str, Value]
    value: Value


class Run(Struct, omit_defaults=True):
    """One firing of a step, while it lives. `phase` routing: it has ended, and its arcs are to be read."""

    id: int
    step: str
    started_at: dt.datetime
    args: dict[str, Value] = {}
    prev: Value = None
    timeout_s: float | None = None
    loop: LoopState | None = None
    frames: dict[int, Frame] = {}
    phase: Literal["running", "routing"] = "running"
    error: dict[str, Any] | None = None
    result: Value = None
    targets: list[tuple[str, dict[str, Value]]] | None = None
    consumed: list[tuple[str, WaitingToken]] = []
    """The tokens it took, with the sources of their places."""


class StepState(Struct, omit_defaults=True):
    """What the report says of a step."""

    status: StepStatus
    runs: int = 0
    error: dict[str, Any] | None = None
    started_at: dt.datetime | None = None
    ended_at: dt.datetime | None = None


class Kept(Struct, frozen=True, array_like=True):
    """Where the database lies that calls of an execution share: on which node, and in which directory, which others may share."""

    node: str
    directory: str


class State(Struct, omit_defaults=True):
    """Everything. `places` maps target -> source -> tokens, oldest first."""

    execution_id: int
    path: str = ""
    net: str = ""
    status: Phase = "pending"
    requested_at: dt.datetime | None = None
    ended_at: dt.datetime | None = None
    parent: Parent | None = None
    payload: dict[str, Value] = {}
    merge: bool = True
    env: dict[str, Any] = {}
    started: bool = False
    workload: dict[str, Value] = {}
    spec: dict[str, Value] = {}
    ctx: dict[str, Value] = {}
    places: dict[str, dict[str, list[WaitingToken]]] = {}
    runs: dict[int, Run] = {}
    results: dict[str, Value] = {}
    labels: dict[str, dict[str, Value]] = {}
    """Of the latest run of each step with several tasks."""
    steps: dict[str, StepState] = {}
    next_run: int = 1
    next_token: int = 1
    last_completed: str | None = None
    failure: dict[str, Any] | None = None
    """The unhandled failure that ends the execution."""
    failed_runs: dict[int, Run] = {}
    """Runs whose failure nobody handled, or that were cut off by it: what a resume takes up again."""
    draining: bool = False
    grace_until: dt.datetime | None = None
    stopping: bool = False
    """What still runs is to be cancelled."""
    cancel_reason: str | None = None
    unconfirmed: list[str] = []
    final_run: int | None = None
    """The run of `final_step`, once it was fired."""
    result: Value = None
    error: dict[str, Any] | None = None
    resumes: int = 0
    kept: Kept | None = None
