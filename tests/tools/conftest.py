"""What every tool's tests need: a context as the engine would make it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Protocol

import msgspec
import pytest

from noetl.clock import SystemClock
from noetl.settings import HttpSettings, Settings
from noetl.tools.tool import Call, Resources, ToolContext

LogLines = list[tuple[str, str]]


class MakeContext(Protocol):
    """`make_context(args={...}, settings=Settings(...))`: any field of a ToolContext or of its call, and the node's settings."""

    def __call__(self, **over: Any) -> ToolContext: ...


@pytest.fixture
def logged() -> LogLines:
    """The lines that the calls of this test have logged: (stream, line)."""
    return []


@pytest.fixture
async def make_context(tmp_path: Path, logged: LogLines) -> AsyncIterator[MakeContext]:
    """Makes contexts that share one node's resources (one set per settings), closed after the test."""
    opened: dict[Settings, Resources] = {}

    def make(*, settings: Settings | None = None, **over: Any) -> ToolContext:
        chosen = settings or next(iter(opened), Settings())
        if not chosen.http.allow:
            chosen = msgspec.structs.replace(chosen, http=HttpSettings(("loopback",)))
        resources = opened.setdefault(chosen, Resources(chosen, tmp_path / "state", tmp_path / "artifacts"))
        call = {"id": "1:fetch:1:0:fetch:1", "execution_id": 1, "step": "fetch", "run": 1, "index": 0, "task": "fetch", "attempt": 1}
        call |= {key: over.pop(key) for key in list(over) if key in call}
        over.setdefault("log", lambda stream, line: logged.append((stream, line)))
        return ToolContext(call=Call(**call), resources=resources, clock=SystemClock(), **over)

    yield make
    for resources in opened.values():
        await resources.close()
