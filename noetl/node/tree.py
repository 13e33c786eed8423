"""What a node runs, in start order, as data. Building it starts nothing."""

from __future__ import annotations

from functools import partial

from noetl.cluster.membership import Membership
from noetl.engine.auditor import Auditor
from noetl.engine.dispatcher import Dispatcher
from noetl.engine.pool import Pool
from noetl.engine.publisher import Publisher
from noetl.engine.raiser import Raiser
from noetl.engine.shard import Shard
from noetl.engine.shards import Shards
from noetl.engine.worker import Desk, Taker
from noetl.node.about import node_row
from noetl.node.keepers import LeaseKeeper, StoreKeeper
from noetl.node.parts import Parts
from noetl.node.profile import slots_of
from noetl.node.serving import api_server
from noetl.node.toolbox import Toolbox
from noetl.supervisors.spec import Backoff, ChildSpec, SupervisorSpec

Children = tuple[ChildSpec | SupervisorSpec, ...]


def tree(parts: Parts, *more: ChildSpec | SupervisorSpec) -> SupervisorSpec:
    """The node's supervision tree: a branch leans on those before it, so the loss of one restarts those behind it. `more` come last: their loss
    restarts nobody."""
    branches: dict[str, Children] = {
        "store": (ChildSpec(id="store", start=partial(StoreKeeper, parts), shutdown_s=60.0, backoff=Backoff(initial_s=0.5, max_s=10.0)),),
        "cluster": (ChildSpec(id="cluster", start=partial(_membership, parts), shutdown_s=10.0, backoff=Backoff(initial_s=0.2, max_s=5.0)),),
        "tools": (ChildSpec(id="tools", start=partial(Toolbox, parts), shutdown_s=15.0),),
        "pools": (SupervisorSpec(id="pools", children=tuple(_pool(name, parts) for name in parts.profile.pools)),),
        "shard": (
            ChildSpec(id="lease", start=partial(LeaseKeeper, parts)),
            ChildSpec(id="shard", start=partial(_shard, parts), shutdown_s=parts.profile.drain_s + 20.0),
        ),
        "shards": (
            ChildSpec(id="dispatcher", start=partial(_dispatcher, parts)),
            ChildSpec(id="auditor", start=partial(_auditor, parts)),
            ChildSpec(id="formats", start=partial(_raiser, parts)),
            ChildSpec(id="shards", start=partial(_shards, parts), shutdown_s=parts.profile.drain_s + 20.0),
        ),
        "events": (ChildSpec(id="events", start=partial(_publisher, parts)),) if parts.settings.cluster.events else (),
        "steps": (SupervisorSpec(id="steps", children=(*(_taker(name, parts) for name in parts.profile.pools), _desk(parts))),),
    }
    if parts.serving is not None:
        branches["api"] = (ChildSpec(id="api", start=partial(api_server, parts), shutdown_s=10.0, backoff=Backoff(initial_s=0.2, max_s=5.0)),)
    children = tuple(child for role in parts.profile.roles for child in branches.get(role, ()))
    return SupervisorSpec(id=parts.profile.name, strategy="rest_for_one", intensity=5, period_s=30.0, children=(*children, *more))


def _pool(name: str, parts: Parts) -> ChildSpec:
    return ChildSpec(id=name, start=partial(Pool, name, slots_of(parts.profile.pools[name]), parts.gauges[name]))


def _publisher(parts: Parts) -> Publisher:
    assert parts.store is not None
    return Publisher(parts.store.log, parts.store.positions, parts.known_bus(), parts.vicinity, parts.secrets)


def _taker(name: str, parts: Parts) -> ChildSpec:
    return ChildSpec(id=f"taker-{name}", start=partial(_new_taker, name, parts), shutdown_s=parts.profile.drain_s + 10.0)


def _new_taker(name: str, parts: Parts) -> Taker:
    assert parts.airport is not None
    return Taker(name, slots_of(parts.profile.pools[name]), parts.gauges[name], parts.airport)


def _desk(parts: Parts) -> ChildSpec:
    return ChildSpec(id="desk", start=partial(_new_desk, parts))


def _new_desk(parts: Parts) -> Desk:
    assert parts.airport is not None
    assert parts.resources is not None
    return Desk(parts.airport, parts.resources, parts.gauges)


def _membership(parts: Parts) -> Membership:
    assert parts.store is not None
    return Membership(parts.store.members, partial(node_row, parts), parts.vicinity, parts.settings.cluster.lease_s)


def _shard(parts: Parts) -> Shard:
    assert parts.engine is not None
    assert parts.lease is not None
    return Shard(parts.engine, parts.lease)


def _dispatcher(parts: Parts) -> Dispatcher:
    return Dispatcher(parts.known_bus(), parts.vicinity, parts.queued)


def _auditor(parts: Parts) -> Auditor:
    assert parts.engine is not None
    return Auditor(parts.engine.claims, parts.known_bus(), parts.vicinity)


def _raiser(parts: Parts) -> Raiser:
    assert parts.store is not None
    return Raiser(parts.store.members, parts.vicinity)


def _shards(parts: Parts) -> Shards:
    assert parts.engine is not None
    return Shards(parts.engine, parts.known_bus(), parts.vicinity)
