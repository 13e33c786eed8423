"""Figures of the node in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Iterator

from noetl.actors.snapshot import RuntimeView, Wanted
from noetl.api.deps import Deps
from noetl.engine.client import PoolView

Sample = tuple[dict[str, str], float]


async def exposition(deps: Deps) -> bytes:
    view = await deps.look(Wanted(limit=1, depth=0))
    lines = [line for name, kind, about, samples in _families(view, await deps.pools()) for line in _family(name, kind, about, samples)]
    return ("\n".join(lines) + "\n").encode()


def _families(view: RuntimeView, pools: list[PoolView]) -> Iterator[tuple[str, str, str, list[Sample]]]:
    yield "noetl_actors", "gauge", "Actors that live.", [({}, view.actors)]
    yield "noetl_actor_messages_total", "counter", "Messages that actors have handled.", [({}, view.reductions)]
    yield "noetl_loop_lag_seconds", "gauge", "How late the event loop was in the last second, at worst.", [({}, view.lag_s or 0.0)]
    yield "noetl_pool_slots", "gauge", "Slots of a pool.", [({"node": pool.node, "pool": pool.name}, pool.slots) for pool in pools]
    yield "noetl_pool_free", "gauge", "Slots that are free.", [({"node": pool.node, "pool": pool.name}, pool.free) for pool in pools]
    yield "noetl_pool_waiting", "gauge", "Calls that wait for a slot.", [({"node": pool.node, "pool": pool.name}, pool.waiting) for pool in pools]


def _family(name: str, kind: str, about: str, samples: list[Sample]) -> Iterator[str]:
    yield f"# HELP {name} {about}"
    yield f"# TYPE {name} {kind}"
    for labels, value in samples:
        marks = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        yield f"{name}{'{' + marks + '}' if marks else ''} {value:g}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
