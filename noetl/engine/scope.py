"""The names that a template may read, resolved when they are asked for.

The order is docs/reference/language.md 2.1: pipeline locals and task labels, the loop's variables, args, the engine's names, step results, keys of
`workload`, keys of `spec`.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

from noetl.dsl.check.names import ENGINE_NAMES
from noetl.dsl.lookup import MISSING, Load, ResultList, Results, View, see
from noetl.dsl.sandbox import Function
from noetl.dsl.template import Renderable
from noetl.engine.envelope import Envelope, LabelledResult
from noetl.engine.evolve import failed_result
from noetl.engine.keychain import ClosedKeychain, closed_token
from noetl.engine.patches import patched
from noetl.engine.program import Program
from noetl.engine.state import Frame, Outcome, Run, State
from noetl.events import Patch

Names = Mapping[str, Any]


class Scope(Mapping[str, Any]):
    """One moment's names. `extra` are engine names that only hold at this moment; `writes` are those that are decided but not applied."""

    __slots__ = (
        "_ctx",
        "_extra",
        "_frame",
        "_iter",
        "_load",
        "_local",
        "_now",
        "_outer",
        "_program",
        "_run",
        "_state",
        "_task_args",
        "step_name",
        "workload",
    )

    def __init__(
        self,
        program: Program,
        state: State,
        load: Load,
        now: dt.datetime,
        *,
        step: str | None = None,
        run: Run | None = None,
        frame: Frame | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        self._program = program
        self._state = state
        self._load = load
        self._now = now
        self._run = run
        self._frame = frame
        self._extra: dict[str, Any] = extra or {}
        self._ctx = state.ctx
        self._iter: Mapping[str, Any] = {} if frame is None else frame.iter
        self._local: Mapping[str, Any] = {} if frame is None else frame.local
        self.step_name = run.step if run is not None else step
        self.workload: Mapping[str, Any] = state.workload
        self._task_args: Mapping[str, Renderable] = {}
        self._outer: Scope | None = None

    def write(self, patch: Patch) -> None:
        """Let what is read from now on see a write that will be applied later."""
        if patch.scope == "ctx":
            self._ctx = patched(self._ctx, patch)
        elif patch.scope == "iter":
            self._iter = patched(self._iter, patch)
        elif patch.scope == "step":
            self._local = patched(self._local, patch)

    def entering(self, args: dict[str, Any], prev: Any) -> Scope:
        """With the names at the start of a step that has no run yet."""
        seen = see(prev, self._load)
        self.bind(args=args, _prev=seen, result=seen)
        self._local = args
        return self

    def with_task_args(self, args: Mapping[str, Renderable], outer: Scope) -> None:
        """Show the inputs of the task whose call is judged. They are rendered over `outer`, when they are read."""
        self._task_args, self._outer = args, outer

    def envelope(self, outcome: Outcome) -> Envelope:
        return Envelope(outcome, self._load)

    def bind(self, **extra: Any) -> None:
        self._extra = {**self._extra, **extra}

    @contextlib.contextmanager
    def also(self, **extra: Any) -> Iterator[None]:
        """Bind further names for a while."""
        before = self._extra
        self.bind(**extra)
        try:
            yield
        finally:
            self._extra = before

    def get(self, key: str, default: Any = None) -> Any:
        for level in self._LEVELS:
            found = level(self, key)
            if found is not MISSING:
                return found
            if level is Scope._in_engine and key in ENGINE_NAMES:  # not now: nobody else's either
                break
        return default

    def __getitem__(self, key: str) -> Any:
        found = self.get(key, MISSING)
        if found is MISSING:
            raise KeyError(key)
        return found

    def __iter__(self) -> Any:
        raise TypeError("the names of a scope can't be listed: they are resolved on demand")

    def __len__(self) -> int:
        raise TypeError("the names of a scope can't be counted: they are resolved on demand")

    # -- the levels, in order ------------------------------------------------------------------------------------------

    def _in_locals(self, key: str) -> Any:
        if key in self._local:
            return self._local[key]
        frame = self._frame
        is_routing = self._run is not None and self._run.phase == "routing"
        if frame is None or key not in frame.labels or (key == self.step_name and is_routing):
            return MISSING
        outcome = frame.outcome
        failed = frame.phase == "failed" or (frame.phase == "settling" and not is_routing)
        if failed and frame.task == key and outcome is not None and outcome.error is not None:
            return see(failed_result(outcome.error, outcome.result), self._load)
        return see(frame.labels[key], self._load)

    def _in_loop(self, key: str) -> Any:
        if self._run is None or self._run.loop is None or self._frame is None or self._frame.index < 0:
            return MISSING
        loop = self._program.step(self._run.step).step.loop
        if loop is not None and key == loop.iterator:
            return self._item()
        if key == "loop":
            index, total = self._frame.index, self._run.loop.total
            return {"index": index, "first": index == 0, "last": index == total - 1, "length": total, "item": self._item()}
        return self._frame.index if key == "loop_index" else MISSING

    def _in_args(self, key: str) -> Any:
        if key in self._task_args:
            return self._task_args[key].render(self if self._outer is None else self._outer, self._load)
        return self._run.args.get(key, MISSING) if self._run is not None else MISSING

    def _in_engine(self, key: str) -> Any:
        if key in self._extra:
            return self._extra[key]
        method = self._ENGINE.get(key)
        return MISSING if method is None else method(self)

    def _in_results(self, key: str) -> Any:
        return self.step_result(key) if key in self._state.results else MISSING

    def _in_workload(self, key: str) -> Any:
        return self.workload.get(key, MISSING)

    def _in_spec(self, key: str) -> Any:
        return self._state.spec.get(key, MISSING)

    # -- the engine's names --------------------------------------------------------------------------------------------

    def step_result(self, name: str) -> Any:
        """How a step's result is seen: with its tasks' results beside it, where it has several."""
        value = self._state.results[name]
        labels = self._state.labels.get(name)
        seen = see(value, self._load)
        if labels is None or isinstance(value, dict):
            return seen
        if isinstance(seen, View):
            return LabelledResult(seen, labels, self._load)
        return ResultList(value, self._load, labels) if isinstance(seen, (list, ResultList)) else seen

    def _item(self) -> Any:
        run, frame = self._run, self._frame
        if run is None or run.loop is None or frame is None:
            return MISSING
        items = run.loop.items
        return (items if isinstance(items, list) else self._load(items))[frame.index]

    def _workload(self) -> Any:
        return self.workload

    def _ctx_view(self) -> Any:
        return self._ctx

    def _iter_view(self) -> Any:
        loop = {} if self._run is None or self._run.loop is None else self._loop_entries()
        return {"index": self._frame.index if self._frame is not None else 0, "parent": None, **loop, **self._iter}

    def _loop_entries(self) -> dict[str, Any]:
        assert self._run is not None
        loop = self._program.step(self._run.step).step.loop
        return {} if loop is None or self._frame is None or self._frame.index < 0 else {loop.iterator: self._item()}

    def _step_view(self) -> Any:
        return self._local

    def _args_view(self) -> Any:
        given = {} if self._run is None else self._run.args
        return {**given, **{key: self._in_args(key) for key in self._task_args}}

    def _input_view(self) -> Any:
        return {**self._state.payload, **self._args_view()}

    def _prev(self) -> Any:
        if self._frame is not None:
            return see(self._frame.prev, self._load)
        return see(self._run.prev, self._load) if self._run is not None else None

    def _task(self) -> Any:
        return self._frame.task if self._frame is not None else MISSING

    def _attempt(self) -> Any:
        return self._frame.attempt if self._frame is not None else MISSING

    def _outcome(self) -> Any:
        outcome = self._frame.outcome if self._frame is not None else None
        return MISSING if outcome is None else Envelope(outcome, self._load)

    def _result(self) -> Any:
        outcome = self._frame.outcome if self._frame is not None else None
        return self._prev() if outcome is None else see(outcome.result, self._load)

    def _response(self) -> Any:
        outcome = self._frame.outcome if self._frame is not None else None
        return see(outcome.result, self._load) if outcome is not None and outcome.status == "ok" else MISSING

    def _error(self) -> Any:
        outcome = self._frame.outcome if self._frame is not None else None
        return outcome.error if outcome is not None and outcome.error is not None else MISSING

    def _execution_id(self) -> Any:
        return str(self._state.execution_id)

    def _job(self) -> Any:
        text = str(self._state.execution_id)
        return {"uuid": str(uuid.uuid5(uuid.NAMESPACE_OID, text)), "execution_id": text}

    def _payload(self) -> Any:
        return self._state.payload

    def _env(self) -> Any:
        return self._state.env

    def _now_function(self) -> Any:
        return Function("now", self._now.isoformat)

    def _steps(self) -> Any:
        return Results(self._state.results, self._load)

    def _keychain(self) -> Any:
        return ClosedKeychain(self._load)

    def _token_function(self) -> Any:
        return Function("token", closed_token)

    def _spec_view(self) -> Any:
        return self._state.spec

    def context(self) -> dict[str, Any]:
        """All that the author's code may see as `context`. Raw values: handles stay handles."""
        state = self._state
        return {
            **state.spec,
            **state.workload,
            **state.results,
            "execution_id": str(state.execution_id),
            "workload": state.workload,
            "ctx": self._ctx,
            "vars": self._ctx,
            "payload": state.payload,
            "args": self._args_view(),
        }

    _ENGINE: ClassVar[Mapping[str, Callable[[Scope], Any]]] = {
        "_attempt": _attempt,
        "_prev": _prev,
        "_task": _task,
        "args": _args_view,
        "ctx": _ctx_view,
        "env": _env,
        "error": _error,
        "execution_id": _execution_id,
        "input": _input_view,
        "iter": _iter_view,
        "job": _job,
        "keychain": _keychain,
        "now": _now_function,
        "outcome": _outcome,
        "output": _outcome,
        "payload": _payload,
        "response": _response,
        "result": _result,
        "spec": _spec_view,
        "step": _step_view,
        "steps": _steps,
        "token": _token_function,
        "vars": _ctx_view,
        "workload": _workload,
    }
    _LEVELS: ClassVar[tuple[Callable[[Scope, str], Any], ...]] = (_in_locals, _in_loop, _in_args, _in_engine, _in_results, _in_workload, _in_spec)
    """In the order in which names are looked up."""
