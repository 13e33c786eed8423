"""What may be written while a node of an older format may have to go on with it."""

from __future__ import annotations

import pytest

from noetl.engine import journal
from noetl.engine.evolve import FORMAT
from noetl.events import ExecutionRequested, WarningRaised
from tests.engine.conftest import Boot
from tests.engine.playbooks import playbook


async def test_an_event_that_the_format_of_the_shard_does_not_have_is_not_written(boot: Boot, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever decides so has not asked for the format: a bug, that must not reach the log."""
    monkeypatch.setattr(journal, "SINCE", {WarningRaised: FORMAT, ExecutionRequested: FORMAT + 1})
    bench = await boot()
    with pytest.raises(Exception, match=f"format {FORMAT} has no ExecutionRequested"):
        await bench.start(playbook("- {step: start, tool: {kind: noop}}"))
    assert bench.node.parts.store is not None
    assert await bench.node.parts.store.executions.list_executions() == []
