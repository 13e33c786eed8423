"""Progress on a screen: plain lines, or in a terminal a table that moves."""

from __future__ import annotations

import datetime as dt
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

import click

from noetl.cli.problems import say
from noetl.cli.progress import Progress, StepLine, text_of
from noetl.engine.execution import ExecutionAdvanced
from noetl.events import ExecutionResumed
from noetl.node.runlog import LineLogged, LogLine
from noetl.probe import Happening

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

_STYLES = {"completed": "green", "failed": "bold red", "running": "cyan", "waiting": "yellow", "skipped": "dim", "cancelled": "yellow"}


class Screen(Protocol):
    """Where progress is shown. Entered before the run, left after it."""

    def __enter__(self) -> Screen: ...
    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...
    def advanced(self, progress: Progress, ended: list[StepLine], warnings: list[str]) -> None: ...
    def logged(self, line: LogLine) -> None: ...


class Feed:
    """Takes what one execution says and hands it to a screen."""

    def __init__(self, screen: Screen) -> None:
        self.progress = Progress()
        self.execution_id: int | None = None
        self._screen = screen

    def hear(self, happening: Happening) -> None:
        if isinstance(happening, ExecutionAdvanced) and happening.execution_id == self.execution_id:
            if isinstance(happening.events[0], ExecutionResumed):
                self.progress.seed(happening.state)
            ended, warnings = self.progress.take(happening.events)
            self._screen.advanced(self.progress, ended, warnings)
        elif isinstance(happening, LineLogged):
            self._screen.logged(happening.line)


class Plain:
    """A line for each step that ends. With `steps` False only what the author's code prints, with `output` False not even that."""

    def __init__(self, *, steps: bool, output: bool, verbose: bool = False) -> None:
        self._steps = steps
        self._output = output
        self._verbose = verbose

    def __enter__(self) -> Plain:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pass

    def advanced(self, progress: Progress, ended: list[StepLine], warnings: list[str]) -> None:
        if self._steps:
            for line in ended:
                click.echo(text_of(line, dt.datetime.now(dt.UTC)))
        if self._steps or self._verbose:
            for warning in warnings:
                say(warning)

    def logged(self, line: LogLine) -> None:
        if self._output:
            click.echo(prefixed(line), err=True)


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

    def advanced(self, progress: Progress, ended: list[StepLine], warnings: list[str]) -> None:
        self._progress = progress
        for warning in warnings:
            self._print(warning)

    def logged(self, line: LogLine) -> None:
        self._print(prefixed(line))

    def _print(self, text: str) -> None:
        if self._live is not None:
            self._live.console.print(text, markup=False, highlight=False)

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
        bar = ProgressBar(total=line.total, completed=line.done, width=24)
    about = line.items or (f"attempt {line.attempt}" if line.attempt > 1 else "")
    runs = f"×{line.runs}" if line.runs > 1 else ""
    note = Text(line.note, style="red" if line.status == "failed" else "dim", overflow="ellipsis", no_wrap=True)
    return Text(line.status, style=_STYLES.get(line.status, "")), line.name, runs, f"{line.duration_s(now):7.2f} s", bar, about, note


def prefixed(line: LogLine) -> str:
    return f"[{line.step}] {line.text}" if line.stream != "warning" else f"[{line.step}] warning: {line.text}"
