"""The boundaries of a step, as guards see them: `event.name` (docs/reference/language.md, 6.3)."""

from __future__ import annotations

from typing import Final


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
