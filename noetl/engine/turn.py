"""One turn of an execution: the messages that waited, and what is decided about them.

A turn applies each event as it is decided, so that the next decision sees it. It is pure all the same: equal state, messages, time, chance and
loaded values give equal events, and folding those events gives the state that it leaves behind. Work is done in small items; an item renders
everything that it needs before it emits anything, so that one that lacks a value can be done again from the start.
"""

from __future__ import annotations

import datetime as dt
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

from noetl.dsl.lookup import Load, NotLoaded
from noetl.engine.evolve import FORMAT, evolve
from noetl.engine.program import Program
from noetl.engine.scope import Scope
from noetl.engine.state import Frame, Run, State
from noetl.events import AnyEvent, AttemptLost, ChildStarted, StepRouted, TaskScheduled, Value, WarningRaised
from noetl.values import Handle, encode, handle_of

MAX_ITEMS: Final = 500
"""Work items in one turn; the rest waits for the next, so that a long chain of routers does not hold the loop."""

Item = tuple[str, Any, Any]


class Turn:
    def __init__(
        self,
        program: Program,
        state: State,
        load: Load,
        now: dt.datetime,
        *,
        chance: float = 0.5,
        holds_secret: Callable[[bytes], bool] = lambda encoded: False,
        node: str = "",
        format_: int = FORMAT,
        inline_max_bytes: int = 65_536,
    ) -> None:
        self.program = program
        self.state = state
        self.load = load
        self.now = now
        self.chance = chance
        """The turn's draw for jitter, in [0, 1)."""
        self.node = node
        self.format = format_
        """What its events give must be read by whoever reads this format."""
        self._inline_max_bytes = inline_max_bytes
        self._holds_secret = holds_secret
        self.events: list[AnyEvent] = []
        self.artifacts: dict[str, bytes] = {}
        """Values that must be in the artifact store before the events are appended."""
        self.needs: dict[str, Handle] = {}
        """Values that must be loaded before the work can go on."""
        self.work: deque[Item] = deque()
        self.touched: dict[tuple[int, int], None] = {}
        """Frames whose attempt is to be started."""
        self.ended: list[int] = []
        """Runs that are over."""
        self.more = False

    @property
    def ending(self) -> bool:
        """Nothing new may start: the execution was cancelled, or fails."""
        state = self.state
        return state.stopping or (state.failure is not None and not state.draining) or state.status not in ("pending", "running")

    def after(self, seconds: float) -> dt.datetime:
        return self.now + dt.timedelta(seconds=seconds)

    def may_go_on(self, run: Run) -> bool:
        """Whether a run may start tasks. The final step may, also after a failure."""
        return not self.ending or (run.id == self.state.final_run and self.state.cancel_reason is None and self.state.status == "running")

    def emit(self, event: AnyEvent) -> None:
        evolve(self.state, event)
        self.events.append(event)
        note = _NOTES.get(type(event))
        if note is not None:
            note(self, event)

    def emit_all(self, events: list[AnyEvent]) -> None:
        for event in events:
            self.emit(event)

    def warn(self, run: Run | None, step: str, message: str) -> None:
        self.emit(WarningRaised(step=step, run=run.id if run is not None else 0, message=message))

    def scope(self, *, step: str | None = None, run: Run | None = None, frame: Frame | None = None, extra: dict[str, Any] | None = None) -> Scope:
        return Scope(self.program, self.state, self.load, self.now, step=step, run=run, frame=frame, extra=extra)

    def keep(self, value: Value) -> Value:
        """The value itself when it is small, else the handle under which it will be stored."""
        if not isinstance(value, (dict, list, str)) or (isinstance(value, str) and len(value) * 4 < self._inline_max_bytes):
            return value
        encoded = encode(value)
        if len(encoded) <= self._inline_max_bytes or self._holds_secret(encoded):
            return value  # (one with a secret is sealed on its way into the log)
        handle = handle_of(value, encoded)
        self.artifacts[handle.hash] = encoded
        return handle

    def do(self, name: str, key: Any = None, detail: Any = None) -> None:
        """Put a work item at the end."""
        self.work.append((name, key, detail))

    def lacks(self, error: NotLoaded) -> None:
        self.needs[error.handle.hash] = error.handle


def _touch(turn: Turn, event: TaskScheduled | AttemptLost) -> None:
    turn.touched[event.run, event.index] = None


def _is_childs(turn: Turn, event: ChildStarted) -> None:
    turn.touched.pop((event.run, event.index), None)


def _is_over(turn: Turn, event: StepRouted) -> None:
    turn.ended.append(event.run)


_NOTES: Final[Mapping[type, Callable[[Turn, Any], None]]] = {
    TaskScheduled: _touch,
    AttemptLost: _touch,
    ChildStarted: _is_childs,
    StepRouted: _is_over,
}
"""What the actor will have to do about an event."""
