"""What `noetl run` knows of a run while it goes on: a fold over the events, and how its lines read. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from noetl.engine.state import State
from noetl.events import (
    AnyEvent,
    AttemptFailed,
    AttemptSucceeded,
    ExecutionResumed,
    IterationCompleted,
    IterationFailed,
    StepCompleted,
    StepFailed,
    StepScheduled,
    StepSkipped,
    TaskScheduled,
    WarningRaised,
)

_TOLD: Final = (ExecutionResumed, StepCompleted, StepFailed, StepSkipped, WarningRaised)
"""Events that make a line of their own."""


@dataclass
class StepLine:
    """One step as it is shown. Times are of its latest run."""

    name: str
    status: str = "running"
    runs: int = 0
    attempt: int = 1
    started_at: dt.datetime | None = None
    ended_at: dt.datetime | None = None
    total: int | None = None
    done: int = 0
    failed: int = 0
    note: str = ""

    def duration_s(self, now: dt.datetime) -> float:
        return 0.0 if self.started_at is None else ((self.ended_at or now) - self.started_at).total_seconds()

    @property
    def is_open(self) -> bool:
        return self.status in ("running", "waiting")

    @property
    def items(self) -> str:
        if self.total is None:
            return ""
        failed = f", {self.failed} failed" if self.failed else ""
        return f"{self.done}/{self.total} items{failed}"


class Progress:
    """All steps in the order in which they first ran. `scrub` takes secrets out of what is said about them."""

    def __init__(self, scrub: Callable[[str], str] = str) -> None:
        self.steps: dict[str, StepLine] = {}
        self._scrub = scrub

    def take(self, events: Sequence[AnyEvent], state: State) -> tuple[list[StepLine], list[str]]:
        """The steps that have just ended, and what else is to be said. `state` is what the events led to."""
        ended: list[StepLine] = []
        warnings: list[str] = []
        if isinstance(events[0], ExecutionResumed):
            self._seed(state)
            events = [event for event in events if isinstance(event, _TOLD)]  # the state has counted the others
        for event in events:
            line = self._take(event, warnings)
            if line is not None:
                ended.append(replace(line))  # the step may begin again in the same breath
        ended += self._stopped(state) if state.ended_at is not None else ()
        return ended, [self._scrub(warning) for warning in warnings]

    def _seed(self, state: State) -> None:
        """What was so before this process took the execution up."""
        for name, step in state.steps.items():
            self.steps[name] = StepLine(name, step.status, step.runs, started_at=step.started_at, ended_at=step.ended_at)
        for run in state.runs.values():
            if run.loop is not None:
                line = self._line(run.step)
                line.total, line.done, line.failed = run.loop.total, run.loop.success + run.loop.failed, run.loop.failed

    def _stopped(self, state: State) -> Iterator[StepLine]:
        """Steps that were under way when the execution ended."""
        for line in self.steps.values():
            if line.is_open:
                line.status, line.ended_at = state.steps[line.name].status, state.ended_at
                yield line

    def _take(self, event: AnyEvent, warnings: list[str]) -> StepLine | None:
        match event:
            case StepScheduled(step=name, at=at, loop=loop):
                line = self._line(name)
                line.status, line.note, line.attempt, line.started_at, line.ended_at = "running", "", 1, at, None
                line.runs += 1
                line.total, line.done, line.failed = (None if loop is None else loop.total), 0, 0
            case TaskScheduled(step=name, attempt=attempt, due_at=due_at):
                line = self._line(name)
                if line.total is None:  # the items of a loop each have their own
                    line.attempt = attempt
                    line.status = "waiting" if due_at is not None else "running"
            case AttemptFailed(step=name, error=error):
                self._line(name).note = self._scrub(str(error.get("message", "")))
            case AttemptSucceeded(step=name):
                self._line(name).note = ""
            case IterationCompleted(step=name):
                self._line(name).done += 1
            case IterationFailed(step=name):
                line = self._line(name)
                line.done, line.failed = line.done + 1, line.failed + 1
            case StepCompleted(step=name, at=at):
                return self._ended(name, "completed", at, "")
            case StepFailed(step=name, at=at, error=error):
                return self._ended(name, "failed", at, str(error.get("message", "")))
            case StepSkipped(step=name, reason=reason):
                return self._ended(name, "skipped", None, reason)
            case WarningRaised(step=name, message=message):
                warnings.append(f"warning: {name}: {message}")
            case ExecutionResumed(lost=lost, retried=retried):
                warnings.append(f"resumed: {_count(len(retried), 'failed step')} tried again, {_count(lost, 'lost attempt')} run again")
            case _:
                pass
        return None

    def _ended(self, name: str, status: str, at: dt.datetime | None, note: str) -> StepLine:
        line = self._line(name)
        line.status, line.ended_at, line.note = status, at, self._scrub(note)
        return line

    def _line(self, name: str) -> StepLine:
        return self.steps.setdefault(name, StepLine(name))


def text_of(line: StepLine, now: dt.datetime) -> str:
    """One step as a plain line."""
    parts = [f"{line.status:<9} {line.name}"]
    if line.total is not None:
        parts.append(line.items)
    if line.attempt > 1:
        parts.append(f"attempt {line.attempt}")
    if line.status != "skipped":
        parts.append(f"{line.duration_s(now):.2f} s")
    text = "  ".join(parts)
    return f"{text}: {line.note}" if line.note else text


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
