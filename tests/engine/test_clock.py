"""The wall clock of a node jumps while executions wait: what they wait for comes when it should, and their time never goes back."""

from __future__ import annotations

import asyncio
import datetime as dt
from itertools import pairwise
from typing import Any

import pytest

from noetl.clock import SystemClock
from noetl.engine.evolve import FORMAT
from noetl.engine.recovery import folded
from noetl.engine.snapshot import pack
from noetl.events import TaskScheduled
from noetl.settings import EngineSettings, Settings
from noetl.store.log import Snapshot
from tests.engine.conftest import Bench, Boot
from tests.engine.playbooks import playbook

HOUR = 3_600.0


class Jumping(SystemClock):
    """A wall clock that is off by `offset_s`."""

    offset_s = 0.0

    def now(self) -> dt.datetime:
        return super().now() + dt.timedelta(seconds=self.offset_s)


AGAIN = "[{when: '{{ _attempt < 2 }}', then: {do: retry, attempts: 2, delay: %s, max_delay: 9999}}, {else: {then: {do: continue}}}]"


def twice(delay: float) -> str:
    """Runs once, and `delay` later once more."""
    return playbook(f"""
        - {{step: start, tool: {{kind: noop, result: 1, spec: {{policy: {{rules: {AGAIN % delay}}}}}}}}}
    """)


async def times(bench: Bench, id_: Any) -> list[dt.datetime]:
    assert bench.node.parts.store is not None
    return [row.at for row in await bench.node.parts.store.log.read(id_)]


def never_back(found: list[dt.datetime]) -> bool:
    return all(first <= second for first, second in pairwise(found))


@pytest.mark.parametrize("jump_s", [-HOUR, HOUR], ids=["back", "ahead"])
async def test_a_retry_waits_as_long_as_it_was_told_when_the_clock_jumps_meanwhile(boot: Boot, jump_s: float) -> None:
    clock = Jumping()
    bench = await boot(clock=clock)
    id_ = await bench.start(twice(1.0))
    await bench.until_event(TaskScheduled, attempt=2)
    began = clock.monotonic()
    clock.offset_s = jump_s
    async with asyncio.timeout(10):
        state = await bench.client.ended(id_)
    assert state.status == "completed"
    assert 0.9 < clock.monotonic() - began < 5
    assert never_back(await times(bench, id_))


async def test_a_timeout_and_a_retry_that_begin_after_a_jump_back_are_not_late(boot: Boot) -> None:
    """The log is an hour ahead of the clock by then."""
    clock = Jumping()
    clock.offset_s = HOUR
    bench = await boot(clock=clock)
    waiting = await bench.start(
        playbook("""
            - {step: start, tool: {kind: python, code: "import time; time.sleep(0.3)"}, next: slow}
            - {step: slow, spec: {timeout: 0.5}, tool: {kind: python, code: "import time; time.sleep(1000)"}}
        """)
    )
    retried = await bench.start(twice(0.2), name="twice")
    await bench.until_event(TaskScheduled, step="start")
    clock.offset_s = 0.0
    async with asyncio.timeout(10):
        assert (await bench.client.ended(retried)).status == "completed"
        state = await bench.client.ended(waiting)
    assert (state.status, state.steps["slow"].status) == ("failed", "failed")
    assert never_back(await times(bench, waiting))


async def test_an_execution_that_left_memory_after_a_jump_back_is_woken_in_time(boot: Boot) -> None:
    clock = Jumping()
    bench = await boot(clock=clock, settings=Settings(engine=EngineSettings(inbox_poll_s=0.05, passivate_after_s=0.5)))
    clock.offset_s = HOUR
    id_ = await bench.start(twice(1.0))
    await bench.until_event(TaskScheduled, attempt=1)
    clock.offset_s = 0.0
    began = clock.monotonic()
    async with asyncio.timeout(10):
        assert (await bench.client.ended(id_)).status == "completed"
    assert clock.monotonic() - began < 5
    assert never_back(await times(bench, id_))


async def test_a_clock_that_jumps_ahead_lets_nothing_come_early(boot: Boot) -> None:
    """Another timer of the same execution goes off in the meantime, and looks who is due."""
    clock = Jumping()
    bench = await boot(clock=clock)
    (short, long), began = (f"{{policy: {{rules: {AGAIN % delay}}}}}" for delay in (0.3, 1.5)), clock.monotonic()
    id_ = await bench.start(
        playbook(f"""
            - {{step: start, tool: {{kind: noop}}, next: [{{step: short}}, {{step: long}}]}}
            - {{step: short, tool: {{kind: noop, spec: {short}}}}}
            - {{step: long, tool: {{kind: noop, spec: {long}}}}}
        """)
    )
    await bench.until_event(TaskScheduled, step="long", attempt=2)
    clock.offset_s = HOUR
    async with asyncio.timeout(10):
        assert (await bench.client.ended(id_)).status == "completed"
    assert 1.5 <= clock.monotonic() - began < 6


async def test_a_snapshot_says_when_its_append_was_made(boot: Boot) -> None:
    """Nothing may have been appended behind it: time must not go back there."""
    bench = await boot()
    state = await bench.run(playbook("- {step: start, tool: {kind: noop}}"))
    store = bench.node.parts.store
    assert store is not None
    rows = await store.log.read(state.execution_id)
    kept = Snapshot(len(rows), rows[-1].first_seq + len(rows[-1].events()), rows[-1].hash, str(FORMAT), pack(state))
    await store.snapshots.put_snapshot(state.execution_id, kept)
    found = await folded(store, state.execution_id)
    assert (found.at, found.version, found.next_seq, found.state) == (rows[-1].at, kept.version, kept.next_seq, state)
