"""Routes as data: what the server dispatches by, what the OpenAPI document is made from, and who may call what."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from noetl.api.deps import Deps
from noetl.engine.service import Service
from noetl.gateway.principal import Principal
from noetl.store.access import Role


@dataclass(slots=True)
class Call:
    """One request, decoded. `path` holds the variable parts of the address."""

    request: web.Request
    deps: Deps
    principal: Principal
    client: Service
    path: Mapping[str, str]
    query: Any = None
    body: Any = None


@dataclass(frozen=True, slots=True)
class Answer:
    """`body` is a Struct, or None for an answer without a body."""

    body: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


Handler = Callable[[Call], Awaitable[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """`path` as OpenAPI writes it; a part that ends with `...` takes slashes too. `role` is the least that may call it, None: anybody may.

    `answers` maps a status to the type of its body, or to several types; None: it has none. `media` are media types besides JSON that it may answer
    with.
    """

    method: str
    path: str
    handler: Handler
    role: Role | None
    summary: str
    answers: Mapping[int, Any]
    query: type[Any] | None = None
    body: type[Any] | None = None
    media: tuple[str, ...] = ()
    refusals: tuple[int, ...] = ()
    """Statuses of problems besides those that every route may answer with."""
