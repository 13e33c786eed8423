"""What runs: nodes, pools, actors; and the bytes of large values."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final

from aiohttp import web
from msgspec import Meta, Struct

from noetl.actors.snapshot import RuntimeView, Wanted
from noetl.api.problem import Refusal
from noetl.api.route import Answer, Call, Route
from noetl.api.routes.audit import note
from noetl.blobs import blob_path
from noetl.engine.client import Draining, NodeList, PoolList
from noetl.errors import NotFound

_ARTIFACT_S: Final = 10.0
"""How long somebody waits for one that lies on no disk of this machine."""


class ActorQuery(Struct, frozen=True, kw_only=True):
    """`path` is where to begin; `depth` how deep to go; `limit` how many at most."""

    limit: Annotated[int, Meta(ge=1, le=10_000)] = 1000


async def pools(call: Call) -> Any:
    return PoolList(entries=tuple(await call.deps.pools()))


async def nodes(call: Call) -> Any:
    return NodeList(entries=call.deps.nodes())


async def drain(call: Call) -> Any:
    """It ends as on SIGTERM: nothing new starts there, what runs may finish, and in a cluster others take over what it had."""
    node = call.path["node"]
    if not await call.deps.drain(node):
        raise Refusal(404, f"there is no node '{node}'")
    await note(call, "node.drain", node, "done")
    return Answer(Draining(node), status=202)


async def actors(call: Call) -> Any:
    if call.principal.domains is not None:
        raise Refusal(403, "the tree of actors shows executions of all domains: the token is for some")
    return await call.deps.look(Wanted(limit=call.query.limit))


async def artifact(call: Call) -> Any:
    """The bytes as they lie there: secrets in them are sealed. A hash says nothing of a domain, so it is for who may see all of them."""
    digest = call.path["hash"]
    if call.principal.domains is not None:
        raise Refusal(403, "artifacts are of all domains: the token is for some")
    try:
        async with asyncio.timeout(_ARTIFACT_S):
            await call.deps.artifacts.get(digest)
    except NotFound:
        raise Refusal(404, "there is no such artifact") from None
    except TimeoutError:
        raise Refusal(503, "the store of artifacts can't be reached now", {"Retry-After": f"{_ARTIFACT_S:.0f}"}) from None
    file = blob_path(call.deps.artifacts.root, digest)
    return web.FileResponse(file, headers={"Content-Type": "application/octet-stream", "ETag": f'"{digest}"', "Cache-Control": "immutable"})


ROUTES: Final = (
    Route(
        method="GET",
        path="/api/worker/pools",
        handler=pools,
        role="viewer",
        summary="The pools, with their slots and queues",
        answers={200: PoolList},
    ),
    Route(method="GET", path="/api/nodes", handler=nodes, role="viewer", summary="The nodes", answers={200: NodeList}),
    Route(
        method="POST",
        path="/api/nodes/{node}/drain",
        handler=drain,
        role="admin",
        summary="Let a node end: nothing new starts there, what runs may finish",
        answers={202: Draining},
        refusals=(404,),
    ),
    Route(
        method="GET",
        path="/api/actors",
        handler=actors,
        role="viewer",
        summary="The live supervision tree of this node",
        query=ActorQuery,
        answers={200: RuntimeView},
    ),
    Route(
        method="GET",
        path="/api/artifacts/{hash}",
        handler=artifact,
        role="viewer",
        summary="The bytes of a large value",
        answers={200: None, 206: None, 304: None},
        media=("application/octet-stream",),
        refusals=(404, 416, 503),
    ),
)
