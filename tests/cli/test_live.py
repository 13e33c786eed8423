"""How what a node says gets to a screen."""

from __future__ import annotations

from typing import Any

from noetl.cli.live import Feed
from noetl.cli.progress import Progress, StepLine
from noetl.clock import SystemClock
from noetl.engine.execution import ExecutionAdvanced
from noetl.engine.state import State
from noetl.events import StepCompleted, StepScheduled, WarningRaised
from noetl.node.runlog import LineLogged, LogLine, LogLost
from noetl.probe import ActorCrashed, ActorStarted, ChildRestarting, Happening, LoopBlocked, MailboxAtBound, Probe, SupervisorGaveUp, TaskDisowned

AT = SystemClock().now()


class Recording:
    """A screen that remembers. `broken`: it can't be written to."""

    def __init__(self, *, broken: bool = False) -> None:
        self.shown: list[str] = []
        self.broken = broken

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def advanced(self, progress: Progress, ended: list[StepLine]) -> None:
        self.note("".join(f"{line.name} {line.status}" for line in ended))

    def note(self, text: str) -> None:
        if self.broken:
            raise BrokenPipeError
        self.shown.append(text)


def advanced(*events: Any, execution_id: int = 7) -> ExecutionAdvanced:
    return ExecutionAdvanced(execution_id, 1, events, State(execution_id, path="p"))


def fed(screen: Recording, *happenings: Happening, verbose: bool = False) -> list[str]:
    """What a screen shows of execution 7."""
    probe = Probe()
    with Feed(probe, screen, lambda text: text.replace("hunter22", "***"), verbose=verbose) as feed:
        feed.watch(7, lambda path: screen.shown.append(f"begun {path}"))
        for happening in happenings:
            probe.emit(happening)
    assert not probe.wanted, "nobody listens any more"
    return screen.shown


START = advanced(StepScheduled(step="a", run=1, at=AT, tokens=()))
END = advanced(StepCompleted(step="a", run=1, at=AT))


def test_the_first_thing_that_is_shown_is_that_it_has_begun() -> None:
    assert fed(Recording(), START, END) == ["begun p", "", "a completed"]


def test_other_executions_are_not_shown_but_what_their_code_prints_is() -> None:
    line = LogLine(AT, "b", 0, 1, "stdout", "hello")
    warning = LogLine(AT, "b", 0, 1, "warning", "odd")
    shown = fed(Recording(), advanced(execution_id=8), LineLogged(8, line), LineLogged(8, warning), LogLost("/logs: full"))
    assert shown == ["[8 b] hello", "[8 b] warning: odd", "warning: what the code prints is kept no longer: /logs: full"]


def test_what_is_shown_has_no_secrets() -> None:
    assert fed(Recording(), advanced(WarningRaised(step="a", run=1, message="hunter22"))) == ["begun p", "warning: a: ***", ""]


RUNTIME = (
    ActorStarted("solo/shard", 2),
    ChildRestarting("solo", "store", OSError("hunter22"), 0.25),
    SupervisorGaveUp("solo", "store", RuntimeError("bug")),
    TaskDisowned("solo/x"),
    ActorCrashed("solo/shard/7", 1, None, None, KeyError("hunter22"), "solo/shard", is_late=False),
    MailboxAtBound("solo/x", 10, "drop_oldest"),
    LoopBlocked("solo/x", "Work", 1.25, "stack"),
    LoopBlocked(None, None, 0.5, "stack"),
)


def test_what_the_runtime_restarts_is_shown_to_who_wants_to_know() -> None:
    assert fed(Recording(), *RUNTIME) == []
    assert fed(Recording(), *RUNTIME, verbose=True) == [
        "runtime: solo/store is started again in 0.2 s after OSError('***')",
        "runtime: solo gave up on store: RuntimeError('bug')",
        "runtime: solo/x was killed and did not stop",
        "runtime: solo/shard/7 crashed: KeyError('***')",
        "runtime: the mailbox of solo/x is full (10 messages, drop oldest)",
        "runtime: solo/x held the event loop for 1.25 s (handling Work)",
        "runtime: something held the event loop for 0.50 s",
    ]


def test_a_screen_that_can_not_be_written_to_is_left_alone_and_nobody_else_is_told() -> None:
    screen = Recording(broken=True)
    fed(screen, START)
    screen.broken = False
    assert screen.shown == ["begun p"]
