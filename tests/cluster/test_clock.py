"""The wall clock of one node of a cluster jumps by an hour, ahead and back, while executions run. Leases are by the store's clock: nobody notices."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from noetl.events import AttemptLost, AttemptSucceeded, IterationCompleted, TaskScheduled
from noetl.store.members import shard_of
from tests.cluster.conftest import Cluster
from tests.cluster.test_faults import FAN_OUT, all_right, begun
from tests.cluster.test_upgrade import until_owned_by

HOUR = 3_600
TWICE = "{policy: {rules: [{when: '{{ _attempt < 2 }}', then: {do: retry, attempts: 2, delay: 1.0}}, {else: {then: {do: continue}}}]}}"
WITH_TIMERS = FAN_OUT.replace("demo/fan", "demo/timers").replace('result = n * n"}', f'result = n * n", spec: {TWICE}}}')
"""As the fan-out, but each iteration waits a second and runs once more."""


class Clocks:
    """What the nodes' wall clocks are off by."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def environment(self, node: str) -> dict[str, str]:
        return {"NOETL_TESTING_CLOCK_OFFSET_FILE": str(self._folder / f"{node}.offset")}

    def set(self, node: str, seconds: int) -> None:
        """At once, not half of it: the node looks whenever it likes."""
        written = self._folder / f"{node}.new"
        written.write_text(str(seconds))
        written.rename(self._folder / f"{node}.offset")


@pytest.fixture
async def clocks(cluster: Cluster, tmp_path: Path) -> Clocks:
    """Of the four nodes that run."""
    made = Clocks(tmp_path)
    for name in ("s1", "s2", "w1", "w2"):
        cluster.start(name, environment=made.environment(name))
    await until_owned_by(cluster, "s1", "s2")
    return made


async def begun_at(cluster: Cluster, server: str, number: int) -> list[int]:
    """So many executions that this server owns; others too."""
    own = {row.shard.id for row in (await cluster.store.members.cluster()).shards if row.owner is not None and row.owner.node == server}
    ids: list[int] = []
    while sum(shard_of(id_) in own for id_ in ids) < number:
        ids.append(await cluster.execute("demo/timers", items=6))
    return ids


async def lives(cluster: Cluster) -> dict[str, int]:
    return {member.node.id: member.incarnation.number for member in (await cluster.store.members.cluster()).members}


async def times(cluster: Cluster) -> list[float]:
    """Of all that was logged, in seconds from now on. In no log they go back."""
    found: list[float] = []
    for id_ in cluster.ids:
        rows = await cluster.store.log.read(id_)
        assert all(first.at <= second.at for first, second in pairwise(rows))
        found += [row.at.timestamp() - time.time() for row in rows]
    return found


def between_attempts(events: list[Any]) -> list[float]:
    """How long each iteration has waited, by the clocks of those that ran it."""
    ran = {(event.index, event.attempt): event for event in events if isinstance(event, AttemptSucceeded) and event.task == "start"}
    firsts = [(ran[index, 1], ran[index, 2]) for index, attempt in ran if attempt == 1]
    return [(second.started_at - first.started_at).total_seconds() - first.duration_s for first, second in firsts]


def many_are_done(events: list[Any]) -> bool:
    return sum(isinstance(event, IterationCompleted) for event in events) >= 16


def waits(events: list[Any]) -> bool:
    return any(isinstance(event, TaskScheduled) and event.attempt == 2 for event in events)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("node", ["s1", "w1"], ids=["a server", "a worker"])
async def test_a_clock_that_jumps_by_an_hour_ahead_and_back_disturbs_nobody(cluster: Cluster, clocks: Clocks, node: str) -> None:
    before, began = await lives(cluster), time.monotonic()
    ids = await begun(cluster, "s1", 4)
    clocks.set(node, HOUR)
    await cluster.until(ids[1], many_are_done)
    ids += await begun(cluster, "s1", 2)
    clocks.set(node, -HOUR)
    await cluster.until(ids[-1], many_are_done)
    clocks.set(node, 0)
    ids += await begun(cluster, "s2", 1)
    await all_right(cluster)
    assert time.monotonic() - began < 60
    assert await lives(cluster) == before, "no lease was lost"
    history = await cluster.check()
    assert not any(isinstance(event, AttemptLost) for events in history.events.values() for event in events)
    ran = [event.started_at for events in history.events.values() for event in events if isinstance(event, AttemptSucceeded) and event.started_at]
    told = await times(cluster) if node == "s1" else [at.timestamp() - time.time() for at in ran]
    assert any(seconds > HOUR / 2 for seconds in told), "its clock was ahead"


@pytest.mark.timeout(120)
@pytest.mark.parametrize("jumps", [(HOUR, 0), (-HOUR, 0), (HOUR, -HOUR)], ids=["ahead", "back", "ahead and far back"])
async def test_timers_go_off_when_they_should_on_a_server_whose_clock_jumps(cluster: Cluster, clocks: Clocks, jumps: tuple[int, int]) -> None:
    await cluster.register(WITH_TIMERS)
    ids = await begun_at(cluster, "s1", 2)
    began = time.monotonic()
    await cluster.until_any(waits)
    clocks.set("s1", jumps[0])
    ids += await begun_at(cluster, "s1", 1)
    await cluster.until(ids[-1], waits)
    clocks.set("s1", jumps[1])
    for id_ in ids:
        assert (await cluster.ended(id_, "s2")).result == 55
    assert time.monotonic() - began < 40
    history = await cluster.check()
    waited = [seconds for events in history.events.values() for seconds in between_attempts(events)]
    assert len(waited) == 6 * len(ids)
    assert all(0.9 < seconds < 10 for seconds in waited)
    assert any(abs(seconds) > HOUR / 2 for seconds in await times(cluster)), "its clock has jumped"
