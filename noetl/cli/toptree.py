"""What `noetl top` shows: rows made of views, what is selected and open, and what a key does. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

from msgspec import Struct

from noetl.actors.snapshot import SORTS, ActorView, Rates, RuntimeView, Sort, Wanted, rates
from noetl.node.control import NodeView

Key = Literal["up", "down", "page up", "page down", "home", "end", "open", "sort", "detail", "help", "back", "quit"]
Page = Literal["tree", "detail", "help"]
Then = Literal["draw", "ask", "quit"]

_KEYS: Final[dict[bytes, Key]] = {
    b"\x1b[A": "up",
    b"\x1bOA": "up",
    b"k": "up",
    b"\x1b[B": "down",
    b"\x1bOB": "down",
    b"j": "down",
    b"\x1b[5~": "page up",
    b"\x1b[6~": "page down",
    b"\x1b[H": "home",
    b"g": "home",
    b"\x1b[F": "end",
    b"G": "end",
    b"\r": "open",
    b"\n": "open",
    b" ": "open",
    b"s": "sort",
    b"i": "detail",
    b"?": "help",
    b"\x1b": "back",
    b"q": "quit",
    b"\x03": "quit",
}
_LONGEST: Final = max(map(len, _KEYS))
_MIN_RATE_SHARE: Final = 0.5
"""Of the interval: what is asked sooner, because of a key, says little about rates."""


def keys_in(typed: bytes) -> Iterator[Key]:
    """The keys that a terminal has sent. What means nothing is left out."""
    while typed:
        size = next((size for size in range(_LONGEST, 0, -1) if typed[:size] in _KEYS), 0)
        if size:
            yield _KEYS[typed[:size]]
        typed = typed[max(size, 1) :]


class Row(Struct, frozen=True):
    """One line of the tree. Without an actor: `left_out` children are not listed."""

    level: int
    path: str
    actor: ActorView | None
    rate: float | None = None
    """Messages a second; None: not known yet."""
    left_out: int = 0


def rows_of(view: RuntimeView, found: Rates, *, expanded: set[str] | None = None) -> list[Row]:
    """The tree, flat. `expanded`: whose children are shown; None: all that the view has."""
    rows: list[Row] = []

    def add(actors: tuple[ActorView, ...], level: int) -> None:
        for actor in actors:
            rows.append(Row(level, actor.path, actor, found.of.get(actor.path)))
            if expanded is None or actor.path in expanded:
                add(actor.children, level + 1)
                left_out = actor.child_count - len(actor.children)
                if left_out and (actor.children or expanded is not None):
                    rows.append(Row(level + 1, f"{actor.path}/…", None, left_out=left_out))

    add(view.roots, 0)
    return rows


@dataclass
class Top:
    """What one looks at. `interval_s`: between two looks."""

    interval_s: float = 1.0
    sort: Sort = "tree"
    page: Page = "tree"
    height: int = 20
    """Rows of the tree that fit on the screen."""
    node: NodeView | None = None
    rates: Rates = Rates(0.0, {})
    expanded: set[str] = field(default_factory=set)
    selected: int = 0
    rows: list[Row] = field(default_factory=list)
    _base: RuntimeView | None = None

    def wanted(self) -> Wanted:
        """What has to be asked for: no more than is shown."""
        detail = self.path if self.page == "detail" else None
        if self.node is None:
            return Wanted(sort=self.sort, limit=self.height, depth=1)
        return Wanted(sort=self.sort, limit=self.height, expanded=tuple(sorted(self.expanded)), detail=detail)

    @property
    def path(self) -> str | None:
        return self.rows[self.selected].path if self.rows else None

    def take(self, node: NodeView) -> None:
        """A new look."""
        if self.node is None:
            self.expanded = {root.path for root in node.runtime.roots}
        self._take_rates(node.runtime)
        self.node = node
        path = self.path
        self.rows = rows_of(node.runtime, self.rates, expanded=self.expanded)
        self.selected = next((place for place, row in enumerate(self.rows) if row.path == path), min(self.selected, max(0, len(self.rows) - 1)))

    def _take_rates(self, view: RuntimeView) -> None:
        if self._base is None:
            self._base = view
        elif view.at_s - self._base.at_s >= self.interval_s * _MIN_RATE_SHARE:
            self.rates = rates(self._base, view)
            self._base = view

    def press(self, key: Key) -> Then:
        """What a key changes, and what is to be done then."""
        if key == "quit":
            return "quit"
        if key in ("back", "help") or self.page != "tree":
            self.page = "help" if key == "help" and self.page != "help" else "tree"
            return "draw"
        match key:
            case "sort":
                self.sort = SORTS[(SORTS.index(self.sort) + 1) % len(SORTS)]
                return "ask"
            case "open" if self._has_children():
                self.expanded ^= {self.path or ""}
                return "ask"
            case "open" | "detail":
                if self.rows and self.rows[self.selected].actor is not None:
                    self.page = "detail"
                    return "ask"
            case _:
                self._move(key)
        return "draw"

    def _has_children(self) -> bool:
        actor = self.rows[self.selected].actor if self.rows else None
        return actor is not None and actor.child_count > 0

    def _move(self, key: Key) -> None:
        last = max(0, len(self.rows) - 1)
        steps = {"up": -1, "down": 1, "page up": -self.height, "page down": self.height, "home": -last, "end": last}
        self.selected = min(last, max(0, self.selected + steps.get(key, 0)))

    def window(self) -> tuple[int, list[Row]]:
        """The rows on the screen, with the selected one among them; and the place of the first."""
        first = min(max(0, self.selected - self.height // 2), max(0, len(self.rows) - self.height))
        return first, self.rows[first : first + self.height]


# -- words -------------------------------------------------------------------------------------------------------------

COLUMNS: Final = ("actor", "kind", "state", "mailbox", "oldest", "msg/s", "reductions", "restarts", "memory")
_WIDTHS: Final = {"kind": 21, "memory": 10, "oldest": 9, "restarts": 10, "reductions": 13, "state": 10, "msg/s": 8}
"""What a column takes; the first is the first that is left out where there is no room."""
_NAME_WIDTH: Final = 24
_MAILBOX_WIDTH: Final = 12
SORTED_COLUMN: Final[dict[Sort, str]] = {
    "mailbox": "mailbox",
    "rate": "msg/s",
    "reductions": "reductions",
    "restarts": "restarts",
    "memory": "memory",
}


def columns_in(width: int) -> tuple[str, ...]:
    """Those of `COLUMNS` that fit beside names of a good length."""
    left_out: set[str] = set()
    for name in _WIDTHS:
        if _NAME_WIDTH + _MAILBOX_WIDTH + sum(size for column, size in _WIDTHS.items() if column not in left_out) <= width:
            break
        left_out.add(name)
    return tuple(column for column in COLUMNS if column not in left_out)


def cells_of(row: Row, *, is_open: bool | None = None) -> tuple[str, ...]:
    """One row as words, a word for each of `COLUMNS`. `is_open` None: without a sign for what can be opened."""
    indent = "  " * row.level
    actor = row.actor
    if actor is None:
        return (f"{indent}… {row.left_out:,} more", *[""] * (len(COLUMNS) - 1))
    sign = "" if is_open is None else "  " if not actor.child_count else "▾ " if is_open else "▸ "
    return (
        f"{indent}{sign}{actor.id}",
        actor.kind,
        actor.state,
        f"{count(actor.waiting + actor.signals)}{' full' if actor.at_bound else ''}" if actor.waiting or actor.signals else "",
        duration(actor.oldest_s) if actor.oldest_s else "",
        "" if row.rate is None else count(round(row.rate)) if row.rate >= 10 or not row.rate else f"{row.rate:.1f}",
        count(actor.reductions),
        str(actor.restarts) if actor.restarts else "",
        memory(actor.memory_bytes),
    )


def heading(node: NodeView, found: Rates) -> str:
    """The node in one line."""
    runtime = node.runtime
    parts = [
        f"{node.id}  pid {node.pid}",
        node.title,
        f"up {duration(runtime.uptime_s)}",
        f"{runtime.actors:,} actor{'' if runtime.actors == 1 else 's'}",
        f"run queue {runtime.queue_length:,}",
        "" if runtime.lag_s is None else f"loop lag {duration(runtime.lag_s)}",
        f"{count(round(found.total))} msg/s",
    ]
    return "   ".join(part for part in parts if part)


def details(node: NodeView) -> list[tuple[str, str]]:
    """Everything about one actor, as name and text."""
    about = node.runtime.detail
    if about is None:
        return [("", "it is gone")]
    lines = [
        ("path", about.path),
        ("incarnation", str(about.incarnation)),
        ("mailbox", ", ".join(f"{number} {kind}" for kind, number in about.waiting) or "empty"),
        ("at its bound", about.overflow.replace("_", " ")),
        ("timers, tasks", f"{about.timers}, {about.tasks}"),
        ("waits for", ", ".join(about.asking)),
        ("links", ", ".join(about.links)),
        ("watches", ", ".join(about.watching)),
        ("watched by", ", ".join(about.watched_by)),
    ]
    exits = [(f"exit {each.incarnation}", f"{each.at.astimezone():%H:%M:%S}  {each.reason}") for each in reversed(about.exits)]
    return [(name, text) for name, text in (*lines, *exits) if text]


def count(number: int) -> str:
    for size, unit in ((1_000_000_000, "G"), (1_000_000, "M"), (100_000, "k")):
        if number >= size:
            return f"{number / (1_000 if unit == 'k' else size):.{0 if unit == 'k' else 1}f}{unit}"
    return f"{number:,}"


def duration(seconds: float) -> str:
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.0f} ms"
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def memory(size: int) -> str:
    return f"{size:,} B" if size < 10_000 else f"{size / 1024:,.0f} KiB" if size < 10 * 1024**2 else f"{size / 1024**2:,.0f} MiB"
