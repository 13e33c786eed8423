"""An execution without actors, store or time that passes: what `decide` makes of a playbook when the tools are simulated.

run = Rehearsal(text, {"fetch": lambda call: {"rows": [1, 2]}})
run.play()
assert run.status == "completed"
"""

from __future__ import annotations

import datetime as dt
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from noetl.dsl.load import load
from noetl.dsl.lookup import NotLoaded, settle
from noetl.dsl.net import compile_net
from noetl.dsl.template import Renderable
from noetl.engine import messages
from noetl.engine.binding import Bound, CallNames, bound
from noetl.engine.decide import decide
from noetl.engine.evolve import FORMAT, fold
from noetl.engine.failure import unrendered
from noetl.engine.order import Order, build
from noetl.engine.program import Program
from noetl.engine.state import State
from noetl.engine.turn import Turn
from noetl.errors import TemplateError, ToolError
from noetl.events import AnyEvent, IterationCompleted, StepScheduled
from noetl.testing.clock import START
from noetl.values import Handle, decode

EXECUTION_ID: Final = 42


@dataclass(frozen=True)
class SimulatedCall:
    """What a simulated tool is given. `number` counts the calls of this task label, from 1."""

    step: str
    task: str
    kind: str
    index: int
    attempt: int
    number: int
    id: str
    args: dict[str, Any]
    fields: dict[str, Any]
    at: dt.datetime


SimulatedTool = Callable[[SimulatedCall], Any]
"""Returns the result, or raises `ToolError` (or any exception: an error of kind python)."""


def echo(call: SimulatedCall) -> Any:
    """A noop gives its `result`, everything else null."""
    return call.fields.get("result", {}) if call.kind == "noop" else None


