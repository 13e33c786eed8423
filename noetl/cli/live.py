"""Progress on a screen: plain lines, or in a terminal a table that moves."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

import click

from noetl.cli.problems import say
from noetl.cli.progress import Progress, StepLine, text_of
from noetl.engine.execution import ExecutionAdvanced
from noetl.node.runlog import LineLogged, LogLine, LogLost
from noetl.probe import ActorCrashed, ChildRestarting, Happening, LoopBlocked, MailboxAtBound, Probe, SupervisorGaveUp, TaskDisowned

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

_STYLES = {"completed": "green", "failed": "bold red", "running": "cyan", "waiting": "yellow", "skipped": "dim", "cancelled": "yellow"}


class Screen(Protocol):
    """Where progress is shown. Entered before the run, left after it."""

    def __enter__(self) -> Screen: ...
    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...
    def advanced(self, progress: Progress, ended: list[StepLine]) -> None: ...
    def note(self, text: str) -> None:
        """Something else that is worth a line."""
        ...


class Feed:
    """Takes what one execution of a node says and hands it to a screen, without secrets. A screen that can't be written to never stops the run."""

    def __init__(self, probe: Probe, screen: Screen, scrub: Callable[[str], str], *, verbose: bool) -> None:
        self._probe = probe
        self._screen = screen
        self._scrub = scrub
        self._verbose = verbose
        self._progress = Progress(scrub)
        self._execution_id: int | None = None
        self._begun: Callable[[str], None] | None = None
        self._is_lost = False

    def __enter__(self) -> Feed:
        self._unsubscribe = self._probe.subscribe(self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        self._unsubscribe()

    def watch(self, execution_id: int, begun: Callable[[str], None]) -> None:
        """Show this execution. `begun` is told its path before anything else is shown."""
        self._execution_id = execution_id
        self._begun = begun

    def _hear(self, happening: Happening) -> None:
        if self._is_lost:
            return
        try:
            self._show(happening)
        except OSError:
            self._is_lost = True  # who prints how it ended will find out, and say so

    def _show(self, happening: Happening) -> None:
        match happening:
            case ExecutionAdvanced() if happening.execution_id == self._execution_id:
                self._advanced(happening)
            case LineLogged(execution_id, line):
                self._screen.note(prefixed(line, None if execution_id == self._execution_id else execution_id))
            case LogLost(reason):
                self._screen.note(f"warning: what the code prints is kept no longer: {reason}")
            case _ if self._verbose:
                text = _of_runtime(happening)
                if text is not None:
                    self._screen.note(self._scrub(text))
            case _:
                pass

    def _advanced(self, happening: ExecutionAdvanced) -> None:
        if self._begun is not None:
            begun, self._begun = self._begun, None
            begun(happening.state.path)
        ended, warnings = self._progress.take(happening.events, happening.state)
        for warning in warnings:
            self._screen.note(warning)
        self._screen.advanced(self._progress, ended)


class Plain:
    """A line on standard output for each step that ends, if `steps`; all others on standard error, if `others`."""

    def __init__(self, *, steps: bool, others: bool) -> None:
        self._steps = steps
        self._others = others

    def __enter__(self) -> Plain:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pass

    def advanced(self, progress: Progress, ended: list[StepLine]) -> None:
        if self._steps:
            for line in ended:
                click.echo(text_of(line, dt.datetime.now(dt.UTC)))

    def note(self, text: str) -> None:
        if self._others:
            say(text)


class Moving:
    """A table of all steps, with bars for loops, on standard error; what the code prints scrolls by above it."""

    def __init__(self) -> None:
        self._progress = Progress()
        self._live: Live | None = None

    def __enter__(self) -> Moving:
        from rich.console import Console
        from rich.live import Live

        self._live = Live(console=Console(stderr=True), get_renderable=self._table, refresh_per_second=8, transient=False)
        self._live.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live is not None:
            self._live.__exit__(kind, error, trace)

    def advanced(self, progress: Progress, ended: list[StepLine]) -> None:
        self._progress = progress

    def note(self, text: str) -> None:
        if self._live is not None:
            self._live.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _table(self) -> Table:
        from rich.table import Table

        now = dt.datetime.now(dt.UTC)
        table = Table.grid(padding=(0, 2))
        for line in list(self._progress.steps.values()):
            table.add_row(*_row(line, now))
        return table


def _row(line: StepLine, now: dt.datetime) -> tuple[Any, ...]:
    from rich.progress_bar import ProgressBar
    from rich.text import Text

    bar: Any = ""
    if line.total:
        bar = ProgressBar(total=line.total, completed=line.done, width=24, complete_style="cyan", finished_style="green")
    about = line.items or (f"attempt {line.attempt}" if line.attempt > 1 else "")
    runs = f"{line.runs} runs" if line.runs > 1 else ""
    note = Text(line.note, style="red" if line.status == "failed" else "dim", overflow="ellipsis", no_wrap=True)
    return Text(line.status, style=_STYLES.get(line.status, "")), line.name, runs, f"{line.duration_s(now):7.2f} s", bar, about, note


def prefixed(line: LogLine, child: int | None = None) -> str:
    """A line as it is shown: with its step, and where a sub-playbook has printed it with that execution's id."""
    place = line.step if child is None else f"{child} {line.step}"
    return f"[{place}] {'warning: ' if line.stream == 'warning' else ''}{line.text}"


def _of_runtime(happening: Happening) -> str | None:
    match happening:
        case ActorCrashed(path, reason=reason):
            return f"runtime: {path} crashed: {reason!r}"
        case ChildRestarting(supervisor, child, reason, delay_s):
            return f"runtime: {supervisor}/{child} is started again in {delay_s:.1f} s after {reason!r}"
        case SupervisorGaveUp(supervisor, child, reason):
            return f"runtime: {supervisor} gave up on {child}: {reason!r}"
        case TaskDisowned(path):
            return f"runtime: {path} was killed and did not stop"
        case MailboxAtBound(path, capacity, overflow):
            return f"runtime: the mailbox of {path} is full ({capacity} messages, {overflow.replace('_', ' ')})"
        case LoopBlocked(path, message, blocked_s):
            return f"runtime: {path or 'something'} held the event loop for {blocked_s:.2f} s{f' (handling {message})' if message else ''}"
    return None
