"""`noetl top` in a terminal: the whole screen, keys, and a look every second."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import termios
import time
import tty
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from noetl.actors.snapshot import Wanted
from noetl.cli.toptree import COLUMNS, SORTED_COLUMN, Row, Then, Top, cells_of, columns_in, details, heading, keys_in
from noetl.node.asking import Line, NodeSilent
from noetl.node.control import NodeView

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live
    from rich.table import Table

_PATIENCE_S: Final = 2.0
_OTHER_LINES: Final = 4
"""Heading, a gap, the names of the columns, the keys."""
_NUMBERS: Final = ("mailbox", "oldest", "msg/s", "reductions", "restarts", "memory")
_FOOT: Final = "q quit  ↑↓ select  enter open/close  i details  s sort  ? help"
_HELP: Final = (
    ("↑ ↓  j k", "select an actor; PgUp, PgDn, Home, End"),
    ("enter, space", "show or hide the children; of an actor without children: its details"),
    ("i", "details of the selected actor"),
    ("s", "order of siblings: as started, mailbox, msg/s, reductions, restarts, memory"),
    ("esc", "back to the tree"),
    ("q, Ctrl-C", "quit"),
    ("", ""),
    ("mailbox", "messages and signals that wait; full: at its bound"),
    ("oldest", "how long the oldest of them waits, at most"),
    ("reductions", "messages handled since the actor was first started"),
    ("memory", "estimate of the actor's own objects and its mailbox"),
    ("loop lag", "how late the event loop was in the last second, at worst"),
)


class Asker:
    """Asks a node again and again, over a new line when it was silent."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._line: Line | None = None

    def ask(self, wanted: Wanted) -> NodeView:
        """Raises `NodeSilent`; `ConnectionError` or `FileNotFoundError` when it has ended."""
        if self._line is None:
            self._line = Line(self._file, _PATIENCE_S).__enter__()
        try:
            return self._line.ask(wanted)
        except NodeSilent:
            self.close()  # a late answer must not be taken for that to the next question
            raise

    def close(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.__exit__(None, None, None)


def show_live(file: Path, interval_s: float) -> None:
    """Until the user quits or the node ends."""
    from rich.console import Console
    from rich.live import Live

    console = Console()
    top = Top(interval_s)
    asker = Asker(file)
    live = Live(console=console, screen=True, auto_refresh=False, transient=True)
    ends = contextlib.suppress(ConnectionError, FileNotFoundError)
    with contextlib.closing(asker), _keys() as keys, live, ends:
        while _one_look(top, asker, live, console, keys):
            pass


def _one_look(top: Top, asker: Asker, live: Live, console: Console, keys: int) -> bool:
    """Ask, draw, and take keys until it is time for the next look. False: the user has enough."""
    trouble = ""
    top.height = max(1, console.size.height - _OTHER_LINES)
    try:
        top.take(asker.ask(top.wanted()))
    except NodeSilent as silent:
        trouble = str(silent)
    until = time.monotonic() + top.interval_s
    while True:
        top.height = max(1, console.size.height - _OTHER_LINES)
        live.update(_screen(top, trouble, console.size.width), refresh=True)
        then = _next(top, keys, until)
        if then != "draw":
            return then == "ask"


def _next(top: Top, keys: int, until: float) -> Then:
    """What the next keys ask for; to look again when none comes in time."""
    wait_s = until - time.monotonic()
    if wait_s <= 0 or not select.select([keys], [], [], wait_s)[0]:
        return "ask"
    typed = os.read(keys, 1024)
    if not typed:
        return "quit"  # the terminal is gone
    wishes = [top.press(key) for key in keys_in(typed)]
    return next((wish for wish in ("quit", "ask") if wish in wishes), "draw")


@contextlib.contextmanager
def _keys() -> Iterator[int]:
    """The terminal gives every key at once, Ctrl-C too, and shows none. Whatever ends us, it is as before then."""
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    terminate = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        tty.setcbreak(terminal)
        now = termios.tcgetattr(terminal)
        now[3] &= ~termios.ISIG
        termios.tcsetattr(terminal, termios.TCSADRAIN, now)
        yield terminal
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
        signal.signal(signal.SIGTERM, terminate)


def _screen(top: Top, trouble: str, width: int) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    node = top.node
    head = Text(heading(node, top.rates) if node is not None else "", style="bold", no_wrap=True, overflow="ellipsis")
    if trouble:
        head = Text(trouble, style="bold red", no_wrap=True, overflow="ellipsis")
    if top.page == "help":
        return Group(head, "", _pairs(list(_HELP)))
    if top.page == "detail" and node is not None:
        return Group(head, "", _pairs(details(node)), "", Text("any key: back", style="dim"))
    return Group(head, "", _tree(top, columns_in(width)), Text(_FOOT, style="dim", no_wrap=True, overflow="ellipsis"))


def _pairs(lines: list[tuple[str, str]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    for name, text in lines:
        table.add_row(Text(name, style="cyan"), Text(text))
    return table


def _tree(top: Top, shown: tuple[str, ...]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, expand=True, padding=(0, 1), pad_edge=False, header_style="bold")
    for name in shown:
        title = f"{name} ↓" if name == SORTED_COLUMN.get(top.sort) else name
        table.add_column(title, justify="right" if name in _NUMBERS else "left", no_wrap=True, ratio=1 if name == "actor" else None)
    first, rows = top.window()
    for place, row in enumerate(rows, first):
        words = dict(zip(COLUMNS, cells_of(row, is_open=row.path in top.expanded), strict=True))
        texts = [Text(words[name], overflow="ellipsis", no_wrap=True) for name in shown]
        table.add_row(*texts, style="reverse" if place == top.selected else _style(row))
    return table


def _style(row: Row) -> str:
    actor = row.actor
    if actor is None:
        return "dim"
    if actor.at_bound:
        return "red"
    return "yellow" if actor.state in ("starting", "stopping") else "dim" if actor.state in ("dead", "asleep") else ""
