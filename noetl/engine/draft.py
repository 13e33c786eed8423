"""What one work item decides: its events are gathered here and emitted together, when all that it renders was rendered."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Literal

from noetl.dsl.lookup import whole
from noetl.dsl.playbook import Collect
from noetl.dsl.template import Constant, Renderable, compile_raw, holds
from noetl.engine.failure import Error
from noetl.engine.patches import patched, value_at
from noetl.engine.program import WriteProgram
from noetl.engine.scope import Scope
from noetl.engine.state import Frame, Run
from noetl.engine.turn import Turn
from noetl.errors import TemplateError
from noetl.events import AnyEvent, Patch, TargetsChosen, TaskScheduled, Value, WarningRaised, Written
from noetl.values import Handle


class Draft:
    """`scope` sees the draft's own writes at once. It is made when the first template is rendered: most work has none."""

    __slots__ = ("_make_scope", "_scope", "events", "turn")

    def __init__(self, turn: Turn, make_scope: Callable[[], Scope]) -> None:
        self.turn = turn
        self.events: list[AnyEvent] = []
        self._make_scope = make_scope
        self._scope: Scope | None = None

    @property
    def scope(self) -> Scope:
        if self._scope is None:
            self._scope = self._make_scope()
        return self._scope

    def emit(self) -> None:
        self.turn.emit_all(self.events)

    def render(self, value: Renderable, place: str = "") -> Any:
        """`place` is how an error calls it."""
        if isinstance(value, Constant):
            return value.value
        try:
            return value.render(self.scope, self.turn.load)
        except TemplateError as error:
            error.within(place)
            raise

    def holds(self, guard: Renderable | None, what: str) -> bool:
        """Whether a guard is true; one that can't be evaluated is false, and a warning. No guard is true."""
        if guard is None:
            return True
        try:
            return holds(self.render(guard))
        except TemplateError as error:
            self.warn(f"{what} is false, for it can't be evaluated: {error.message}")
            return False

    def warn(self, message: str) -> None:
        self.events.append(WarningRaised(step=self.scope.step_name or "", run=0, message=message))

    def writes(self, writes: Iterable[WriteProgram]) -> list[Patch]:
        """Render all values of one `set`, then let the scope see them."""
        patches = [
            Patch(
                scope=write.scope,
                key=str(self.render(write.key, write.name)),
                value=self.turn.keep(self.render(write.value, f"set.{write.name}")),
            )
            for write in writes
        ]
        for patch in patches:
            self.scope.write(patch)
        return patches

    def args(self, args: Renderable) -> dict[str, Value]:
        rendered: dict[str, Value] = self.render(args, "args")
        return {key: self.turn.keep(value) for key, value in rendered.items()}

    def number(self, value: Any, name: str, *, least: float = -math.inf) -> float:
        """The number that a raw value renders to. Raises `TemplateError` that says what it is for."""
        rendered = self.render(compile_raw(value), name)
        try:
            number = float(rendered)
        except (TypeError, ValueError):
            raise TemplateError(f"{name} must be a number, not {rendered!r}") from None
        if not math.isfinite(number) or number < least:
            raise TemplateError(f"{name} must be a number of at least {least:g}, not {rendered!r}")
        return number


class FrameDraft(Draft):
    """A draft about one frame. `ended` says that the frame is over: with an error, or without."""

    __slots__ = ("ended", "error", "frame", "run")

    def __init__(self, turn: Turn, make_scope: Callable[[], Scope], run: Run, frame: Frame) -> None:
        super().__init__(turn, make_scope)
        self.run = run
        self.frame = frame
        self.ended = False
        self.error: Error | None = None

    @property
    def call_error(self) -> Error | None:
        """Of the frame's last call."""
        return None if self.frame.outcome is None else self.frame.outcome.error

    @property
    def has_chosen(self) -> bool:
        """Whether a rule has said where the step's tokens go."""
        return self.frame.targets is not None or any(isinstance(event, TargetsChosen) for event in self.events)

    def end(self, error: Error | None = None) -> None:
        self.ended = True
        self.error = error

    def warn(self, message: str) -> None:
        self.events.append(WarningRaised(step=self.run.step, run=self.run.id, index=self.frame.index, message=message))

    def write(self, patches: Iterable[Patch]) -> None:
        writes = tuple(patches)
        if writes:
            self.events.append(Written(step=self.run.step, run=self.run.id, index=self.frame.index, writes=writes))

    def replace_result(self, value: Value) -> None:
        self.write([Patch(scope="result", key="", value=self.turn.keep(value))])

    def choose(self, targets: tuple[tuple[str, dict[str, Value]], ...]) -> None:
        self.events.append(TargetsChosen(step=self.run.step, run=self.run.id, index=self.frame.index, targets=targets))

    def schedule(self, task: str, **more: Any) -> None:
        self.events.append(TaskScheduled(step=self.run.step, run=self.run.id, index=self.frame.index, task=task, **more))

    def collect(self, action: Collect) -> None:
        """Gather a value in `ctx`. What is gathered from a `path` becomes the result as well; each iteration of a loop gathers that for itself."""
        if action.path is None:
            self._gather("ctx", action, self._whole(self.render(compile_raw(action.value), "collect.from")))
            return
        page = self._whole(self.render(compile_raw("{{ outcome.data." + action.path + " }}"), "collect.path"))
        scope: Literal["ctx", "iter"] = "ctx" if self.run.loop is None else "iter"
        self._gather(scope, action, [] if page is None else page)
        self.replace_result(value_at(self.scope[scope], action.into))

    def _gather(self, scope: Literal["ctx", "iter"], action: Collect, value: Value) -> None:
        before = value_at(self.scope[scope], action.into)
        kept = self.turn.keep(value)
        if action.mode == "replace":
            patch = Patch(scope=scope, key=action.into, value=kept)
        elif isinstance(kept, Handle) or isinstance(before, Handle):  # too large for the log, or already elsewhere: written as a whole
            patch = Patch(scope=scope, key=action.into, value=self.turn.keep(_joined(action, self._whole(before), value)))
        else:
            patch = Patch(scope=scope, key=action.into, value=value, op=_operation(action, value))
        self.scope.write(patch)
        self.write([patch])

    def _whole(self, value: Value) -> Value:
        return whole(value, self.turn.load)


def _operation(action: Collect, value: Value) -> Literal["append", "extend"]:
    """With a `path` lists are joined, whatever the mode."""
    return "extend" if action.mode == "extend" or (action.path is not None and isinstance(value, list)) else "append"


def _joined(action: Collect, before: Value, value: Value) -> Value:
    patch = Patch(scope="ctx", key="all", value=value, op=_operation(action, value))
    return patched({"all": before}, patch)["all"]
