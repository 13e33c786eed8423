"""A cluster of real processes, and what may happen to each of them while executions run. Afterwards the logs are read: nothing is lost, nothing twice."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from noetl.engine.client import CredentialRequest
from noetl.events import AttemptFailed, AttemptLost, AttemptSucceeded, IterationCompleted
from noetl.store.members import SHARDS
from tests.cluster.conftest import END_S, LEASE_S, Cluster
from tests.cluster.proxy import Proxy

ITEMS = 24

FAN_OUT = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: fan, path: demo/fan}
workload: {items: 24, seconds: 0.15}
workflow:
  - step: start
    loop: {in: "{{ range(workload.items) | list }}", iterator: n, spec: {mode: parallel, max_in_flight: 8}}
    tool: {kind: python, args: {n: "{{ n }}", seconds: "{{ workload.seconds }}"}, code: "import time; time.sleep(seconds); result = n * n"}
    next: [{step: sum}]
  - {step: sum, tool: {kind: noop, result: "{{ start.results | sum }}"}}
"""
SUM = sum(n * n for n in range(ITEMS))


def some_are_done(events: list[Any]) -> bool:
    return sum(isinstance(event, IterationCompleted) for event in events) >= 4


async def begun(cluster: Cluster, at: str = "s1", number: int = 3, seconds: float = 0.15) -> list[int]:
    """Executions that are in their midst."""
    await cluster.register(FAN_OUT, at)
    ids = [await cluster.execute("demo/fan", at, seconds=seconds) for _ in range(number)]
    await cluster.until(ids[0], some_are_done)
    return ids


async def begun_on(cluster: Cluster, worker: str) -> None:
    """The same, at a moment when this worker has its hands full."""
    await begun(cluster, seconds=0.4)
    async with cluster.client("s1") as client, asyncio.timeout(END_S):
        while not any((pool.node, pool.name, pool.free) == (worker, "python", 0) for pool in (await client.pools()).entries):
            await asyncio.sleep(0.02)


async def owners(cluster: Cluster) -> Counter[str | None]:
    """How many shards each owns."""
    return Counter(None if row.owner is None else row.owner.node for row in (await cluster.store.members.cluster()).shards)


