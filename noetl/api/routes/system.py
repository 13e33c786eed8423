"""Whether the node is there, what it is, and how it does."""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web
from msgspec import Struct

from noetl import __version__
from noetl.api.keys import DOCUMENT
from noetl.api.metrics import exposition
from noetl.api.route import Answer, Call, Route


class Health(Struct, frozen=True):
    status: str


class Version(Struct, frozen=True):
    version: str


async def health(call: Call) -> Any:
    return Health("ok")


async def ready(call: Call) -> Any:
    """Not while it drains: who spreads requests over nodes goes elsewhere."""
    return Answer(Health("draining"), status=503, headers={"Retry-After": "5"}) if call.deps.node().draining else Health("ready")


async def version(call: Call) -> Any:
    return Version(__version__)


async def openapi(call: Call) -> Any:
    return web.Response(body=call.request.app[DOCUMENT], content_type="application/json")


async def metrics(call: Call) -> Any:
    return web.Response(body=await exposition(call.deps), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


ROUTES: Final = (
    Route(method="GET", path="/health", handler=health, role=None, summary="Whether the node is there", answers={200: Health}),
    Route(method="GET", path="/ready", handler=ready, role=None, summary="Whether it takes requests", answers={200: Health, 503: Health}),
    Route(method="GET", path="/api/version", handler=version, role=None, summary="The version of NoETL", answers={200: Version}),
    Route(method="GET", path="/api/openapi.json", handler=openapi, role=None, summary="This document", answers={200: dict[str, Any]}),
    Route(
        method="GET", path="/metrics", handler=metrics, role="viewer", summary="Figures for Prometheus", answers={200: None}, media=("text/plain",)
    ),
)
