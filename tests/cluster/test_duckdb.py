"""The database that the duckdb steps of an execution share lies on one node; the others know which."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from noetl.events import AttemptSucceeded
from tests.cluster.conftest import END_S, Cluster

pytest.importorskip("duckdb")

PROFILE = "roles: [store, cluster, tools, pools, steps]\npools:\n  default: {slots: 4, tools: [noop, duckdb, python]}\ndrain_s: 5\n"
TABLES = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: tables, path: demo/tables}
workload: {seconds: 0}
workflow:
  - step: start
    tool: {kind: duckdb, command: "create table numbers (n integer)"}
    next: fill
  - step: fill
    loop: {in: "{{ range(20) | list }}", iterator: n, spec: {mode: parallel, max_in_flight: 6}}
    tool: {kind: duckdb, command: "insert into numbers values ({{ n }})"}
    next: pause
  - step: pause
    tool: {kind: python, args: {seconds: "{{ workload.seconds }}"}, code: "import time; time.sleep(seconds)"}
    next: total
  - step: total
    tool: {kind: duckdb, query: "select sum(n) as total, count(*) as rows from numbers"}
"""
TOTAL = [{"total": 190, "rows": 20}]


async def begin(cluster: Cluster, tmp_path: Path, *, apart: bool) -> None:
    """A server and three workers: on machines of their own, or on one."""
    (tmp_path / "nodes" / "worker.yaml").write_text(PROFILE)
    cluster.start("s1")
    for name in ("w1", "w2", "w3"):
        home = tmp_path / name / "home"
        home.mkdir(parents=True)
        cluster.start(name, home=home if apart else None)
    async with cluster.client("s1") as client, asyncio.timeout(END_S):
        while sum(entry.alive for entry in (await client.nodes()).entries) < 4:
            await asyncio.sleep(0.05)


async def keeper_of(cluster: Cluster, id_: int) -> str:
    """Who has the database, once all of `fill` is done."""
    nodes: set[str] = set()

    def filled(events: list[object]) -> bool:
        done = [event for event in events if isinstance(event, AttemptSucceeded) and event.directory]
        nodes.update(event.node for event in done)
        return len(done) >= 21

    await cluster.until(id_, filled)
    assert len(nodes) == 1
    return nodes.pop()


async def test_all_duckdb_steps_of_an_execution_run_where_its_database_is(cluster: Cluster, tmp_path: Path) -> None:
    await begin(cluster, tmp_path, apart=True)
    await cluster.register(TABLES)
    ids = [await cluster.execute("demo/tables") for _ in range(9)]
    for id_ in ids:
        assert (await cluster.ended(id_, "s1")).steps["total"].result == TOTAL
    assert len({await keeper_of(cluster, id_) for id_ in ids}) > 1, "executions are spread"
    await cluster.check()


async def test_a_database_whose_node_is_lost_is_gone_and_the_step_says_so(cluster: Cluster, tmp_path: Path) -> None:
    await begin(cluster, tmp_path, apart=True)
    await cluster.register(TABLES)
    id_ = await cluster.execute("demo/tables", seconds=2)
    keeper = await keeper_of(cluster, id_)
    cluster.kill(keeper)
    report = await cluster.ended(id_, "s1")
    assert report.status == "failed"
    error = report.steps["total"].error
    assert error is not None
    assert (error["kind"], error["message"]) == ("not_found", f"the database :memory: of this execution lies on node {keeper}, which is gone")


async def test_a_node_that_is_started_again_still_has_its_databases(cluster: Cluster, tmp_path: Path) -> None:
    await begin(cluster, tmp_path, apart=True)
    await cluster.register(TABLES)
    id_ = await cluster.execute("demo/tables", seconds=2)
    keeper = await keeper_of(cluster, id_)
    cluster.kill(keeper)
    cluster.start(keeper, home=tmp_path / keeper / "home")
    assert (await cluster.ended(id_, "s1")).steps["total"].result == TOTAL
    await cluster.check()


async def test_nodes_that_share_a_directory_go_on_with_the_databases_of_one_that_is_lost(cluster: Cluster, tmp_path: Path) -> None:
    await begin(cluster, tmp_path, apart=False)
    await cluster.register(TABLES)
    id_ = await cluster.execute("demo/tables", seconds=2)
    cluster.kill(await keeper_of(cluster, id_))
    assert (await cluster.ended(id_, "s1")).steps["total"].result == TOTAL
    await cluster.check()
