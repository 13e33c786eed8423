"""Events as they are listed: the common columns, and the rest as data. Sealed values are shown as what may be seen of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from noetl.engine.client import EventView
from noetl.events import FrameEvent, StepScheduled
from noetl.store.log import StoredAppend
from noetl.values import Handle, Sealed

_COLUMNS: Final = frozenset({"step", "index", "attempt"})
_IDS: Final = frozenset({"child", "execution_id"})
"""Whole numbers that JavaScript would round: written as text."""


def event_list(rows: Iterable[StoredAppend]) -> Iterator[EventView]:
    """The events of a log, from its beginning: only there is said which runs are loops."""
    loops: set[int] = set()
    for row in rows:
        yield from event_views(row, loops)


def event_views(row: StoredAppend, loops: set[int]) -> Iterator[EventView]:
    """The events of one append. `loops` are the runs before it that are loops; those that begin in it are added."""
    for number, event in enumerate(row.events()):
        if isinstance(event, StepScheduled) and event.loop is not None:
            loops.add(event.run)
        yield EventView(
            seq=row.first_seq + number,
            at=row.at,
            name=type(event).__name__,
            step=getattr(event, "step", None),
            iteration=event.index if isinstance(event, FrameEvent) and event.run in loops and event.index >= 0 else None,
            attempt=getattr(event, "attempt", None),
            data={name: item for name, item in _fields(event).items() if name not in _COLUMNS},
        )


def shown(value: Any) -> Any:
    if isinstance(value, Handle):
        return value.summary()
    if isinstance(value, Sealed):
        return value.display
    if isinstance(value, msgspec.Struct):
        return _fields(value)
    if isinstance(value, dict):
        return {key: shown(item) for key, item in value.items()}
    return [shown(item) for item in value] if isinstance(value, (list, tuple)) else value


def _fields(struct: msgspec.Struct) -> dict[str, Any]:
    values = ((name, getattr(struct, name)) for name in struct.__struct_fields__)
    return {name: str(value) if name in _IDS else shown(value) for name, value in values}
