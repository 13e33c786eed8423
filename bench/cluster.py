"""A cluster on this machine's cores: steps through JetStream over two workers, latency of a remote step, recovery after kills.

python bench/cluster.py [steps] [kills]

NATS and PostgreSQL are those of the wheels, durable as they are by default; one server and two workers, each a process. The bare baseline is a commit
of one small row over one connection, one after the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import uvloop

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "deploy" / "local")]

from cluster import free_ports  # noqa: E402  deploy/local is no package
from prepare import prepare, read_env  # noqa: E402

from noetl.client import AsyncClient  # noqa: E402
from noetl.engine.client import ExecuteRequest, Registration  # noqa: E402
from noetl.errors import NoetlError  # noqa: E402

CHAIN = 20
EXECUTIONS = 150
LONG = 300
KILLS = 30
LOADED = ("s1", "w1", "w2")


def chain(name: str, steps: int) -> str:
    lines = [f"  - {{step: s{number}, tool: {{kind: noop, result: {number}}}, next: s{number + 1}}}" for number in range(steps - 1)]
    body = "\n".join([*lines, f"  - {{step: s{steps - 1}, tool: {{kind: noop, result: done}}}}"])
    return f"apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {{name: {name}, path: bench/{name}}}\nworkflow:\n{body}\n"


SLOW = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: slow, path: bench/slow}
workflow:
  - step: start
    loop: {in: "{{ range(400) | list }}", iterator: n, spec: {mode: parallel, max_in_flight: 8}}
    tool: {kind: python, args: {n: "{{ n }}"}, code: "import time; time.sleep(0.1); result = n"}
"""
PROFILES = {
    "s": "roles: [store, cluster, tools, shards, events, api]\n",
    "w": "roles: [store, cluster, tools, pools, steps]\npools: {default: {slots: 64, tools: [noop]}, python: {slots: 4, tools: [python]}}\n",
    "both": "roles: [store, cluster, tools, pools, shards, events, api]\npools: {default: {slots: 64, tools: [noop]}}\n",
}


class Cluster:
    def __init__(self, home: Path) -> None:
        self.home = home
        nats, postgres = free_ports(2)
        self.environment = {**os.environ, **read_env(prepare(home, nats_port=nats, postgres_port=postgres)), "NOETL_API_AUTH": "off"}
        self.environment["NOETL_NATS_URLS"] = self.environment["LOCAL_NATS_SERVER"]
        self.environment.pop("NOETL_ENV")
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.urls: dict[str, str] = {}
        (home / "nodes").mkdir()
        for name, text in PROFILES.items():
            (home / "nodes" / f"{name}.yaml").write_text(text)
        self._spawn("nats", ["nats-server", "-c", "config/nats.conf"])
        self._spawn("postgres", [sys.executable, "deploy/local/postgres.py"])

    def _spawn(self, name: str, command: list[str]) -> None:
        with (self.home / f"{name}.out").open("ab") as output:
            self.running[name] = subprocess.Popen(command, cwd=ROOT, env=self.environment, stdout=output, stderr=output, start_new_session=True)

    def start(self, name: str, profile: str) -> None:
        (port,) = free_ports(1)
        self.urls[name] = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "noetl", "node", "start", profile, "--id", name, "--port", str(port), "--config-dir", str(self.home)]
        self._spawn(name, command)

    def kill(self, name: str, how: signal.Signals = signal.SIGKILL) -> None:
        process = self.running.pop(name)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, how)
        process.wait()

    def close(self) -> None:
        for name in list(self.running)[::-1]:
            self.kill(name, signal.SIGTERM if name == "postgres" else signal.SIGKILL)


@contextlib.contextmanager
def cluster() -> Iterator[Cluster]:
    home = Path(tempfile.mkdtemp(prefix="noetl-bench-"))
    home.chmod(0o755)
    made = Cluster(home)
    try:
        yield made
    finally:
        made.close()
        shutil.rmtree(home, ignore_errors=True)


async def ready(url: str, workers: int = 0) -> AsyncClient:
    client = AsyncClient(url)
    while True:
        with contextlib.suppress(NoetlError, OSError):
            nodes = (await client.nodes()).entries
            if len(nodes) > workers:
                return client
        await asyncio.sleep(0.05)


async def bare(dsn: str, number: int = 2_000) -> float:
    connection = await asyncpg.connect(dsn)
    await connection.execute("create table if not exists bare (id bigint generated always as identity primary key, body text)")
    began = time.perf_counter()
    for _ in range(number):
        await connection.execute("insert into bare (body) values ($1)", "x" * 200)
    await connection.close()
    return number / (time.perf_counter() - began)


