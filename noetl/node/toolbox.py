"""The branch that owns what tools share, and puts the engine together."""

from __future__ import annotations

import functools
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from noetl.actors.actor import AsyncActor, Context, Reason
from noetl.actors.registry import Registry
from noetl.clock import Clock
from noetl.engine.cache import ValueCache
from noetl.engine.call import Caller
from noetl.engine.claims import Claims
from noetl.engine.credentials import Credentials
from noetl.engine.engine import Engine
from noetl.engine.fetched import Fetched
from noetl.engine.flight import Airport
from noetl.engine.library import Library
from noetl.engine.order import Order
from noetl.engine.places import LocalPlaces, Places
from noetl.engine.pool import LocalPools
from noetl.engine.remote import ClusterPlaces, Remote
from noetl.node.artifacts import artifacts_root, open_artifacts
from noetl.node.children import SubPlaybooks
from noetl.node.parts import Parts
from noetl.node.place import directory_id
from noetl.settings import VaultSettings
from noetl.store.store import Store
from noetl.tools.tool import Resources
from noetl.vault.vaults.layered import LayeredVault
from noetl.vault.vaults.sealed import SealedVault


def _readable(settings: VaultSettings) -> list[str]:
    """The variables that credentials may be read from: never the one that holds the vault's key."""
    return [name for name in settings.env_allow if name != settings.key_env]


async def _no_secrets(clock: Clock, _: Resources) -> Fetched:
    """What executions will have fetched: let go of when they end."""
    return Fetched(clock)


class Toolbox(AsyncActor[Any]):
    """Sessions, pools of connections, processes."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def init(self, ctx: Context[Any]) -> None:
        parts, store = self._parts, self._parts.store
        assert store is not None
        root = artifacts_root(parts.profile, parts.settings, parts.directory)
        resources = parts.resources = parts.resources or Resources(parts.settings, parts.directory / "run", root)
        parts.artifacts = open_artifacts(parts.profile, parts.settings, parts.directory, resources.run_blocking)
        cache = ValueCache(parts.artifacts, store.log, parts.secrets.open_leaf)
        is_node = parts.serving is not None
        library = Library(store.catalog, tuple(Path(root) for root in parts.settings.playbook_path), catalog_first=is_node)
        parts.sealed = SealedVault(store.credentials, parts.keys, parts.clock)
        caller, claims = await _caller(parts, store, resources, cache, library), Claims()
        places = _places(parts, ctx.registry, caller, claims, cache, library)
        if parts.bus is not None:
            children = SubPlaybooks(library, parts.ids)
            parts.airport = Airport(
                node=parts.owner.node,
                directory=directory_id(parts.directory),
                bus=parts.bus,
                store=store,
                library=library,
                cache=cache,
                secrets=parts.secrets,
                caller=caller,
                children=children,
                vicinity=parts.vicinity,
                flights=parts.flights,
            )
        parts.engine = Engine(
            node=parts.owner.node,
            store=store,
            cache=cache,
            secrets=parts.secrets,
            places=places,
            claims=claims,
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
        if self._parts.artifacts is not None:
            artifacts, self._parts.artifacts = self._parts.artifacts, None
            await artifacts.close()


async def _caller(parts: Parts, store: Store, resources: Resources, cache: ValueCache, library: Library) -> Caller:
    assert parts.run_log is not None
    assert parts.sealed is not None
    vault = LayeredVault(parts.vault, parts.sealed)
    return Caller(
        resources=resources,
        cache=cache,
        credentials=Credentials(vault, parts.secrets, parts.environment, _readable(parts.settings.vault)),
        fetched=await resources.get("fetched", partial(_no_secrets, parts.clock)),
        secrets=parts.secrets,
        settings=parts.settings,
        clock=parts.clock,
        base_dirs=_base_dirs(library),
        log=parts.run_log.write,
    )


def _base_dirs(library: Library) -> Callable[[Order], tuple[Path, ...]]:
    """Where the files lie that a playbook names."""

    @functools.cache
    def of_net(net: str) -> tuple[Path, ...]:
        return tuple(dict.fromkeys(path for path in (Path.cwd(), library.folder_of(net), *library.roots) if path is not None))

    return lambda order: of_net(order.net)


def _places(parts: Parts, registry: Registry, caller: Caller, claims: Claims, cache: ValueCache, library: Library) -> Places:
    serves = {name: frozenset(pool.tools) for name, pool in parts.profile.pools.items()}
    here = LocalPlaces(LocalPools(registry, serves, parts.gauges), caller, SubPlaybooks(library, parts.ids))
    if parts.bus is None:
        return here
    return ClusterPlaces(here, Remote(parts.bus, claims, parts.vicinity, cache, parts.secrets, parts.settings.cluster.return_s))
