"""One execution that can't go on never takes others along, and never crashes again and again."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import msgspec
import pytest

from noetl.engine.recovery import folded
from noetl.engine.supervisor import INTENSITY
from noetl.errors import CallError, LogCorrupt
from noetl.events import AttemptFailed, ChildStarted, TaskScheduled
from noetl.probe import ChildRestarting
from noetl.settings import Settings, StoreSettings
from noetl.store.log import InboxRow
from tests.engine.conftest import Boot
from tests.engine.playbooks import playbook

SLEEPER = playbook('- {step: start, tool: {kind: python, code: "import time; time.sleep(1000)"}}')


async def test_a_damaged_log_is_quarantined_and_its_siblings_in_the_same_process_go_on(boot: Boot) -> None:
    dead, bench = await boot(), await boot()
    good = await bench.start(SLEEPER, name="good")
    bad = await dead.start(SLEEPER, name="bad")
    await dead.until_event(TaskScheduled, step="start")
    with closing(sqlite3.connect(bench.folder / "home" / "noetl.db")) as connection:
        connection.execute("update events set hash = body where execution_id = ?", (bad,))
        connection.commit()
    await bench.left.take_up(bad, lambda owner: False)
    with pytest.raises(LogCorrupt, match="its hash does not match"):
        await bench.client.ended(bad)
    assert not [heard for heard in bench.heard if isinstance(heard, ChildRestarting)], "reading it again would not help"
    store = bench.node.parts.store
    assert store is not None
    while (row := await store.executions.execution(bad)) is None or row.status != "failed":
        await asyncio.sleep(0)
    assert row.error == "quarantined: version 1 does not hold what was written: its hash does not match"
    await bench.client.cancel(good, "")
    assert (await bench.client.ended(good)).status == "cancelled"


@pytest.mark.parametrize(("kind", "body"), [("cancel", b"\xff"), ("cancel", b"\xc1"), ("child_ended", b"\x80"), ("teleport", b"\x80")])
async def test_a_message_that_can_not_be_read_quarantines_its_execution_and_wakes_it_no_more(boot: Boot, kind: Any, body: bytes) -> None:
    bench = await boot()
    good, bad = await bench.start(SLEEPER, name="good"), await bench.start(SLEEPER, name="bad")
    store = bench.node.parts.store
    assert store is not None
    await store.inbox.put(InboxRow(bad, kind, body))
    with pytest.raises(CallError, match=f"is quarantined: it crashed more than {INTENSITY} times"):
        await bench.client.ended(bad)
    while (row := await store.executions.execution(bad)) is None or row.status != "failed":
        await asyncio.sleep(0)
    assert str(row.error).startswith("quarantined: it crashed more than")
    assert await store.inbox.waiting((row.shard,)) == []
    await bench.client.cancel(good, "")
    assert (await bench.client.ended(good)).status == "cancelled"


WAITING = playbook("""
    - step: start
      tool: {kind: python, code: 1/0, spec: {policy: {rules: [{else: {then: {do: retry, attempts: 2, delay: 5000, max_delay: 9999}}}]}}}
""")


async def test_a_child_in_quarantine_is_an_error_of_the_call_that_waits_for_it(boot: Boot) -> None:
    bench = await boot()
    (bench.folder / "child.yaml").write_text(WAITING)
    parent = await bench.start(playbook("- {step: start, tool: {kind: playbook, path: child}}"))
    child = (await bench.until_event(ChildStarted)).child
    await bench.until_event(AttemptFailed)
    store = bench.node.parts.store
    assert store is not None
    await store.inbox.put(InboxRow(child, "cancel", b"\xff"))
    state = await bench.client.ended(parent)
    assert state.error is not None
    assert (state.status, state.error["kind"], state.error["step"]) == ("failed", "playbook", "start")
    assert f"execution {child} failed: quarantined: it crashed more than" in state.error["message"]


@pytest.mark.parametrize("damage", [lambda body: b"\xc1", lambda body: body.replace(b"completed", b"cancelled")], ids=["cut", "changed"])
async def test_a_snapshot_that_is_damaged_is_left_out(boot: Boot, damage: Callable[[bytes], bytes]) -> None:
    bench = await boot(settings=Settings(store=StoreSettings(snapshot_every=2)))
    state = await bench.run(playbook("- {step: start, tool: {kind: noop, result: 1}, next: b}\n- {step: b, tool: {kind: noop, result: 2}}"))
    store = bench.node.parts.store
    assert store is not None
    snapshot = await store.snapshots.snapshot(state.execution_id)
    assert snapshot is not None
    assert damage(snapshot.body) != snapshot.body
    await store.snapshots.put_snapshot(state.execution_id, msgspec.structs.replace(snapshot, body=damage(snapshot.body)))
    assert (await folded(store, state.execution_id)).state == state
