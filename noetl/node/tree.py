"""What a node runs, in start order, as data. Building it starts nothing."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from noetl.actors.actor import NORMAL, AsyncActor, Context, Reason
from noetl.clock import Clock
from noetl.engine.cache import ValueCache
from noetl.engine.call import Caller
from noetl.engine.claims import Claims
from noetl.engine.credentials import Credentials
from noetl.engine.engine import Engine
from noetl.engine.fetched import Fetched
from noetl.engine.library import Library
from noetl.engine.places import LocalPlaces
from noetl.engine.pool import Gauge, LocalPools, Pool
from noetl.engine.shard import Shard
from noetl.ids import ExecutionIds
from noetl.node.children import SubPlaybooks
from noetl.node.profile import Profile, slots_of
from noetl.node.runlog import RunLog
from noetl.node.serving import Serving, api_server
from noetl.probe import Probe
from noetl.settings import Settings, VaultSettings
from noetl.store.lease import Owner
from noetl.store.lease import Shard as ShardLease
from noetl.store.logs.sqlite import open_sqlite
from noetl.store.store import Store
from noetl.supervisors.spec import Backoff, ChildSpec, SupervisorSpec
from noetl.tools.tool import Resources
from noetl.vault.credential import Vault
from noetl.vault.keyring import KeyRing
from noetl.vault.secrets import Secrets
from noetl.vault.vaults.layered import LayeredVault
from noetl.vault.vaults.sealed import SealedVault


@dataclass(slots=True)
class Parts:
    """What the branches of one node hand to those that start after them.

    `store_file` None: the store is in memory. `vault` holds what the operator gives this process; `sealed`, the credentials in the store, is asked
    after it. `resources` may have been made before.
    """

    owner: Owner
    settings: Settings
    profile: Profile
    directory: Path
    store_file: Path | None
    vault: Vault
    keys: KeyRing
    secrets: Secrets
    clock: Clock
    probe: Probe
    ids: ExecutionIds
    environment: Mapping[str, str]
    resources: Resources | None = None
    store: Store | None = None
    sealed: SealedVault | None = None
    lease: ShardLease | None = None
    engine: Engine | None = None
    run_log: RunLog | None = None
    gauges: dict[str, Gauge] = field(init=False)
    """Of the pools of this node."""
    serving: Serving | None = None
    """How the API is served; None: it is not."""

    def __post_init__(self) -> None:
        self.gauges = {name: Gauge() for name in self.profile.pools}


def tree(parts: Parts) -> SupervisorSpec:
    """The node's supervision tree: a branch leans on those before it, so the loss of one restarts those behind it."""
    branches: dict[str, tuple[ChildSpec | SupervisorSpec, ...]] = {
        "store": (ChildSpec(id="store", start=partial(StoreKeeper, parts), shutdown_s=60.0, backoff=Backoff(initial_s=0.5, max_s=10.0)),),
        "tools": (ChildSpec(id="tools", start=partial(Toolbox, parts), shutdown_s=15.0),),
        "pools": (SupervisorSpec(id="pools", children=tuple(_pool(name, parts) for name in parts.profile.pools)),),
        "shard": (
            ChildSpec(id="lease", start=partial(LeaseKeeper, parts)),
            ChildSpec(id="shard", start=partial(_shard, parts), shutdown_s=parts.profile.drain_s + 20.0),
        ),
    }
    if parts.serving is not None:
        branches["api"] = (ChildSpec(id="api", start=partial(api_server, parts), shutdown_s=10.0, backoff=Backoff(initial_s=0.2, max_s=5.0)),)
    children = tuple(child for role in parts.profile.roles for child in branches.get(role, ()))
    return SupervisorSpec(id=parts.profile.name, strategy="rest_for_one", intensity=5, period_s=30.0, children=children)


def _pool(name: str, parts: Parts) -> ChildSpec:
    return ChildSpec(id=name, start=partial(Pool, name, slots_of(parts.profile.pools[name]), parts.gauges[name]))


