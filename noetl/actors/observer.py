"""Looking at a runtime while it works.

Looking goes in small pieces, since an actor may have a hundred thousand children: `Observer.pieces` is a generator that stops every 0.1 ms or so.
`Observer.look` lets the loop turn between the pieces, so what it gives is not of one moment; `Runtime.snapshot` does not and is.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from heapq import nlargest
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeVar

from noetl.actors.snapshot import ActorDetail, ActorState, ActorView, ExitView, RuntimeView, Wanted

if TYPE_CHECKING:
    from noetl.actors.cell import Cell
    from noetl.actors.loop import Runtime

T = TypeVar("T")
Pieces = Generator[None, None, T]

_STATES: Final[tuple[ActorState, ...]] = ("starting", "running", "stopping", "dead")
_PIECE: Final = 128
"""Actors that are looked at in one piece."""
_SLICE_S: Final = 0.001
_SHOWN: Final = 20
"""Of any list in the details."""
_SAMPLE: Final = 100
"""Messages at the head of a mailbox that are looked at."""
_CLOSURE_BYTES: Final = 64


class Observer:
    """Remembers from one look to the next what the rates of actors that were not listed need. `scrub` takes secrets out of exit reasons."""

    def __init__(self, runtime: Runtime, scrub: Callable[[str], str] = str) -> None:
        self._runtime = runtime
        self._scrub = scrub
        self._seen: dict[Cell[Any], int] = {}
        """Reductions at the last look, of the actors that were candidates for a list by rate."""
        self._seeing: dict[Cell[Any], int] = {}

    async def look(self, wanted: Wanted) -> RuntimeView:
        """What is wanted, without holding the loop for more than a millisecond at a time."""
        pieces = self.pieces(wanted)
        until = time.perf_counter() + _SLICE_S
        while True:
            try:
                next(pieces)
            except StopIteration as end:
                view: RuntimeView = end.value
                return view
            if time.perf_counter() > until:
                await asyncio.sleep(0)
                until = time.perf_counter() + _SLICE_S

    def pieces(self, wanted: Wanted) -> Pieces[RuntimeView]:
        runtime = self._runtime
        exits = {note.cell: self._scrub(note.text) for note in runtime.exits}
        roots = yield from self._views(runtime.roots, "", 0, wanted, exits)
        detail = None if wanted.detail is None else (yield from self._detail(wanted.detail))
        self._seen, self._seeing = self._seeing, {}
        now_s = time.perf_counter()
        return RuntimeView(
            at_s=now_s,
            uptime_s=now_s - runtime.began_s,
            actors=runtime.living,
            queue_length=runtime.queue_length,
            reductions=runtime.reductions,
            lag_s=runtime.lag_s,
            roots=roots,
            detail=detail,
        )

    def _views(
        self, cells: Iterable[Cell[Any]], above: str, level: int, wanted: Wanted, exits: dict[Cell[Any], str]
    ) -> Pieces[tuple[ActorView, ...]]:
        chosen = yield from self._chosen(tuple(cells), wanted)
        views = []
        for place, cell in enumerate(chosen):
            if place % _PIECE == 0:
                yield
            path = f"{above}{cell.id}"
            is_open = (wanted.expanded is None or path in wanted.expanded) and (wanted.depth is None or level < wanted.depth)
            children = (yield from self._views(cell._children, f"{path}/", level + 1, wanted, exits)) if is_open and cell._children else ()
            views.append(_view(cell, path, children, exits.get(cell)))
        return tuple(views)

    def _chosen(self, cells: tuple[Cell[Any], ...], wanted: Wanted) -> Pieces[Iterable[Cell[Any]]]:
        """Those that come first. All have to be looked at, unless they stay in the order of their start."""
        if wanted.sort == "tree":
            return cells[: wanted.limit]
        key = self._key(wanted)
        first: list[Cell[Any]] = []
        for start in range(0, len(cells), _PIECE):
            first = nlargest(wanted.limit, [*first, *cells[start : start + _PIECE]], key)
            yield
        return first

    def _key(self, wanted: Wanted) -> Callable[[Cell[Any]], float]:
        match wanted.sort:
            case "mailbox":
                return lambda cell: len(cell.messages or ())
            case "rate":
                return self._gain
            case "restarts":
                return lambda cell: cell.incarnation
            case "memory":
                return memory_of
            case _:
                return lambda cell: cell.reductions

    def _gain(self, cell: Cell[Any]) -> int:
        self._seeing[cell] = cell.reductions
        return cell.reductions - self._seen.get(cell, 0)

    def _detail(self, path: str) -> Pieces[ActorDetail | None]:
        cell = yield from self._found(path)
        return None if cell is None else self._details(cell, path)

    def _found(self, path: str) -> Pieces[Cell[Any] | None]:
        cells, rest = self._runtime.roots, path
        while True:
            for place, cell in enumerate(cells):
                if place % _PIECE == 0:
                    yield
                name = str(cell.id)
                if rest == name:
                    return cell
                if rest.startswith(name + "/"):
                    cells, rest = tuple(cell._children or ()), rest[len(name) + 1 :]
                    break
            else:
                return None

    def _details(self, cell: Cell[Any], path: str) -> ActorDetail:
        ties = cell._ties
        kinds = Counter(type(message).__name__ for message in islice(cell.messages or (), _SAMPLE))
        exits = [ExitView(note.at, note.incarnation, self._scrub(note.text)) for note in self._runtime.exits if note.cell is cell]
        return ActorDetail(
            path=path,
            incarnation=cell.incarnation,
            overflow=cell.overflow,
            exits=tuple(exits[-_SHOWN:]),
            links=_paths(None if ties is None else ties.links),
            watched_by=_paths(None if ties is None else ties.watchers),
            watching=_paths(None if ties is None else ties.watching),
            timers=0 if ties is None else len(ties.timers or ()),
            tasks=0 if ties is None else len(ties.tasks or ()),
            asking=() if ties is None or ties.asking is None else _paths(ties.asking.values()),
            waiting=tuple(kinds.most_common(_SHOWN)),
        )


def complete(pieces: Pieces[T]) -> T:
    """All pieces at once."""
    while True:
        try:
            next(pieces)
        except StopIteration as end:
            value: T = end.value
            return value


def memory_of(cell: Cell[Any]) -> int:
    """Bytes, estimated: of a mailbox as if all messages were as large as those at its head."""
    size = sys.getsizeof(cell) + _shallow(cell.actor) + sys.getsizeof(cell._children or ())
    messages = cell.messages
    if messages:
        sample = [sys.getsizeof(message) for message in islice(messages, _SHOWN)]
        size += sys.getsizeof(messages) + len(messages) * sum(sample) // len(sample)
    return size


def _shallow(actor: Any) -> int:
    """An actor, its attributes, and what stands in them."""
    if actor is None:
        return 0
    return sys.getsizeof(actor) + _CLOSURE_BYTES + sum(sys.getsizeof(value) for _, value in attributes(actor))


def attributes(thing: Any) -> Iterator[tuple[str, Any]]:
    """Name and value of what an object holds, in slots or in a dict."""
    for kind in type(thing).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            own = f"_{kind.__name__.lstrip('_')}{name}" if name.startswith("__") and not name.endswith("__") else name
            if name not in ("__dict__", "__weakref__") and hasattr(thing, own):
                yield name, getattr(thing, own)
    yield from getattr(thing, "__dict__", {}).items()


def _view(cell: Cell[Any], path: str, children: tuple[ActorView, ...], last_exit: str | None) -> ActorView:
    messages, ties = cell.messages, cell._ties
    waiting = len(messages or ())
    return ActorView(
        id=str(cell.id),
        path=path,
        kind=type(cell.actor).__name__ if cell.actor is not None else "",
        state="asleep" if cell.is_asleep() else _STATES[cell._state],
        waiting=waiting,
        signals=len(cell.signals or ()),
        capacity=cell.capacity,
        at_bound=waiting >= cell.capacity > 0,
        oldest_s=max(0.0, time.perf_counter() - cell.since_s) if messages else 0.0,
        reductions=cell.reductions,
        restarts=max(0, cell.incarnation - 1),
        last_exit=last_exit,
        links=0 if ties is None else len(ties.links or ()),
        monitors=0 if ties is None else len(ties.watchers or ()) + len(ties.watching or ()),
        memory_bytes=memory_of(cell),
        child_count=len(cell._children or ()),
        children=children,
    )


def _paths(cells: Iterable[Any] | None) -> tuple[str, ...]:
    return tuple(cell.path for cell in islice(cells or (), _SHOWN))
