"""Whole clusters of processes: real NATS, real PostgreSQL, nodes as users start them, with short leases."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from noetl.client import AsyncClient
from noetl.engine.client import ExecuteRequest, ExecutionReport, Registration
from noetl.errors import NoetlError
from noetl.settings import PostgresSettings, StoreSettings
from noetl.store.logs.postgres import open_postgres
from noetl.store.store import Store
from tests.cluster.history import History
from tests.nats import Nats
from tests.postgres import Postgres
from tests.servers import Server

LEASE_S = 0.8
END_S = 50.0
SLOTS = {"cpu": 32, "python": 4, "both": 4}
PROFILES = {
    "server": "roles: [store, cluster, tools, shards, events, api]\ndrain_s: 5\n",
    "worker": "roles: [store, cluster, tools, pools, steps]\npools:\n  default: {slots: 8, tools: [noop, http, postgres]}\n  python: {slots: 4, tools: [python]}\ndrain_s: 5\n",
}


class Cluster:
    """`start` nodes, harm them, and `check` afterwards."""

    def __init__(self, folder: Path, nats: Nats, postgres: Postgres, store: Store) -> None:
        self.home = folder / "home"
        self.home.mkdir()
        self.nats = nats
        self.postgres = postgres
        self.store = store
        self.nodes: dict[str, Server] = {}
        self.ids: list[int] = []
        self._folder = folder
        (folder / "nodes").mkdir()
        for name, text in PROFILES.items():
            (folder / "nodes" / f"{name}.yaml").write_text(text)

    def start(
        self,
        name: str,
        *,
        nats_url: str | None = None,
        environment: dict[str, str] | None = None,
        home: Path | None = None,
        program: Sequence[str] = ("-m", "noetl"),
    ) -> Server:
        """A node called s1, s2, … is a server, one called w1, w2, … a worker. `home`: of a machine of its own."""
        variables = {
            "NOETL_POSTGRES_DSN": self.postgres.dsn(),
            "NOETL_NATS_URLS": nats_url or self.nats.url,
            "NOETL_API_AUTH": "off",
            "NOETL_CLUSTER_LEASE_S": str(LEASE_S),
            "NOETL_NATS_SILENCE_S": "0.6",
            "NOETL_CLUSTER_RETURN_S": "4",
            "NOETL_POSTGRES_STATEMENT_TIMEOUT_S": "3",
            "NOETL_HTTP_ALLOW": "loopback",
            **(environment or {}),
        }
        profile = "server" if name.startswith("s") else "worker"
        node = Server(home or self.home, "--id", name, "--config-dir", str(self._folder), profile=profile, environment=variables, program=program)
        self.nodes[name] = node
        return node

    def client(self, name: str) -> AsyncClient:
        return AsyncClient(self.nodes[name].url)

    async def register(self, text: str, name: str = "s1") -> None:
        async with self.client(name) as client:
            await client.register(Registration(content=text))

    async def execute(self, path: str, name: str = "s1", **payload: Any) -> int:
        async with self.client(name) as client:
            accepted = await client.execute(ExecuteRequest(path=path, payload=payload))
        self.ids.append(int(accepted.execution_id))
        return self.ids[-1]

    async def ended(self, id_: int, name: str = "s2", *, within_s: float = END_S) -> ExecutionReport:
        """Its report, from whoever answers."""
        until = time.monotonic() + within_s
        while True:
            try:
                async with self.client(name) as client:
                    report = await client.ended(str(id_), timeout_s=5.0)
            except (NoetlError, OSError):
                report = None
            if report is not None and report.status in ("completed", "failed", "cancelled"):
                return report
            assert time.monotonic() < until, f"{id_} has not ended: {report}\n{self.logs()}"

    async def until(self, id_: int, seen: Callable[[list[Any]], bool]) -> None:
        """Wait until the log of an execution shows something."""
        await self._until([id_], seen)

    async def until_any(self, seen: Callable[[list[Any]], bool]) -> None:
        """Wait until the log of some execution shows it."""
        await self._until(self.ids, seen)

    async def _until(self, ids: list[int], seen: Callable[[list[Any]], bool]) -> None:
        async with asyncio.timeout(END_S):
            while not any(seen(events) for events in (await History.read(self.store, ids)).events.values()):
                await asyncio.sleep(0.02)

    async def eventually(self, seen: Callable[[], bool]) -> None:
        """Wait until something outside of the store shows."""
        async with asyncio.timeout(END_S):
            while not seen():
                await asyncio.sleep(0.02)

    async def check(self) -> History:
        """All that was accepted has completed; nothing was applied twice."""
        for id_ in self.ids:
            report = await self.ended(id_, next(name for name, node in self.nodes.items() if node.url and node.process.poll() is None))
            assert report.status == "completed", report
        history = await History.read(self.store, self.ids)
        history.check(dict.fromkeys((name for name in self.nodes if name.startswith("w")), 12))
        _note_pause(history)
        return history

    def kill(self, name: str) -> None:
        self.nodes[name].kill()

    def pause(self, name: str) -> None:
        os.kill(self.nodes[name].process.pid, signal.SIGSTOP)

    def resume(self, name: str) -> None:
        os.kill(self.nodes[name].process.pid, signal.SIGCONT)

    def logs(self) -> str:
        return "\n".join(f"{name}: {node.said[-8:]}" for name, node in self.nodes.items())

    def stop(self) -> None:
        for node in reversed(self.nodes.values()):
            if node.process.poll() is None:
                os.kill(node.process.pid, signal.SIGCONT)
                node.kill()


def _note_pause(history: History) -> None:
    """For the table of faults: how long executions stood still at most. `NOETL_TEST_PAUSES` names the file."""
    if file := os.environ.get("NOETL_TEST_PAUSES"):
        with Path(file).open("a") as opened:
            opened.write(f"{history.longest_pause_s:6.2f} s  {os.environ['PYTEST_CURRENT_TEST'].partition(' ')[0]}\n")


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    """Without nodes; its servers are the test's own."""
    async with AsyncExitStack() as stack:
        nats = stack.enter_context(Nats())
        postgres = stack.enter_context(Postgres())
        store = await open_postgres(PostgresSettings(dsn=postgres.dsn()), StoreSettings(), tmp_path)
        stack.push_async_callback(store.close)
        made = Cluster(tmp_path, nats, postgres, store)
        stack.callback(made.stop)
        yield made


@pytest.fixture
async def four(cluster: Cluster) -> Cluster:
    """Two servers and two workers."""
    for name in ("s1", "s2", "w1", "w2"):
        cluster.start(name)
    return cluster
