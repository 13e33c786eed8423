"""A cluster for a long time: kills without end, pauses, full load."""

from __future__ import annotations

import asyncio
import itertools
import os
import time

import asyncpg
import pytest

from noetl.engine.client import ExecuteRequest
from tests.cluster.conftest import Cluster

KILLS = int(os.environ.get("NOETL_SOAK_KILLS", "30"))
PAUSE_S = float(os.environ.get("NOETL_SOAK_PAUSE_S", "30"))
LOAD_S = float(os.environ.get("NOETL_SOAK_LOAD_S", "1200"))
ITEMS = int(os.environ.get("NOETL_SOAK_ITEMS", "10000"))

EFFECTS = f"""
apiVersion: noetl.io/v2
kind: Playbook
metadata: {{name: effects, path: demo/effects}}
workload: {{items: {ITEMS}}}
workflow:
  - step: start
    loop: {{in: "{{{{ range(workload.items) | list }}}}", iterator: n, spec: {{mode: parallel, max_in_flight: 64}}}}
    tool:
      kind: postgres
      auth: effects
      command: "insert into effects (execution_id, item) values ({{{{ execution_id }}}}, {{{{ n }}}}) on conflict (execution_id, item) do update set tries = effects.tries + 1"
"""
SLOW = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: slow, path: demo/slow}
workflow:
  - step: start
    loop: {in: "{{ range(60) | list }}", iterator: n, spec: {mode: parallel, max_in_flight: 8}}
    tool: {kind: python, args: {n: "{{ n }}"}, code: "import time; time.sleep(0.1); result = n"}
"""
CHAIN = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: chain, path: demo/chain}
workflow:
  - {step: a, tool: {kind: noop, result: 1}, next: b}
  - {step: b, tool: {kind: noop, result: 2}, next: c}
  - {step: c, tool: {kind: noop, result: 3}}
"""
pytestmark = pytest.mark.timeout(3_600)


async def effects_of(cluster: Cluster) -> tuple[int, int]:
    """Rows, and how many were written more than once."""
    connection = await asyncpg.connect(cluster.postgres.dsn())
    try:
        row = await connection.fetchrow("select count(*), count(*) filter (where tries > 0) from effects")
    finally:
        await connection.close()
    return row[0], row[1]


async def test_every_item_of_a_large_loop_has_its_effect_once_though_a_worker_is_killed_every_five_seconds(cluster: Cluster) -> None:
    connection = await asyncpg.connect(cluster.postgres.dsn())
    await connection.execute(
        "create table effects (execution_id bigint, item bigint, tries int not null default 0, primary key (execution_id, item))"
    )
    await connection.close()
    credential = cluster.home.parent / "credentials.json"
    credential.write_text(f'[{{"name": "effects", "type": "postgres", "data": {{"dsn": "{cluster.postgres.dsn()}"}}}}]')
    environment = {"NOETL_CREDENTIALS": str(credential)}
    for name in ("s1", "w1", "w2", "w3"):
        cluster.start(name, environment=environment)
    await cluster.register(EFFECTS)
    id_ = await cluster.execute("demo/effects")
    victims = itertools.cycle(("w1", "w2", "w3"))
    ending = asyncio.create_task(cluster.ended(id_, "s1", within_s=600.0))
    while not ending.done():
        await asyncio.wait([ending], timeout=5.0)
        if not ending.done():
            victim = next(victims)
            cluster.kill(victim)
            await asyncio.to_thread(cluster.start, victim, environment=environment)
    report = await ending
    assert report.status == "completed", report.error
    assert report.steps["start"].result["stats"] == {"total": ITEMS, "success": ITEMS, "failed": 0}
    assert (await effects_of(cluster))[0] == ITEMS
    await cluster.check()


@pytest.mark.parametrize("victim", ["w1", "s1"])
async def test_a_node_that_is_killed_again_and_again_loses_and_doubles_nothing(four: Cluster, victim: str) -> None:
    await four.register(SLOW, "s2")
    for _ in range(KILLS):
        id_ = await four.execute("demo/slow", "s2")
        await four.until(id_, lambda events: len(events) > 60)
        four.kill(victim)
        await asyncio.to_thread(four.start, victim)
        await four.ended(id_, "s2")
    await four.check()


@pytest.mark.parametrize("victim", ["w1", "s1"])
async def test_a_node_that_is_paused_for_long_does_no_harm_when_it_is_back(four: Cluster, victim: str) -> None:
    await four.register(SLOW, "s2")
    for _ in range(6):
        await four.execute("demo/slow", "s1")
    await four.until_any(lambda events: len(events) > 40)
    four.pause(victim)
    await asyncio.sleep(PAUSE_S)
    four.resume(victim)
    for id_ in four.ids:
        assert (await four.ended(id_, "s2")).status == "completed"
    await four.check()


async def test_nobody_is_taken_for_dead_under_full_load(four: Cluster) -> None:
    await four.register(CHAIN)
    began, done = time.monotonic(), 0
    async with four.client("s1") as first, four.client("s2") as second:
        while time.monotonic() - began < LOAD_S:
            accepted = await asyncio.gather(*(client.execute(ExecuteRequest(path="demo/chain")) for client in (first, second) for _ in range(50)))
            reports = await asyncio.gather(*(first.ended(each.execution_id, 60.0) for each in accepted))
            assert all(report.status == "completed" for report in reports)
            done += len(reports)
    connection = await asyncpg.connect(four.postgres.dsn())
    lives = await connection.fetchval("select count(*) from noetl.nodes")
    await connection.close()
    assert lives == 4, "each node has had one life"
    assert done > 1_000