async def until_owned_by(cluster: Cluster, *names: str | None) -> None:
    """Until each owns as many as any other."""
    async with asyncio.timeout(END_S):
        while await owners(cluster) != dict.fromkeys(names, SHARDS // len(names)):
            await asyncio.sleep(0.05)


async def all_right(cluster: Cluster, by: str = "s2") -> None:
    for id_ in cluster.ids:
        report = await cluster.ended(id_, by)
        assert (report.status, report.result) == ("completed", SUM), report
    await cluster.check()


async def test_steps_run_on_all_workers_and_come_together(four: Cluster) -> None:
    await begun(four)
    await all_right(four)
    history = await four.check()
    assert set(history.ran_on()) == {"w1", "w2"}


async def test_a_worker_that_is_killed_has_its_steps_run_elsewhere(four: Cluster) -> None:
    await begun_on(four, "w1")
    four.kill("w1")
    await all_right(four)
    history = await four.check()
    assert any(isinstance(event, AttemptLost) for events in history.events.values() for event in events)


async def test_a_server_that_is_killed_has_its_executions_gone_on_with_by_another(four: Cluster) -> None:
    await begun(four, "s1", 6)
    four.kill("s1")
    await all_right(four, "s2")


async def test_a_server_that_is_killed_and_started_again_under_its_name_goes_on_at_once(cluster: Cluster) -> None:
    """It is the only one: nobody else could."""
    cluster.start("s1")
    cluster.start("w1")
    await begun(cluster, "s1", 2)
    cluster.kill("s1")
    cluster.start("s1")
    await all_right(cluster, "s1")


async def test_a_worker_that_is_paused_is_given_up_and_drops_what_it_held_when_it_is_back(four: Cluster) -> None:
    await begun_on(four, "w1")
    four.pause("w1")
    await four.until_any(lambda events: any(isinstance(event, AttemptLost) for event in events))
    four.resume("w1")
    await all_right(four)
    again = await four.execute("demo/fan")
    await four.ended(again)
    assert "w1" in (await four.check()).ran_on(), "it has joined again"


async def test_a_server_that_is_paused_finds_itself_fenced_when_it_is_back(four: Cluster) -> None:
    await begun(four, "s1", 6)
    four.pause("s1")
    for id_ in four.ids:
        assert (await four.ended(id_, "s2")).status == "completed"
    four.resume("s1")
    four.ids.append(await four.execute("demo/fan", "s1"))
    await all_right(four, "s1")


async def test_nats_that_is_killed_and_started_again_loses_and_doubles_nothing(four: Cluster) -> None:
    await begun(four)
    four.nats.kill()
    await asyncio.sleep(0.5)
    await asyncio.to_thread(four.nats.start)
    await all_right(four)


async def test_nats_that_is_paused_is_waited_for(four: Cluster) -> None:
    await begun(four)
    four.nats.pause()
    await asyncio.sleep(1.5)
    four.nats.resume()
    await all_right(four)


async def test_nats_that_has_forgotten_everything_is_told_again(four: Cluster) -> None:
    """The stream is gone, with all commands that were in it."""
    await begun(four)
    four.nats.wipe()
    await asyncio.to_thread(four.nats.start)
    await all_right(four)


async def test_postgres_that_is_killed_and_started_again_loses_nothing(four: Cluster) -> None:
    await begun(four)
    four.postgres.kill9()
    await asyncio.sleep(0.5)
    await asyncio.to_thread(four.postgres.start)
    await all_right(four)


@contextlib.asynccontextmanager
async def serving(serve: Callable[[web.Request], Awaitable[web.Response]]) -> AsyncIterator[str]:
    """The URL of a service."""
    app = web.Application()
    app.router.add_get("/", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


CALLS = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: calls, path: demo/calls}
workload: {url: ""}
workflow:
  - step: start
    loop: {in: "{{ range(60) | list }}", iterator: n, spec: {mode: parallel, max_in_flight: 30}}
    tool: {kind: http, url: "{{ workload.url }}?n={{ n }}", auth: api}
"""


async def test_attempts_that_begin_while_postgres_is_away_wait_for_their_credentials(four: Cluster) -> None:
    """More are under way than the workers have slots. A slot is free as soon as its call has ended: so others begin while nothing can be committed."""
    called: list[tuple[str, str]] = []

    async def serve(request: web.Request) -> web.Response:
        called.append((request.query["n"], request.headers.get("Authorization", "")))
        await asyncio.sleep(0.3)
        return web.json_response(len(called))

    async with four.client("s1") as client:
        await client.put_credential(CredentialRequest(name="api", type="bearer", data={"token": "t0ken"}))
    await four.register(CALLS)
    await until_owned_by(four, "s1", "s2")
    before = (await four.store.members.cluster()).shards
    async with serving(serve) as url:
        id_ = await four.execute("demo/calls", url=url)
        await four.until(id_, lambda events: any(isinstance(event, IterationCompleted) for event in events))
        four.postgres.kill9()
        await asyncio.sleep(1.0)
        await asyncio.to_thread(four.postgres.start)
        assert (await four.ended(id_)).status == "completed"
    history = await four.check()
    assert sum(isinstance(event, AttemptSucceeded) for event in history.events[id_]) == 60
    assert not any(isinstance(event, (AttemptFailed, AttemptLost)) for event in history.events[id_])
    assert sorted(called) == sorted((f"{n}", "Bearer t0ken") for n in range(60)), "each once"
    assert (await four.store.members.cluster()).shards == before


async def test_postgres_that_is_paused_is_waited_for_and_nobody_is_taken_for_dead(four: Cluster) -> None:
    """All leases have run out by then, by its own clock, and nobody is to blame."""
    await begun(four)
    before = await lives(four)
    paused = four.postgres.pause()
    await asyncio.sleep(3 * LEASE_S)
    for process in paused:
        process.resume()
    await all_right(four)
    assert await lives(four) == before


async def test_a_worker_that_is_killed_and_started_again_at_once_is_another(four: Cluster) -> None:
    """What its life before had was lost with it, though the name is the same."""
    await begun_on(four, "w1")
    four.kill("w1")
    four.start("w1")
    await all_right(four)
    history = await four.check()
    assert any(isinstance(event, AttemptLost) for events in history.events.values() for event in events)
    assert "w1" in history.ran_on()


@pytest.mark.parametrize("name", ["s1", "w1"])
async def test_a_node_that_is_cut_off_from_the_store_is_given_up_and_joins_anew(cluster: Cluster, name: str) -> None:
    with Proxy(cluster.postgres.port) as wire:
        cut = {"NOETL_POSTGRES_DSN": cluster.postgres.dsn().replace(f":{cluster.postgres.port}/", f":{wire.port}/")}
        for each in ("s1", "s2", "w1", "w2"):
            cluster.start(each, environment=cut if each == name else None)
        await begun(cluster, "s2")
        before = await lives(cluster)
        wire.cut()
        for id_ in cluster.ids:
            await cluster.ended(id_, "s2")
        wire.heal()
        await cluster.execute("demo/fan", "s2")
        await all_right(cluster, "s2")
        async with asyncio.timeout(END_S):
            while set(await lives(cluster)) == set(before) or name not in dict(await lives(cluster)):
                await asyncio.sleep(0.05)
        cluster.stop()


async def lives(cluster: Cluster) -> list[tuple[str, int]]:
    """Who is a member, in which life."""
    return [(member.incarnation.node, member.incarnation.number) for member in (await cluster.store.members.cluster()).members]


async def test_a_worker_that_is_told_to_stop_ends_what_it_runs_and_takes_nothing_more(four: Cluster) -> None:
    await begun(four)
    assert await asyncio.to_thread(four.nodes["w1"].stop) == 0
    await all_right(four)
    history = await four.check()
    assert not any(isinstance(event, AttemptLost) for events in history.events.values() for event in events)


async def test_a_server_that_is_told_to_stop_hands_its_shards_over_while_attempts_go_on(four: Cluster) -> None:
    """As in a rolling upgrade: one after the other is stopped and started again."""
    await begun(four, "s1", 4)
    for name, other in (("s1", "s2"), ("s2", "s1")):
        assert await asyncio.to_thread(four.nodes[name].stop) == 0
        await four.execute("demo/fan", other)
        four.start(name)
    await all_right(four, "s1")
    history = await four.check()
    assert not any(isinstance(event, AttemptLost) for events in history.events.values() for event in events)


async def test_a_node_of_any_machine_can_be_told_to_end_over_the_api_of_another(four: Cluster) -> None:
    await begun(four)
    listed = noetl(four, "node", "list", "--url", four.nodes["s2"].url)
    assert [line.split()[:3] for line in listed] == [[name, profile_of(name), "ready"] for name in ("s1", "s2", "w1", "w2")]
    assert "slots default: 8, python: 4" in listed[2]
    assert sum(int(re.search(r"(\d+) shards", line)[1]) for line in listed[:2]) == 64  # type: ignore[index]
    for name in ("w1", "s1"):
        assert noetl(four, "node", "drain", name, "--url", four.nodes["s2"].url) == []
        assert await asyncio.to_thread(four.nodes[name].wait) == 0
    await all_right(four)
    history = await four.check()
    assert not any(isinstance(event, AttemptLost) for events in history.events.values() for event in events)


def profile_of(name: str) -> str:
    return "server" if name.startswith("s") else "worker"


def noetl(cluster: Cluster, *args: str) -> list[str]:
    """The lines that a command prints."""
    environment = {**os.environ, "NOETL_HOME": str(cluster.home)}
    done = subprocess.run([sys.executable, "-m", "noetl", *args], env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


async def test_a_worker_that_is_cut_off_from_the_bus_tells_its_outcomes_through_the_store(cluster: Cluster) -> None:
    with Proxy(cluster.nats.port) as wire:
        cluster.start("s1")
        cluster.start("w1", nats_url=f"nats://127.0.0.1:{wire.port}")
        await cluster.register(FAN_OUT)
        id_ = await cluster.execute("demo/fan", seconds=0.5)
        await cluster.until(id_, some_are_done)
        wire.cut()
        cluster.start("w2")
        await all_right(cluster, "s1")
        wire.heal()
        cluster.stop()


async def test_a_server_that_is_cut_off_from_the_bus_one_way_goes_on_when_it_is_healed(cluster: Cluster) -> None:
    with Proxy(cluster.nats.port) as wire:
        cluster.start("s1", nats_url=f"nats://127.0.0.1:{wire.port}")
        cluster.start("w1")
        await begun(cluster, "s1", 2)
        wire.cut(down=False)
        await asyncio.sleep(1.5)
        wire.heal()
        await all_right(cluster, "s1")
        cluster.stop()


async def test_a_request_to_a_server_that_does_not_own_the_execution_is_accepted_and_answered(four: Cluster) -> None:
    await four.register(FAN_OUT)
    ids = [await four.execute("demo/fan", name, items=3) for name in ("s1", "s2") * 3]
    for id_ in ids:
        for name in ("s1", "s2"):
            assert (await four.ended(id_, name)).result == 5


async def test_every_server_knows_which_slots_are_free(four: Cluster) -> None:
    await begun(four, "s1", 6)
    for name in ("s1", "s2"):
        async with four.client(name) as client, asyncio.timeout(END_S):
            while not any(pool.name == "python" and pool.free < pool.slots for pool in (await client.pools()).entries):
                await asyncio.sleep(0.02)
    await all_right(four)
    for name in ("s1", "s2"):
        async with four.client(name) as client, asyncio.timeout(END_S):
            pools = (await client.pools()).entries
            while any(pool.free != pool.slots or pool.waiting for pool in pools):
                await asyncio.sleep(0.02)
                pools = (await client.pools()).entries
        assert {(pool.node, pool.name, pool.slots) for pool in pools} == {(w, p, n) for w in ("w1", "w2") for p, n in (("default", 8), ("python", 4))}


async def test_an_execution_is_cancelled_wherever_it_is_asked_for(four: Cluster) -> None:
    await four.register(FAN_OUT)
    ids = [await four.execute("demo/fan", "s1", seconds=30) for _ in range(4)]
    for id_ in ids:
        async with four.client("s2") as client:
            await client.cancel(str(id_))
    for id_ in ids:
        assert (await four.ended(id_)).status == "cancelled"
    four.ids.clear()


async def test_a_step_runs_only_where_what_it_requires_is(cluster: Cluster) -> None:
    cluster.start("s1")
    cluster.start("w1")
    (cluster.home.parent / "nodes" / "worker.yaml").write_text(
        "roles: [store, cluster, tools, pools, steps]\npools: {python: {slots: 2, tools: [python]}}\ncapabilities: {gpu: 1, labels: {zone: a}}\n"
    )
    cluster.start("w2")
    await cluster.register("""
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: gpu, path: demo/gpu}
workflow:
  - step: start
    spec: {requires: {gpu: 1, labels: {zone: a}}}
    loop: {in: [1, 2, 3, 4, 5, 6], iterator: n, spec: {mode: parallel}}
    tool: {kind: python, args: {n: "{{ n }}"}, code: "result = n"}
""")
    await cluster.execute("demo/gpu")
    history = await cluster.check()
    assert history.ran_on() == {"w2": 6}
    assert sum(isinstance(event, AttemptSucceeded) for event in next(iter(history.events.values()))) == 6
