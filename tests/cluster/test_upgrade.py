"""Nodes of two versions in one cluster: what happens while it is brought to a newer one, and when an older node comes back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from noetl import __version__
from noetl.engine.evolve import FORMAT
from noetl.store.members import SHARDS, ShardRow, shard_of
from tests.cluster import otherversion
from tests.cluster.conftest import END_S, Cluster
from tests.cluster.test_faults import all_right, begun, owners, until_owned_by
from tests.servers import Server

OLDER = FORMAT - 1
OLDER_PROGRAM = (str(Path(otherversion.__file__)), str(OLDER), "0.0.9")
SNAPSHOTS = {"NOETL_STORE_SNAPSHOT_EVERY": "20"}
"""Each version meets those of the other."""


def older(cluster: Cluster, name: str) -> Server:
    return cluster.start(name, program=OLDER_PROGRAM, environment=SNAPSHOTS)


def newer(cluster: Cluster, name: str) -> Server:
    return cluster.start(name, environment=SNAPSHOTS)


async def shards(cluster: Cluster) -> tuple[ShardRow, ...]:
    return (await cluster.store.members.cluster()).shards


async def formats(cluster: Cluster) -> set[int]:
    return {row.format for row in await shards(cluster)}


async def begun_at(cluster: Cluster, *names: str) -> None:
    """Executions that are in their midst, some at each of these."""
    ids = await begun(cluster, names[0], 3)
    of = {row.shard.id: row.owner and row.owner.node for row in await shards(cluster)}
    while {of[shard_of(id_)] for id_ in ids} != set(names):
        ids.append(await cluster.execute("demo/fan", names[0]))


async def until_raised(cluster: Cluster) -> None:
    async with asyncio.timeout(END_S):
        while await formats(cluster) != {FORMAT}:
            await asyncio.sleep(0.05)


async def until_warned(cluster: Cluster, name: str) -> str:
    log = cluster.home / "logs" / f"{name}.log"
    async with asyncio.timeout(END_S):
        while not log.exists() or "owns no shard" not in log.read_text():
            await asyncio.sleep(0.05)
    return log.read_text()


@pytest.mark.timeout(120)
async def test_a_cluster_is_brought_to_a_newer_version_node_by_node_while_executions_run(cluster: Cluster) -> None:
    older(cluster, "s1")
    older(cluster, "w1")
    await begun(cluster, "s1", 2)
    newer(cluster, "w2")
    newer(cluster, "s2")
    await until_owned_by(cluster, "s1", "s2")
    await begun_at(cluster, "s2", "s1")
    await all_right(cluster)
    assert set((await cluster.check()).ran_on()) == {"w1", "w2"}, "workers of both versions serve servers of both"
    bodies = [row.body for id_ in cluster.ids for row in await cluster.store.log.read(id_)]
    assert {otherversion.FIELD.encode() in body for body in bodies} == {True, False}, "events of both versions were read"
    await begun(cluster, "s2", 3)
    assert await asyncio.to_thread(cluster.nodes["w1"].stop) == 0
    await begun(cluster, "s1", 3)
    assert await formats(cluster) == {OLDER}, "a server that does not read the newer one may have to take over"
    assert await asyncio.to_thread(cluster.nodes["s1"].stop) == 0
    await until_raised(cluster)
    await begun(cluster, "s2", 1)
    await all_right(cluster, "s2")


@pytest.mark.timeout(120)
async def test_a_newer_server_that_is_killed_while_an_older_one_lives_has_its_executions_gone_on_with_by_that(cluster: Cluster) -> None:
    older(cluster, "s1")
    newer(cluster, "s2")
    older(cluster, "w1")
    await until_owned_by(cluster, "s1", "s2")
    await begun_at(cluster, "s2", "s1")
    cluster.kill("s2")
    await all_right(cluster, "s1")
    assert await formats(cluster) == {OLDER}


@pytest.mark.timeout(120)
async def test_an_older_server_that_comes_back_owns_nothing_and_says_why(cluster: Cluster) -> None:
    newer(cluster, "s2")
    newer(cluster, "w1")
    await until_raised(cluster)
    await begun(cluster, "s2", 3)
    older(cluster, "s1")
    warning = await until_warned(cluster, "s1")
    assert f"it is NoETL 0.0.9, which reads logs up to format {OLDER}, and all shards are in format {FORMAT} or newer" in warning
    assert await owners(cluster) == {"s2": SHARDS}
    await cluster.execute("demo/fan", "s1")
    await all_right(cluster, "s2")
    cluster.kill("s2")
    left = await cluster.execute("demo/fan", "s1")
    await until_owned_by(cluster, None)
    await asyncio.sleep(1.0)
    assert await owners(cluster) == {None: SHARDS}, "nothing is better than somebody who would misread it"
    newer(cluster, "s2")
    assert (await cluster.ended(left, "s2")).status == "completed"
    async with cluster.client("s1") as client:
        said = {entry.node: (entry.version, entry.format) for entry in (await client.nodes()).entries}
    assert said == {"s1": ("0.0.9", OLDER), "s2": (__version__, FORMAT), "w1": (__version__, FORMAT)}
    await all_right(cluster, "s2")
    assert await formats(cluster) == {FORMAT}