class Rehearsal:
    """`tools` maps a task label, kind or step name to what simulates it; all others are `echo`. `choose` picks the outcome that arrives next."""

    def __init__(
        self,
        text: str,
        tools: Mapping[str, SimulatedTool] | None = None,
        payload: dict[str, Any] | None = None,
        *,
        choose: Callable[[int], int] = lambda count: 0,
        chance: float = 0.5,
        inline_max_bytes: int = 65_536,
        format_: int = FORMAT,
    ) -> None:
        loaded = load(text)
        assert loaded.playbook is not None, loaded.errors
        self.program = Program(compile_net(loaded.playbook), "net")
        self.state = State(execution_id=EXECUTION_ID)
        self._folded = State(execution_id=EXECUTION_ID)
        """The events folded, as a recovery would."""
        self.events: list[AnyEvent] = []
        self.calls: list[SimulatedCall] = []
        self.now = START
        self.loads = 0
        self._tools = dict(tools or {})
        self._payload = payload or {}
        self._choose = choose
        self._chance = chance
        self._inline_max_bytes = inline_max_bytes
        self._format = format_
        self._values: dict[str, Any] = {}
        self._stored: dict[str, bytes] = {}
        self._items: dict[tuple[int, int], Any] = {}
        self._running: dict[tuple[int, int], Order] = {}
        self._numbers: dict[str, int] = {}
        self._waiting: deque[messages.Decided] = deque()

    # -- playing -------------------------------------------------------------------------------------------------------

    def play(self, *, most: int = 100_000) -> Rehearsal:
        """From the beginning until nothing moves any more."""
        self.tell(messages.Begin(path="test", net="net", payload=self._payload))
        return self.go_on(most=most)

    def go_on(self, *, most: int = 100_000) -> Rehearsal:
        for _ in range(most):
            if not self.move():
                return self
        raise AssertionError(f"still moving after {most} moves")

    def move(self) -> bool:
        """Let one attempt that runs end, or else time pass until one is due. False when nothing moves."""
        self._start()
        if not self._running:
            return self._pass_time()
        key = sorted(self._running)[self._choose(len(self._running))]
        self.tell(self._outcome(self._running.pop(key)))
        return True

    def tell(self, message: messages.Decided) -> None:
        """One message, decided and folded; and the turns that follow from it by themselves."""
        self._waiting.append(message)
        while self._waiting:
            self._turn(self._waiting.popleft())

    def _turn(self, message: messages.Decided) -> None:
        turn = Turn(
            self.program, self.state, self._load, self.now, chance=self._chance, inline_max_bytes=self._inline_max_bytes, format_=self._format
        )
        decide(turn, message)
        assert fold(self._folded, turn.events) == self.state, "folding the events does not give the state that deciding left behind"
        self.events += turn.events
        self._stored |= turn.artifacts
        for event in turn.events:
            if isinstance(event, IterationCompleted):
                self._items[event.run, event.index] = event.result
        for run in turn.ended:
            self._running = {key: order for key, order in self._running.items() if key[0] != run}
        for handle in turn.needs.values():
            self._fetch(handle)
        if turn.needs or turn.more:
            self._waiting.append(messages.Proceed())
        if turn.ending and self.state.status == "running":
            self._end()

    # -- attempts ------------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        """Build the order of every attempt that may start now."""
        if self.state.status != "running":
            return
        for run in self.state.runs.values():
            for frame in run.frames.values():
                key = (run.id, frame.index)
                due = frame.due_at is None or frame.due_at <= self.now
                if frame.phase == "attempting" and not frame.cancelled and frame.child is None and due and key not in self._running:
                    self._running[key] = self._loaded(
                        lambda run=run, frame=frame: build(  # type: ignore[misc]  # mypy can't infer a lambda's defaults
                            self.program, self.state, run, frame, self._load, self.now, lambda kind, fields: frozenset()
                        )
                    )

    def _end(self) -> None:
        """What waits will never start; and, once it is stopping, what runs is stopped."""
        for run in list(self.state.runs.values()):
            if run.id == self.state.final_run:
                continue
            for frame in list(run.frames.values()):
                key = (run.id, frame.index)
                if frame.phase == "attempting" and not frame.cancelled and (key not in self._running or self.state.stopping):
                    self._running.pop(key, None)
                    self._waiting.append(
                        messages.Stopped(run=run.id, index=frame.index, task=frame.current_task, attempt=frame.attempt, call=frame.call)
                    )

    def _pass_time(self) -> bool:
        due = [frame.due_at for run in self.state.runs.values() for frame in run.frames.values() if frame.phase == "attempting" and frame.due_at]
        if not due or self.state.status != "running":
            return False
        self.now = max(self.now, min(due))
        return True

    def _outcome(self, order: Order) -> messages.Decided:
        task, attempt, number = order.key
        about: Any = {"run": order.call.run, "index": order.call.index, "task": task, "attempt": attempt, "call": number}
        times: Any = {"started_at": self.now, "duration_s": 0.0}
        try:
            call = self._simulated(order)
            self.calls.append(call)
            result = self._tool(call)(call)
        except ToolError as error:
            about_error = {"kind": error.kind, "message": error.message, "retryable": error.retryable, **error.extra}
            if error.retry_after_s is not None:
                about_error["retry_after_s"] = error.retry_after_s
            return messages.Failed(**about, **times, error=about_error, result=error.result)
        except TemplateError as error:
            return messages.Failed(**about, **times, error=unrendered(error))
        except Exception as error:  # noqa: BLE001  the author's code raised
            text = f"{type(error).__name__}: {error}"
            return messages.Failed(**about, **times, error={"kind": "python", "message": text, "exception_type": type(error).__name__})
        helper = {"http": {"status": result.get("status"), "headers": result.get("headers")}} if call.kind == "http" else {}
        return messages.Succeeded(**about, **times, result=result, helper=helper)

    def _simulated(self, order: Order) -> SimulatedCall:
        program = order.program
        given: Bound = self._loaded(lambda: bound(order, self._render))
        label = program.task.label
        self._numbers[label] = self._numbers.get(label, 0) + 1
        return SimulatedCall(
            step=order.call.step,
            task=label,
            kind=program.task.kind,
            index=order.call.index,
            attempt=order.call.attempt,
            number=self._numbers[label],
            id=order.call.id,
            args=self.plain(given.args),
            fields=self.plain(given.fields),
            at=self.now,
        )

    def _render(self, field: str, value: Renderable, names: CallNames) -> Any:
        try:
            return value.render(names, self._load)
        except TemplateError as error:
            error.within(field)
            raise

    def _tool(self, call: SimulatedCall) -> SimulatedTool:
        for name in (call.task, call.kind, call.step):
            if name in self._tools:
                return self._tools[name]
        return echo

    # -- values --------------------------------------------------------------------------------------------------------

    def plain(self, value: Any) -> Any:
        """The value without handles."""
        value = settle(value)
        if isinstance(value, Handle):
            return self.plain(self._fetch(value))
        if isinstance(value, dict):
            return {key: self.plain(item) for key, item in value.items()}
        return [self.plain(item) for item in value] if isinstance(value, list) else value

    def _load(self, handle: Handle) -> Any:
        if handle.hash not in self._values:
            raise NotLoaded(handle)
        return self._values[handle.hash]

    def _fetch(self, handle: Handle) -> Any:
        self.loads += 1
        loop = handle.loop_run
        if loop is None:
            value = decode(self._stored[handle.hash])
        else:
            value = [self._items.get((loop[1], index)) for index in range(handle.data.length or 0)]
        self._values[handle.hash] = value
        return value

    def _loaded(self, work: Callable[[], Any]) -> Any:
        while True:
            try:
                return work()
            except NotLoaded as error:
                self._fetch(error.handle)

    # -- looking -------------------------------------------------------------------------------------------------------

    @property
    def status(self) -> str:
        return self.state.status

    @property
    def ctx(self) -> dict[str, Any]:
        shown: dict[str, Any] = self.plain(self.state.ctx)
        return shown

    def result(self, step: str) -> Any:
        return self.plain(self.state.results.get(step))

    def runs(self, step: str) -> int:
        found = self.state.steps.get(step)
        return 0 if found is None else found.runs

    def statuses(self) -> dict[str, str]:
        return {name: step.status for name, step in self.state.steps.items()}

    def named(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def order(self) -> list[str]:
        """Steps in the order in which they were scheduled."""
        return [event.step for event in self.named(StepScheduled)]
