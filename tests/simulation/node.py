"""A node in a simulation: the real tree over a store in memory, with simulated tools."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec

from noetl.dsl.lookup import settle
from noetl.engine.binding import Bound, bound
from noetl.engine.cache import ValueCache
from noetl.engine.call import Done, Outcome, Refused
from noetl.engine.failure import failure
from noetl.engine.homes import PrivateHome
from noetl.engine.local import LocalClient
from noetl.engine.order import Order
from noetl.engine.recovery import folded
from noetl.engine.state import State
from noetl.events import AnyEvent
from noetl.ids import ExecutionIds
from noetl.node import toolbox
from noetl.node.incarnation import this_process
from noetl.node.parts import Parts
from noetl.node.profile import load_profile
from noetl.node.tree import tree
from noetl.settings import Settings
from noetl.store.log import Append, Log, check_chain
from noetl.store.log import Done as AppendDone
from noetl.store.logs.sqlite import open_sqlite
from noetl.store.store import Store
from noetl.supervisors.static import start_tree, which_children
from noetl.testing.simulation import Simulation
from noetl.tools.tool import Resources
from noetl.values import unpack_leaf
from noetl.vault.keyring import GivenKeys
from noetl.vault.secrets import Secrets
from noetl.vault.vaults.file import FileVault

PROFILE = load_profile("solo")

Tool = Callable[[str, dict[str, Any], int], Any]
"""Step, args, number of the call of this step and iteration -> result; or it raises `Failure`."""


class Failure(Exception):
    """A call that fails."""


class SimulatedCaller:
    """In place of the node's caller: a call takes up to 100 ms of virtual time and gives what `tool` says."""

    def __init__(self, simulation: Simulation, tool: Tool, cache: ValueCache) -> None:
        self.clock = simulation.clock
        self._cache = cache
        self._simulation = simulation
        self._tool = tool
        self._numbers: dict[tuple[str, int], int] = {}

    async def call(self, order: Order) -> Outcome:
        with self._cache.hold() as hold:
            given: Bound = await hold.run(lambda: bound(order, lambda field, value, names: value.render(names, hold.load)))
            args = await hold.plain(settle(given.args))
        await asyncio.sleep(self._simulation.random.random() * 0.1)
        key = (order.call.step, order.call.index)
        self._numbers[key] = self._numbers.get(key, 0) + 1
        try:
            return Done(self._tool(order.call.step, args, self._numbers[key]))
        except Failure as error:
            return Refused(failure("server_error", str(error)))


class LateLog:
    """A log on a slow disk: an append is handed over, is committed a moment later, and is answered another moment later; in order."""

    def __init__(self, log: Log, simulation: Simulation) -> None:
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._random = simulation.random
        self._free_at = 0.0
        self.read, self.items, self.bodies, self.fed = log.read, log.items, log.bodies, log.fed

    def append(self, append: Append, done: AppendDone) -> None:
        self._free_at = max(self._free_at, self._loop.time()) + 0.001 + self._random.random() * 0.02
        self._loop.call_at(self._free_at, self._commit, append, done)

    def _commit(self, append: Append, done: AppendDone) -> None:
        answer_s = self._random.random() * 0.02
        self._log.append(append, lambda error: self._loop.call_later(answer_s, done, error))

    async def settle(self) -> None:
        await asyncio.sleep(max(0.0, self._free_at - self._loop.time()) + 0.0005)
        await self._log.settle()


class SimulatedNode:
    def __init__(self, parts: Parts, client: LocalClient) -> None:
        self.parts = parts
        self.client = client

    async def start(self, text: str) -> int:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "simulated.yaml")
            file.write_text(text)
            return await self.client.start(await self.client.load(file))

    async def events(self, execution_id: int) -> list[AnyEvent]:
        """All of its log, checked: the chain holds, and the events fold to what the actor had."""
        assert self.parts.store is not None
        return await self.events_in(self.parts.store, execution_id)

    async def events_in(self, store: Store, execution_id: int) -> list[AnyEvent]:
        rows = await store.log.read(execution_id)
        check_chain(rows)
        decoder = msgspec.msgpack.Decoder(tuple[AnyEvent, ...], ext_hook=unpack_leaf)
        return [event for row in rows for event in decoder.decode(row.body)]

    async def run(self, text: str) -> State:
        return await self.ended(await self.start(text))

    async def ended(self, execution_id: int) -> State:
        assert self.parts.store is not None
        async with asyncio.timeout(10_000):
            state = await self.client.ended(execution_id)  # type: ignore[arg-type]
        recovered = (await folded(self.parts.store, execution_id)).state
        differs = [name for name in State.__struct_fields__ if getattr(recovered, name) != getattr(state, name)]
        assert not differs, [(name, getattr(recovered, name), getattr(state, name)) for name in differs]
        return state


@contextlib.asynccontextmanager
async def simulated_node(simulation: Simulation, tool: Tool, monkeypatch: Any) -> AsyncIterator[SimulatedNode]:
    settings = Settings()
    directory = Path("/nonexistent")

    async def open_late(more: Callable[[], bool]) -> Store:
        store = await open_sqlite(None, directory, settings.store, more)
        return dataclasses.replace(store, log=LateLog(store.log, simulation))

    parts = Parts(
        owner=this_process("simulated"),
        settings=settings,
        profile=PROFILE,
        directory=directory,
        open_store=open_late,
        keeps_files=False,
        vault=FileVault({}),
        keys=GivenKeys(bytes(32)),
        secrets=Secrets(GivenKeys(bytes(32))),
        clock=simulation.clock,
        probe=simulation.runtime.probe,
        ids=ExecutionIds(simulation.clock, simulation.random),
        environment={},
        resources=Resources(settings, directory / "run", directory / "artifacts"),
    )
    monkeypatch.setattr(toolbox, "Caller", lambda *, cache, **_: SimulatedCaller(simulation, tool, cache))

    root = await start_tree(simulation.runtime, tree(parts))
    try:
        shard = (await which_children(root))["shard"]
        assert shard is not None
        assert parts.engine is not None
        assert parts.lease is not None
        yield SimulatedNode(parts, LocalClient(parts.engine, PrivateHome(shard, parts.lease), parts.ids, {}))
    finally:
        await simulation.runtime.stop(root)
