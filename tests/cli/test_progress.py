"""What is shown of a run while it goes on: a fold over its events."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from noetl.cli.progress import Progress, StepLine, text_of
from noetl.engine.state import LoopState, Run, State, StepState
from noetl.events import (
    AnyEvent,
    AttemptFailed,
    AttemptSucceeded,
    ExecutionResumed,
    IterationCompleted,
    IterationFailed,
    LoopPlan,
    StepCompleted,
    StepFailed,
    StepScheduled,
    StepSkipped,
    TaskScheduled,
    WarningRaised,
)

AT = dt.datetime(2026, 11, 23, 20, 0, tzinfo=dt.UTC)
LATER = AT + dt.timedelta(seconds=2.5)


def scheduled(step: str = "a", run: int = 1, **more: Any) -> StepScheduled:
    return StepScheduled(step=step, run=run, at=AT, tokens=(), **more)


def task(**more: Any) -> TaskScheduled:
    return TaskScheduled(step="a", run=1, task="a", **more)


def failed(message: str = "no") -> AttemptFailed:
    return AttemptFailed(step="a", run=1, task="a", attempt=1, error={"message": message})


def after(*events: AnyEvent, state: State | None = None) -> StepLine:
    """The line of step `a`."""
    progress = Progress()
    progress.take(events, state or State(1))
    return progress.steps["a"]


def test_a_step_runs_is_tried_again_and_ends() -> None:
    assert (after(scheduled()).status, after(scheduled()).runs) == ("running", 1)
    waiting = after(scheduled(), task(), failed(), task(attempt=2, due_at=LATER))
    assert (waiting.status, waiting.attempt, waiting.note) == ("waiting", 2, "no")
    again = after(scheduled(), task(), failed(), task(attempt=2))
    assert (again.status, again.attempt) == ("running", 2)
    good = AttemptSucceeded(step="a", run=1, task="a", attempt=2)
    done = after(scheduled(), task(), failed(), task(attempt=2), good, StepCompleted(step="a", run=1, at=LATER))
    assert (done.status, done.note, done.duration_s(AT)) == ("completed", "", 2.5)


def test_a_loop_counts_its_items_and_has_no_attempt_of_its_own() -> None:
    loop = LoopPlan(items=[], total=3)
    items = (IterationCompleted(step="a", run=1, index=0), task(attempt=2, due_at=LATER), IterationFailed(step="a", run=1, index=1, error={}))
    line = after(scheduled(loop=loop), *items)
    assert (line.status, line.attempt, line.items) == ("running", 1, "2/3 items, 1 failed")


def test_a_step_that_fires_again_begins_anew_and_its_end_was_told_before() -> None:
    progress = Progress()
    ended, _ = progress.take((scheduled(), StepFailed(step="a", run=1, at=LATER, error={"message": "no"}), scheduled(run=2)), State(1))
    assert [(line.status, line.note) for line in ended] == [("failed", "no")]
    assert (progress.steps["a"].status, progress.steps["a"].runs, progress.steps["a"].note) == ("running", 2, "")


def test_what_was_under_way_at_the_end_is_told_with_its_last_status() -> None:
    progress = Progress()
    progress.take((scheduled(), scheduled("b", 2)), State(1))
    state = State(1, status="cancelled", ended_at=LATER, steps={"a": StepState("cancelled"), "b": StepState("completed")})
    ended, _ = progress.take((StepCompleted(step="b", run=2, at=LATER),), state)
    assert [(line.name, line.status, line.duration_s(AT)) for line in ended] == [("b", "completed", 2.5), ("a", "cancelled", 2.5)]


def test_a_resumed_execution_begins_with_what_was_done() -> None:
    run = Run(3, "b", AT, loop=LoopState([], total=9, in_flight=1, best_effort=True, success=4, failed=1))
    state = State(1, steps={"a": StepState("completed", runs=2), "b": StepState("running", runs=1)}, runs={3: run})
    progress = Progress()
    ended, warnings = progress.take((ExecutionResumed(at=AT, node="n", retried=(3,), lost=2), scheduled("b", 3)), state)
    assert ended == []
    assert warnings == ["resumed: 1 failed step tried again, 2 lost attempts run again"]
    assert [(line.name, line.status, line.runs, line.items) for line in progress.steps.values()] == [
        ("a", "completed", 2, ""),
        ("b", "running", 1, "5/9 items, 1 failed"),
    ]


def test_nothing_is_told_with_its_secrets() -> None:
    progress = Progress(lambda text: text.replace("hunter22", "***"))
    events = (scheduled(), failed("hunter22"), WarningRaised(step="a", run=1, message="a hunter22"))
    _, warnings = progress.take(events, State(1))
    assert warnings == ["warning: a: a ***"]
    assert progress.steps["a"].note == "***"
    ended, _ = progress.take((StepSkipped(step="a", tokens=(), reason="hunter22"),), State(1))
    assert ended[0].note == "***"


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (StepLine("a", "completed", started_at=AT, ended_at=LATER), "completed a  2.50 s"),
        (StepLine("a", "failed", attempt=3, started_at=AT, note="no"), "failed    a  attempt 3  2.50 s: no"),
        (StepLine("a", "skipped", note="denied"), "skipped   a: denied"),
        (StepLine("a", "cancelled", started_at=AT, total=3, done=2, failed=1), "cancelled a  2/3 items, 1 failed  2.50 s"),
    ],
)
def test_a_step_as_a_plain_line(line: StepLine, text: str) -> None:
    assert text_of(line, LATER) == text
