"""What a node says of itself: to the other nodes, and to people."""

from __future__ import annotations

import os

from noetl import __version__
from noetl.engine.client import NodeInfo
from noetl.engine.evolve import FORMAT
from noetl.node.parts import Parts
from noetl.node.place import directory_id
from noetl.node.profile import slots_of
from noetl.store.members import NodeRow, PoolRow


def node_row(parts: Parts) -> NodeRow:
    profile, info = parts.profile, node_info(parts)
    return NodeRow(
        id=info.node,
        profile=profile.name,
        roles=profile.roles,
        host=info.host,
        pid=info.pid,
        version=__version__,
        format=info.format,
        started_at=info.started_at,
        url=info.url,
        directory=directory_id(parts.directory),
        pools={name: PoolRow(slots_of(pool), pool.tools, rank) for rank, (name, pool) in enumerate(profile.pools.items())},
        capabilities=profile.capabilities,
    )


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
        url=serving.url or _will_listen_at(parts),
        draining=serving.draining,
        pools={name: slots_of(pool) for name, pool in parts.profile.pools.items()},
        capabilities=parts.profile.capabilities,
        format=FORMAT,
    )


def _will_listen_at(parts: Parts) -> str | None:
    """Where the API will be found, once it has started; None: nowhere, or nobody knows yet."""
    serving = parts.serving
    if serving is None or not serving.port or "api" not in parts.profile.roles:
        return None
    return f"http://{serving.host}:{serving.port}"
