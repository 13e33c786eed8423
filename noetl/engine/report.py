"""What a person or a script is told of an execution. Made from the state; nothing in it is secret."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from noetl.dsl.lookup import NotLoaded
from noetl.engine.cache import ValueCache
from noetl.engine.state import State, StepState
from noetl.errors import NoetlError
from noetl.values import Handle, Sealed
from noetl.vault.secrets import Secrets


class StepReport(Struct, frozen=True, omit_defaults=True):
    """`result` is there when it completed, `error` when it failed."""

    status: str
    runs: int
    result: Any = msgspec.UNSET
    error: Any = msgspec.UNSET


class Report(Struct, frozen=True):
    execution_id: str | None
    status: str
    error: Any
    steps: dict[str, StepReport]


async def report_of(state: State, cache: ValueCache, secrets: Secrets, inline_max_bytes: int) -> Report:
    """Results that lie elsewhere are shown whole when they are small, else as their summary."""
    steps: dict[str, StepReport] = {}
    for name, step in state.steps.items():
        result: Any = msgspec.UNSET
        if step.status == "completed" and name in state.results:
            result = secrets.hide(await _shown(state.results[name], cache, inline_max_bytes))
        error = secrets.hide(_plain(step.error)) if step.error is not None else msgspec.UNSET
        steps[name] = StepReport(step.status, step.runs, result, error)
    return Report(str(state.execution_id), state.status, secrets.hide(_plain(state.error)), steps)


async def shown_result(state: State, cache: ValueCache, secrets: Secrets, inline_max_bytes: int) -> Any:
    """The result of the whole execution."""
    return secrets.hide(await _shown(state.result, cache, inline_max_bytes))


async def _shown(value: Any, cache: ValueCache, inline_max_bytes: int) -> Any:
    if isinstance(value, Handle):
        return await _shown_handle(value, cache, inline_max_bytes)
    if isinstance(value, dict):
        return {key: await _shown(item, cache, inline_max_bytes) for key, item in value.items()}
    if isinstance(value, list):
        return [await _shown(item, cache, inline_max_bytes) for item in value]
    return value.display if isinstance(value, Sealed) else value


async def _shown_handle(handle: Handle, cache: ValueCache, inline_max_bytes: int) -> Any:
    if handle.data.size_bytes > inline_max_bytes or handle.data.select is not None:
        return handle.summary()
    try:
        return await _shown(await cache.fetch(handle), cache, inline_max_bytes)
    except (NoetlError, NotLoaded) as error:
        return {**handle.summary(), "_missing": str(error)}


def _plain(value: Any) -> Any:
    if isinstance(value, Handle):
        return value.summary()
    if isinstance(value, Sealed):
        return value.display
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def to_json(report: Any, *, indent: int | None = None) -> bytes:
    """One JSON document. Numbers that JSON does not have become null."""
    encoded = msgspec.json.encode(report, enc_hook=_plain)
    return encoded if indent is None else msgspec.json.format(encoded, indent=indent)


def duration_s(step: StepState) -> float | None:
    return None if step.started_at is None or step.ended_at is None else (step.ended_at - step.started_at).total_seconds()
