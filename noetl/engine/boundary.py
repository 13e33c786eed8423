"""The boundaries of a step, as guards see them: `event.name` (docs/reference/language.md, 6.3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from noetl.dsl.lookup import MISSING, Load, View, see


class EventName(str):
    """The name of a boundary: equal to each of its spellings."""

    __slots__ = ("_spellings",)
    _spellings: frozenset[str]

    def __new__(cls, *spellings: str) -> EventName:
        name = super().__new__(cls, spellings[0])
        name._spellings = frozenset(spellings)
        return name

    def __eq__(self, other: object) -> bool:
        return other in self._spellings if isinstance(other, str) else NotImplemented

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__


STEP_ENTER: Final = EventName("step.enter")
CALL_DONE: Final = EventName("call.done")
CALL_ERROR: Final = EventName("call.error", "call.done")
STEP_EXIT: Final = EventName("step.exit", "step.done")
LOOP_DONE: Final = EventName("loop.done")
STEP_DONE_ARCS: Final = EventName("step.done", "step.exit", "call.done")
LOOP_DONE_ARCS: Final = EventName("loop.done", "step.done", "step.exit", "call.done")
STEP_FAILED_ARCS: Final = EventName("step.failed", "call.error", "step.exit")


class Event(View):
    """What a guard sees of the boundary that it answers. `payload` is the call's or the step's result."""

    __slots__ = ("_data",)

    def __init__(self, name: EventName, *, step: str, status: str, payload: Any, load: Load) -> None:
        super().__init__(load)
        self._data: dict[str, Any] = {"name": name, "step": step, "status": status, "payload": payload}

    def renamed(self, name: EventName) -> Event:
        return Event(**{**self._data, "name": name}, load=self._load)

    def look(self, key: Any) -> Any:
        return see(self._data[key], self._load) if key in self._data else MISSING

    def mapping(self) -> Mapping[str, Any]:
        return self._data

    def plain(self) -> Any:
        return {**self._data, "name": str(self._data["name"])}
