"""How a node serves the API: what the handlers are given of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from noetl.actors.observer import Observer
from noetl.actors.ref import Ref
from noetl.cluster.capacity import workers
from noetl.engine import exchange
from noetl.engine.adoption import Adoption
from noetl.engine.client import NodeInfo, PoolView
from noetl.engine.exchange import Busy, HowBusy
from noetl.engine.feed import Feed
from noetl.engine.homes import CommonHomes, Homes, PrivateHome
from noetl.engine.local import LocalClient
from noetl.engine.pool import HowIs, pool_name
from noetl.engine.service import Service
from noetl.engine.shard import SHARD
from noetl.errors import CallError
from noetl.gateway.tokens import Doorkeeper
from noetl.node.about import node_info
from noetl.node.parts import Parts
from noetl.store.members import Member

if TYPE_CHECKING:
    from noetl.actors.loop import Runtime
    from noetl.api.deps import Deps
    from noetl.api.server import ApiServer

_ASK_S = 5.0
_BUSY_S = 1.0


def api_server(parts: Parts) -> ApiServer:
    from noetl.api.server import ApiServer  # noqa: PLC0415  aiohttp is slow to import, and `noetl run` has no API

    serving = parts.serving
    assert serving is not None

    def listening(url: str, port: int) -> None:
        serving.url, serving.port = url, port  # when it is started again it is found at the same place

    return ApiServer(serving.host, serving.port, lambda: _deps(parts), listening)


def local_client(parts: Parts, runtime: Runtime) -> LocalClient:
    """Raises `ActorDead` before the tree has started."""
    assert parts.engine is not None
    return LocalClient(parts.engine, _homes(parts, runtime), parts.ids, parts.environment)


def _homes(parts: Parts, runtime: Runtime) -> Homes:
    if parts.lease is not None:
        return PrivateHome(runtime.registry.whereis(SHARD), parts.lease)
    return CommonHomes(runtime.registry, parts.known_bus())


def adoption(parts: Parts, runtime: Runtime) -> Adoption | None:
    """None in a cluster: there shards are taken over, not executions."""
    if parts.lease is None:
        return None
    assert parts.engine is not None
    return Adoption(parts.engine, runtime.registry.whereis(SHARD), parts.lease)


async def pool_views(parts: Parts, runtime: Runtime) -> list[PoolView]:
    """Those of this node; in a cluster those of all nodes."""
    if parts.profile.is_member:
        found = await asyncio.gather(*(_pools_of(member, parts) for member in workers(parts.vicinity.members)))
        return [view for views in found for view in views]
    views: list[PoolView] = []
    for name, profile in parts.profile.pools.items():
        pool: Ref[HowIs] = runtime.registry.whereis(pool_name(name))
        status = await pool.ask(HowIs, _ASK_S)
        views.append(
            PoolView(name=name, node=parts.owner.node, slots=status.slots, free=status.free, waiting=status.waiting, tools=tuple(profile.tools))
        )
    return views


async def _pools_of(member: Member, parts: Parts) -> list[PoolView]:
    """Of a node that does not say so, none is free. Calls wait with the owners of their executions: shown are those of this node."""
    try:
        busy = await exchange.node(member.node.id, parts.known_bus()).ask(HowBusy(), Busy, _BUSY_S)
    except CallError:
        busy = Busy({})
    return [
        PoolView(name=name, node=member.node.id, slots=pool.slots, free=busy.free.get(name, 0), waiting=parts.queued.get(name, 0), tools=pool.tools)
        for name, pool in member.node.pools.items()
    ]


def _nodes(parts: Parts) -> tuple[NodeInfo, ...]:
    if not parts.profile.is_member:
        return (node_info(parts),)
    owned = Counter(row.owner for row in parts.vicinity.cluster.shards)
    return tuple(_info(member, owned[member.incarnation]) for member in parts.vicinity.members)


async def _drain(node: str, parts: Parts) -> bool:
    """Let a node end, as SIGTERM does. False: there is none of that name."""
    serving, store = parts.serving, parts.store
    assert serving is not None
    assert store is not None
    if parts.profile.is_member:
        return await store.members.drain(node)
    if node == parts.owner.node:
        serving.told.set()
    return node == parts.owner.node


def _info(member: Member, shards: int) -> NodeInfo:
    row = member.node
    return NodeInfo(
        node=row.id,
        profile=row.profile,
        pid=row.pid,
        host=row.host,
        started_at=row.started_at,
        version=row.version,
        url=row.url,
        draining=member.draining,
        alive=member.is_alive,
        pools={name: pool.slots for name, pool in row.pools.items()},
        shards=shards,
        capabilities=row.capabilities,
        format=row.format,
    )


def _deps(parts: Parts) -> Deps:
    from noetl.api.deps import Deps  # noqa: PLC0415  as above

    serving, engine, store, sealed, artifacts = parts.serving, parts.engine, parts.store, parts.sealed, parts.artifacts
    assert serving is not None
    assert artifacts is not None
    assert engine is not None
    assert store is not None
    assert sealed is not None
    runtime = serving.runtime
    assert runtime is not None
    return Deps(
        service=Service(engine, local_client(parts, runtime), Feed(store, parts.probe, parts.secrets)),
        settings=parts.settings.api,
        secrets=parts.secrets,
        tokens=store.tokens,
        audit=store.audit,
        now=parts.clock.now,
        node=lambda: node_info(parts),
        nodes=lambda: _nodes(parts),
        drain=lambda node: _drain(node, parts),
        pools=lambda: pool_views(parts, runtime),
        look=lambda wanted: Observer(runtime, parts.secrets.scrub).look(wanted),
        artifacts=artifacts,
        credentials=sealed,
        doorkeeper=Doorkeeper(store.tokens, parts.clock.now) if serving.asks_who else None,
    )