async def rate(client: AsyncClient, executions: int, path: str, steps: int) -> float:
    """Steps in a second, from the first request to the last end."""
    began = time.perf_counter()
    ids = await asyncio.gather(*(client.execute(ExecuteRequest(path=path)) for _ in range(executions)))
    reports = await asyncio.gather(*(client.ended(accepted.execution_id, 300.0) for accepted in ids))
    assert all(report.status == "completed" for report in reports), [report.error for report in reports if report.status != "completed"][:1]
    return executions * steps / (time.perf_counter() - began)


async def latency(client: AsyncClient, path: str) -> float:
    """The median time from a step's beginning to the next one's, in a long chain that runs alone, in seconds."""
    accepted = await client.execute(ExecuteRequest(path=path))
    await client.ended(accepted.execution_id, 120.0)
    times = [event.at for event in (await client.events(accepted.execution_id, limit=10_000)).entries if event.name == "StepScheduled"]
    return statistics.median((after - before).total_seconds() for before, after in zip(times, times[1:], strict=False))


async def steps() -> None:
    with cluster() as made:
        made.start("s1", "s")
        made.start("w1", "w")
        made.start("w2", "w")
        client = await ready(made.urls["s1"], 2)
        base = await bare(made.environment["NOETL_POSTGRES_DSN"])
        print(f"bare PostgreSQL: {base:,.0f} commits/s, one after the other")
        for name, length in (("chain", CHAIN), ("long", LONG)):
            await client.register(Registration(content=chain(name, length)))
        await rate(client, 20, "bench/chain", CHAIN)
        found = [await rate(client, EXECUTIONS, "bench/chain", CHAIN) for _ in range(3)]
        rates = ", ".join(f"{one:,.0f}" for one in found)
        print(f"{EXECUTIONS} executions of {CHAIN} steps over two workers: {rates} steps/s, {statistics.median(found) / base:.2f} of it")
        remote = await latency(client, "bench/long")
        await client.close()
        made.kill("w1")
        made.kill("w2")
        made.kill("s1")
        made.start("l1", "both")
        client = await ready(made.urls["l1"])
        local = await latency(client, "bench/long")
        await client.close()
        print(f"a step: p50 {remote * 1000:.2f} ms on a worker, {local * 1000:.2f} ms on the server itself: {(remote - local) * 1000:.2f} ms more")


async def kills() -> None:
    """The longest time in which nothing was done, around each kill."""
    with cluster() as made:
        for name in ("s1", "s2"):
            made.start(name, "s")
        for name in ("w1", "w2"):
            made.start(name, "w")
        async with await ready(made.urls["s1"], 3) as client:
            await client.register(Registration(content=SLOW))
        for victim, other in (("w1", "w2"), ("s1", "s2")):
            gaps: list[float] = []
            for number in range(KILLS):
                async with await ready(made.urls["s2"], 3) as survivor:
                    accepted = await survivor.execute(ExecuteRequest(path="bench/slow"))
                    gaps.append(await gap_after_kill(made, victim, survivor, accepted.execution_id))
                made.start(victim, victim[0])
                print(f"\r{victim}: kill {number + 1} of {KILLS}, worst {max(gaps):.2f} s", end="", flush=True)
            print(f"\n{victim} killed {KILLS} times: {other} goes on with its work after {statistics.median(gaps):.2f} s, at worst {max(gaps):.2f} s")


async def gap_after_kill(made: Cluster, victim: str, client: AsyncClient, execution_id: str) -> float:
    """Kill in the midst; how long until everything that was under way then was done. The rest is cancelled."""
    done = 0
    killed_at = 0.0
    open_then: set[Any] = set()
    under_way: set[Any] = set()
    async for event in client.watch(execution_id):
        key = event.iteration
        if event.name == "TaskScheduled":
            under_way.add(key)
        elif event.name == "IterationCompleted":
            under_way.discard(key)
            open_then.discard(key)
            done += 1
            if killed_at and not open_then:
                break
            if done == 40 and not killed_at:
                open_then, killed_at = set(under_way), time.perf_counter()
                made.kill(victim)
    gap = time.perf_counter() - killed_at
    await client.cancel(execution_id)
    await client.ended(execution_id, 30.0)
    return gap


if __name__ == "__main__":
    wanted = sys.argv[1:] or ["steps", "kills"]
    for name in wanted:
        uvloop.run({"steps": steps, "kills": kills}[name]())
