"""A cluster in a simulation: real trees of several nodes, over one store in memory and one bus in this process."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from noetl.actors.actor import KILL
from noetl.actors.ref import Ref
from noetl.engine.evolve import FORMAT
from noetl.engine.homes import CommonHomes
from noetl.engine.local import LocalClient
from noetl.ids import ExecutionIds
from noetl.mailbox.transports.local import Fate, LocalBus, LocalTransport
from noetl.node import toolbox
from noetl.node.incarnation import this_process
from noetl.node.parts import Parts, Serving
from noetl.node.profile import PoolProfile, Profile
from noetl.node.tree import tree
from noetl.settings import Settings
from noetl.store.logs.sqlite import open_sqlite
from noetl.store.logs.sqlite_members import LoopHeart
from noetl.store.members import Heart, Incarnation, NodeRow
from noetl.store.store import Store
from noetl.supervisors.static import start_tree
from noetl.testing.simulation import SimulatedRuntime, Simulation
from noetl.tools.tool import Resources
from noetl.vault.keyring import GivenKeys
from noetl.vault.secrets import Secrets
from noetl.vault.vaults.file import FileVault
from tests.simulation.node import SimulatedCaller, SimulatedNode, Tool
from tests.simulation.wire import Wire, Wired, WiredLog

SERVER = Profile(roles=("store", "cluster", "tools", "shards"))
WORKER = Profile(roles=("store", "cluster", "tools", "pools", "steps"), pools={"default": PoolProfile(slots=4, tools=("*",))})
NOWHERE = Path("/nonexistent")


class ClusterNode(SimulatedNode):
    """One node; `kill` is kill -9."""

    def __init__(
        self,
        parts: Parts,
        client: LocalClient,
        runtime: SimulatedRuntime,
        root: Ref[Any],
        transport: LocalTransport,
        hearts: list[Heart],
        wire: Wire,
    ) -> None:
        super().__init__(parts, client)
        self.id = parts.owner.node
        self.is_there = True
        self.transport = transport
        self.wire = wire
        """To the store."""
        self._runtime = runtime
        self._root = root
        self._hearts = hearts

    async def kill(self) -> None:
        """Nobody hears of it: no actor says goodbye, the lease runs out."""
        self.is_there = False
        for heart in self._hearts:
            heart.stop()
        await self.transport.close()
        self._root.exit(KILL)

    async def stop(self) -> None:
        if self.is_there:
            self.is_there = False
            await self._runtime.stop(self._root)


class SimulatedCluster:
    def __init__(self, simulation: Simulation, store: Store, tool: Tool, fate: Fate) -> None:
        self.simulation = simulation
        self.store = store
        self.bus = LocalBus(fate)
        self.nodes: dict[str, ClusterNode] = {}
        self._tool = tool

    async def start(self, name: str, profile: Profile, newest: int = FORMAT) -> ClusterNode:
        """`newest`: the newest format that it says it reads."""
        simulation, settings = self.simulation, Settings()
        runtime = SimulatedRuntime(simulation)
        transport, hearts, wire = self.bus.transport(name), [], Wire()
        keys = GivenKeys(bytes(32))
        parts = Parts(
            owner=this_process(name),
            settings=settings,
            profile=msgspec.structs.replace(profile, name=name),
            directory=NOWHERE,
            open_store=self._opener(hearts, newest, wire),
            keeps_files=False,
            vault=FileVault({}),
            keys=keys,
            secrets=Secrets(keys),
            clock=simulation.clock,
            probe=runtime.probe,
            ids=ExecutionIds(simulation.clock, simulation.random),
            environment={},
            bus=transport,
            resources=Resources(settings, NOWHERE / "run", NOWHERE / "artifacts"),
            serving=Serving("", 0, asks_who=False, started_at=simulation.clock.now()),
        )
        root = await start_tree(runtime, tree(parts))
        assert parts.engine is not None
        client = LocalClient(parts.engine, CommonHomes(runtime.registry, transport), parts.ids, {})
        node = self.nodes[name] = ClusterNode(parts, client, runtime, root, transport, hearts, wire)
        return node

    def _opener(self, hearts: list[Heart], newest: int, wire: Wire) -> Any:
        parts = ("snapshots", "positions", "shards", "executions", "inbox", "catalog")

        async def open_(more: Callable[[], bool]) -> Store:
            far: dict[str, Any] = {name: Wired(getattr(self.store, name), wire) for name in parts}
            log = WiredLog(self.store.log, self.simulation, wire)
            return dataclasses.replace(self.store, log=log, members=_Tracked(Wired(self.store.members, wire), hearts, newest), close=_nothing, **far)

        return open_

    @property
    def caller(self) -> Callable[..., SimulatedCaller]:
        return lambda *, cache, **_: SimulatedCaller(self.simulation, self._tool, cache)

    async def begin(self, at: str, text: str) -> int:
        node = self.nodes[at]
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "simulated.yaml")
            file.write_text(text)
            return await node.client.start(await node.client.load(file))


class _Tracked:
    """Members, whose hearts can be stopped from outside: a killed node's beat no more."""

    def __init__(self, members: Any, hearts: list[Heart], newest: int) -> None:
        self._members = members
        self._hearts = hearts
        self._newest = newest

    async def join(self, node: NodeRow, lease_s: float) -> Incarnation:
        joined: Incarnation = await self._members.join(msgspec.structs.replace(node, format=self._newest), lease_s)
        return joined

    def heart(self, incarnation: Incarnation, lease_s: float, lost: Callable[[], None]) -> Heart:
        heart = LoopHeart(partial(self._members.renew, incarnation), lease_s, lost)
        self._hearts.append(heart)
        return heart

    def __getattr__(self, name: str) -> Any:
        return getattr(self._members, name)


async def _nothing() -> None:
    """The store is everybody's."""


@contextlib.asynccontextmanager
async def simulated_cluster(
    simulation: Simulation, tool: Tool, monkeypatch: Any, fate: Fate, *, servers: int = 2, workers: int = 2
) -> AsyncIterator[SimulatedCluster]:
    """Servers `s1`, `s2`, … and workers `w1`, `w2`, …"""
    store = await open_sqlite(None, NOWHERE, Settings().store, now=lambda: int(simulation.clock.now().timestamp() * 1_000_000))
    cluster = SimulatedCluster(simulation, store, tool, fate)
    monkeypatch.setattr(toolbox, "Caller", cluster.caller)
    try:
        for number in range(1, servers + 1):
            await cluster.start(f"s{number}", SERVER)
        for number in range(1, workers + 1):
            await cluster.start(f"w{number}", WORKER)
        yield cluster
    finally:
        for node in reversed(cluster.nodes.values()):
            await node.stop()
        await store.close()
