"""How a node serves the API: what the handlers are given of it."""

from __future__ import annotations

import datetime as dt
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from noetl import __version__
from noetl.actors.observer import Observer
from noetl.actors.ref import Ref
from noetl.engine.client import NodeInfo, PoolView
from noetl.engine.feed import Feed
from noetl.engine.local import LocalClient
from noetl.engine.pool import HowIs, pool_name
from noetl.engine.service import Service
from noetl.engine.shard import SHARD
from noetl.gateway.tokens import Doorkeeper

if TYPE_CHECKING:
    from noetl.actors.loop import Runtime
    from noetl.api.deps import Deps
    from noetl.api.server import ApiServer
    from noetl.node.tree import Parts

_ASK_S = 5.0


@dataclass(slots=True)
class Serving:
    """`url` is there when it listens. `asks_who`: callers must have a token. `runtime` is set before the tree starts."""

    host: str
    port: int
    asks_who: bool
    started_at: dt.datetime
    runtime: Runtime | None = None
    url: str | None = None
    draining: bool = False


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
    assert parts.lease is not None
    return LocalClient(parts.engine, runtime.registry.whereis(SHARD), parts.lease, parts.ids, parts.environment)


def node_info(parts: Parts) -> NodeInfo:
    serving = parts.serving
    assert serving is not None
    return NodeInfo(
        node=parts.owner.node,
        profile=parts.profile.name,
        pid=os.getpid(),
        host=parts.owner.host,
        started_at=serving.started_at,
        version=__version__,
        url=serving.url,
        draining=serving.draining,
    )


async def pool_views(parts: Parts, runtime: Runtime) -> list[PoolView]:
    views: list[PoolView] = []
    for name, profile in parts.profile.pools.items():
        pool: Ref[HowIs] = runtime.registry.whereis(pool_name(name))
        status = await pool.ask(HowIs, _ASK_S)
        views.append(
            PoolView(name=name, node=parts.owner.node, slots=status.slots, free=status.free, waiting=status.waiting, tools=tuple(profile.tools))
        )
    return views


def _deps(parts: Parts) -> Deps:
    from noetl.api.deps import Deps  # noqa: PLC0415  as above

    serving, engine, store, sealed = parts.serving, parts.engine, parts.store, parts.sealed
    assert serving is not None
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
        pools=lambda: pool_views(parts, runtime),
        look=lambda wanted: Observer(runtime, parts.secrets.scrub).look(wanted),
        artifacts=store.artifacts_dir,
        credentials=sealed,
        doorkeeper=Doorkeeper(store.tokens, parts.clock.now) if serving.asks_who else None,
    )
