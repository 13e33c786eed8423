"""Clusters under chance: whatever the bus does to messages, and whoever is killed, an execution ends as it should, and nothing is applied twice."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable

import pytest

from noetl.engine.evolve import FORMAT
from noetl.engine.recovery import folded
from noetl.engine.state import State
from noetl.mailbox.transports.local import Fate, arrives
from noetl.testing.simulation import Chaos, Simulation, simulate
from tests.simulation.cluster import SERVER, SimulatedCluster, simulated_cluster
from tests.simulation.node import Tool
from tests.simulation.test_engine import FAN_OUT, JOIN, LOOP, RETRY, echo, once, squares, sums, third

SEEDS = int(os.environ.get("NOETL_TEST_SEEDS", "100"))
Check = Callable[[SimulatedCluster, str], Awaitable[None]]
QUIET = Chaos(late=0.0)
CHAOS = Chaos(late=0.15, crashes=3, crash=0.01, victims=lambda path: "/shards/" in path or "/steps/" in path)
"""Actors of executions, steps, attempts and flights crash, on whatever node."""


async def ended(cluster: SimulatedCluster, execution_id: int) -> State:
    async with asyncio.timeout(3_000):
        while True:
            found = await folded(cluster.store, execution_id)
            if found.state.status in ("completed", "failed", "cancelled"):
                break
            await asyncio.sleep(0.5)
    node = next(iter(cluster.nodes.values()))
    once(await node.events_in(cluster.store, execution_id))
    return found.state


def play(check: Check, name: str, seed: int, monkeypatch: pytest.MonkeyPatch, chaos: Chaos, fate: Callable[[Simulation], Fate]) -> None:
    async def scenario(simulation: Simulation) -> None:
        async with simulated_cluster(simulation, SCENARIOS[name][1], monkeypatch, fate(simulation)) as cluster:
            await check(cluster, name)

    simulate(scenario, seed, chaos)


Scenario = tuple[str, Tool, Callable[[State], None]]


def all_four(state: State) -> None:
    assert {name: state.results[name] for name in "abcd"} == {"a": 1, "b": 2, "c": 3, "d": 4}


def summed(state: State) -> None:
    assert state.results["sum"] == ["b2", "b", "c"]


def third_time(state: State) -> None:
    assert state.results["after"] == "third"


def all_squares(state: State) -> None:
    assert state.results["after"] == [n * n for n in range(12)]


SCENARIOS: dict[str, Scenario] = {
    "fan_out": (FAN_OUT, echo, all_four),
    "join": (JOIN, sums, summed),
    "retry": (RETRY, third, third_time),
    "loop": (LOOP, squares, all_squares),
}
NAMES = list(SCENARIOS)


async def completes(cluster: SimulatedCluster, name: str, execution_id: int) -> None:
    state = await ended(cluster, execution_id)
    assert state.status == "completed", state.error
    SCENARIOS[name][2](state)


async def undisturbed(cluster: SimulatedCluster, name: str) -> None:
    await completes(cluster, name, await cluster.begin("s1", SCENARIOS[name][0]))


async def a_moment(cluster: SimulatedCluster, longest_s: float = 1.0) -> None:
    await asyncio.sleep(cluster.simulation.random.random() * longest_s)


async def a_worker_is_killed(cluster: SimulatedCluster, name: str) -> None:
    execution_id = await cluster.begin("s1", SCENARIOS[name][0])
    await a_moment(cluster)
    await cluster.nodes["w1"].kill()
    await completes(cluster, name, execution_id)


async def a_server_is_killed(cluster: SimulatedCluster, name: str) -> None:
    """One that has accepted executions, and owns half of them."""
    ids = [await cluster.begin("s1", SCENARIOS[name][0]) for _ in range(4)]
    await a_moment(cluster)
    await cluster.nodes["s1"].kill()
    for execution_id in ids:
        await completes(cluster, name, execution_id)


async def one_of_each_is_killed(cluster: SimulatedCluster, name: str) -> None:
    ids = [await cluster.begin("s2", SCENARIOS[name][0]) for _ in range(3)]
    await a_moment(cluster)
    await cluster.nodes["s2"].kill()
    await a_moment(cluster, 4.0)
    await cluster.nodes["w2"].kill()
    for execution_id in ids:
        await completes(cluster, name, execution_id)


async def a_worker_is_cut_off(cluster: SimulatedCluster, name: str) -> None:
    """It reaches the store, but nobody on the bus, for a while."""
    execution_id = await cluster.begin("s1", SCENARIOS[name][0])
    await a_moment(cluster)
    cluster.bus.fate = without("w1", cluster.bus.fate)
    await asyncio.sleep(20.0)
    await completes(cluster, name, execution_id)


async def a_server_is_cut_off_from_the_store(cluster: SimulatedCluster, name: str) -> None:
    await _cut_off_from_the_store("s1", cluster, name)


async def a_worker_is_cut_off_from_the_store(cluster: SimulatedCluster, name: str) -> None:
    await _cut_off_from_the_store("w1", cluster, name)


async def _cut_off_from_the_store(node: str, cluster: SimulatedCluster, name: str) -> None:
    """It reaches all the others on the bus. It is buried, and back later."""
    ids = [await cluster.begin(at, SCENARIOS[name][0]) for at in ("s1", "s2", "s2")]
    await a_moment(cluster)
    cluster.nodes[node].wire.cut()
    await a_moment(cluster, 8.0)
    ids.append(await cluster.begin("s2", SCENARIOS[name][0]))
    await a_moment(cluster, 8.0)
    cluster.nodes[node].wire.heal()
    ids.append(await cluster.begin("s2", SCENARIOS[name][0]))
    for execution_id in ids:
        await completes(cluster, name, execution_id)


async def the_stream_is_dropped(cluster: SimulatedCluster, name: str) -> None:
    execution_id = await cluster.begin("s1", SCENARIOS[name][0])
    await a_moment(cluster)
    cluster.bus.drop_stream()
    await completes(cluster, name, execution_id)


async def a_server_joins(cluster: SimulatedCluster, name: str) -> None:
    """Shards move to it while their executions run."""
    ids = [await cluster.begin("s1", SCENARIOS[name][0]) for _ in range(4)]
    await a_moment(cluster, 0.3)
    await cluster.start("s3", SERVER)
    for execution_id in ids:
        await completes(cluster, name, execution_id)


async def an_older_server_joins(cluster: SimulatedCluster, name: str) -> None:
    """Some shards, or all, are in a newer format already: those are the others', whoever of them is lost, and in the end nobody's."""
    await cluster.start("s3", SERVER, FORMAT - 1)
    ids = [await cluster.begin(at, SCENARIOS[name][0]) for at in ("s1", "s3", "s3")]
    await a_moment(cluster)
    await cluster.nodes["s1"].kill()
    for execution_id in ids:
        await completes(cluster, name, execution_id)
    await cluster.nodes["s2"].stop()
    await asyncio.sleep(20.0)
    owned = {(row.format, None if row.owner is None else row.owner.node) for row in (await cluster.store.members.cluster()).shards}
    assert owned <= {(FORMAT, None), (FORMAT - 1, "s3")}


def without(node: str, fate: Fate) -> Fate:
    return lambda sender, receiver: () if node in (sender, receiver) else fate(sender, receiver)


def rough(simulation: Simulation) -> Fate:
    """Of twenty messages one is lost, one comes twice, and most are late and overtake each other."""

    def fate(sender: str, receiver: str) -> tuple[float, ...]:
        chance, late = simulation.random.random(), lambda: simulation.random.random() * 0.1
        if chance < 0.05:
            return ()
        return (late(), late()) if chance < 0.1 else (late(),)

    return fate


CHECKS: list[Check] = [
    undisturbed,
    a_worker_is_killed,
    a_server_is_killed,
    one_of_each_is_killed,
    a_worker_is_cut_off,
    a_server_is_cut_off_from_the_store,
    a_worker_is_cut_off_from_the_store,
    the_stream_is_dropped,
    a_server_joins,
    an_older_server_joins,
]


@pytest.mark.parametrize("check", CHECKS, ids=[check.__name__ for check in CHECKS])
def test_whatever_happens_an_execution_ends_as_it_should(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(SEEDS):
        name = NAMES[seed % len(NAMES)]
        fate = rough if seed // len(NAMES) % 2 else (lambda _: arrives)
        play(check, name, seed, monkeypatch, CHAOS if seed // len(NAMES) % 4 > 1 else QUIET, fate)