def _shard(parts: Parts) -> Shard:
    assert parts.engine is not None
    assert parts.lease is not None
    return Shard(parts.engine, parts.lease)


class StoreKeeper(AsyncActor[Any]):
    """Opens the store, and closes it when all that use it have ended."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def init(self, ctx: Context[Any]) -> None:
        parts = self._parts
        parts.store = await open_sqlite(parts.store_file, parts.directory, parts.settings.store, ctx.others_are_ready)
        try:
            parts.run_log = RunLog(None if parts.store_file is None else parts.store.logs_dir, parts.clock, parts.secrets, parts.probe)
        except OSError:
            await self.terminate(NORMAL, ctx)  # a start that fails leaves nothing behind
            raise

    async def terminate(self, reason: Reason, ctx: Context[Any]) -> None:
        parts = self._parts
        if parts.run_log is not None:
            parts.run_log.close()
        if parts.store is not None:
            store, parts.store = parts.store, None
            await store.close()


def _readable(settings: VaultSettings) -> list[str]:
    """The variables that credentials may be read from: never the one that holds the vault's key."""
    return [name for name in settings.env_allow if name != settings.key_env]


async def _no_secrets(clock: Clock, _: Resources) -> Fetched:
    """What executions will have fetched: let go of when they end."""
    return Fetched(clock)


class Toolbox(AsyncActor[Any]):
    """Owns what tools share: sessions, pools of connections, processes; and puts the engine together."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def init(self, ctx: Context[Any]) -> None:
        parts = self._parts
        store, run_log = parts.store, parts.run_log
        assert store is not None
        assert run_log is not None
        resources = parts.resources = parts.resources or Resources(parts.settings, parts.directory / "run", store.artifacts_dir)
        cache = ValueCache(store.artifacts_dir, store.log, resources.run_blocking, parts.secrets.open_leaf)
        is_node = parts.serving is not None
        library = Library(store.catalog, tuple(Path(root) for root in parts.settings.playbook_path), catalog_first=is_node)

        @functools.cache
        def base_dirs(net: str) -> tuple[Path, ...]:
            folder = library.folder_of(net)
            return tuple(dict.fromkeys(path for path in (Path.cwd(), folder, *library.roots) if path is not None))

        parts.sealed = SealedVault(store.credentials, parts.keys, parts.clock)
        caller = Caller(
            resources=resources,
            cache=cache,
            credentials=Credentials(LayeredVault(parts.vault, parts.sealed), parts.secrets, parts.environment, _readable(parts.settings.vault)),
            fetched=await resources.get("fetched", partial(_no_secrets, parts.clock)),
            secrets=parts.secrets,
            settings=parts.settings,
            clock=parts.clock,
            base_dirs=lambda order: base_dirs(order.net),
            log=run_log.write,
        )
        serves = {name: frozenset(pool.tools) for name, pool in parts.profile.pools.items()}
        parts.engine = Engine(
            node=parts.owner.node,
            store=store,
            cache=cache,
            secrets=parts.secrets,
            places=LocalPlaces(LocalPools(ctx.registry, serves, parts.gauges), caller, SubPlaybooks(library, parts.ids)),
            claims=Claims(),
            library=library,
            resources=resources,
            settings=parts.settings,
            clock=parts.clock,
            origin="node" if is_node else "run",
        )

    async def terminate(self, reason: Reason, ctx: Context[Any]) -> None:
        if self._parts.resources is not None:
            resources, self._parts.resources = self._parts.resources, None
            await resources.close()


class LeaseKeeper(AsyncActor[Any]):
    """Owns the private shard of this process."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def init(self, ctx: Context[Any]) -> None:
        assert self._parts.store is not None
        self._parts.lease = await self._parts.store.shards.new_shard(self._parts.owner)

    async def terminate(self, reason: Reason, ctx: Context[Any]) -> None:
        if self._parts.store is not None and self._parts.lease is not None:
            await self._parts.store.shards.release(self._parts.lease)
