"""The aiohttp application: from a request to a handler's call, and from what it gives to a response."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import ipaddress
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import msgspec
from aiohttp import web

from noetl.api.deps import Deps
from noetl.api.keys import DEPS, DOCUMENT
from noetl.api.openapi import document
from noetl.api.problem import Refusal, answer_to, problem
from noetl.api.route import Answer, Call, Route
from noetl.api.routes import catalog, credentials, executions, nodes, system, tokens
from noetl.errors import NoetlError
from noetl.gateway.principal import LOCAL, Principal

ROUTES: Final[tuple[Route, ...]] = (*system.ROUTES, *catalog.ROUTES, *executions.ROUTES, *credentials.ROUTES, *tokens.ROUTES, *nodes.ROUTES)

_log: Final = logging.getLogger("noetl.actors.api")
_COMPRESS_ABOVE: Final = 1_024
_JSON: Final = "application/json"
_encode = msgspec.json.Encoder(enc_hook=str).encode

Next = Callable[[web.Request], Awaitable[web.StreamResponse]]


def create_app(deps: Deps) -> web.Application:
    app = web.Application(middlewares=[_guarded], client_max_size=deps.settings.body_max_bytes, handler_args={"access_log": None})
    app[DEPS] = deps
    app[DOCUMENT] = msgspec.json.encode(document(ROUTES))
    app.cleanup_ctx.append(_service_closed)
    for route in ROUTES:
        app.router.add_route(route.method, re.sub(r"\{(\w+)\.\.\.\}", r"{\1:.+}", route.path), _dispatch(route, deps))
    return app


async def _service_closed(app: web.Application) -> AsyncIterator[None]:
    yield
    app[DEPS].service.close()


def _dispatch(route: Route, deps: Deps) -> Next:
    decode = None if route.body is None else msgspec.json.Decoder(route.body).decode
    known = frozenset() if route.body is None else frozenset(route.body.__struct_encode_fields__)

    gate = _Gate(deps.settings.requests_max) if route.body is not None and route.role != "viewer" else None

    async def dispatch(request: web.Request) -> web.StreamResponse:
        if gate is None:
            return await answered(request)
        if deps.node().draining:
            raise Refusal(503, "this node is draining: ask another, or come again", {"Retry-After": "5"})
        with gate:
            return await answered(request)

    async def answered(request: web.Request) -> web.StreamResponse:
        principal = await _principal(route, request, deps)
        service = deps.service.on_behalf_of(principal.name, principal.domains)
        call = Call(request, deps, principal, service, request.match_info)
        unknown: list[str] = []
        if route.query is not None:
            call.query = _query(route.query, request)
        if decode is not None:
            raw = await _read(request, deps.settings.read_timeout_s)
            try:
                call.body = decode(raw)
            except msgspec.DecodeError as error:
                raise Refusal(400, f"the body is not what it must be: {error}") from error
            unknown = [key for key in msgspec.json.decode(raw, type=dict[str, msgspec.Raw]) if key not in known]
        response = _response(await route.handler(call), request)
        for key in unknown[:8]:
            response.headers.add("Warning", f'299 - "unknown key {_ascii(key)} was ignored"')
        return response

    return dispatch


class _Gate:
    """So many requests of one route at a time, and not one more: they would only wait for each other."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._inside = 0

    def __enter__(self) -> None:
        if self._inside >= self._most:
            raise Refusal(429, f"{self._most} such requests are under way already", {"Retry-After": "1"})
        self._inside += 1

    def __exit__(self, *_: object) -> None:
        self._inside -= 1


async def _principal(route: Route, request: web.Request, deps: Deps) -> Principal:
    """Raises `NotAuthenticated`; `Refusal` when the role is too low."""
    if route.role is None or deps.doorkeeper is None:
        return LOCAL
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    principal = await deps.doorkeeper.principal(token.strip() if scheme.lower() == "bearer" else "")
    if not principal.has_role(route.role):
        raise Refusal(403, f"this needs the role {route.role}; the token's is {principal.role}")
    return principal


async def _read(request: web.Request, timeout_s: float) -> bytes:
    if request.can_read_body and request.content_type != _JSON:
        raise Refusal(415, f"the body must be {_JSON}, not {request.content_type}")
    try:
        async with asyncio.timeout(timeout_s):
            return await request.read()
    except TimeoutError:
        raise Refusal(408, f"the body did not come within {timeout_s:g} s", {"Connection": "close"}) from None


def _query(type_: type[Any], request: web.Request) -> Any:
    try:
        return msgspec.convert(dict(request.query), type_, strict=False)
    except msgspec.ValidationError as error:
        raise Refusal(400, f"the query is not what it must be: {error}") from error


def _response(given: Any, request: web.Request) -> web.StreamResponse:
    if isinstance(given, web.StreamResponse):
        return given
    answer = given if isinstance(given, Answer) else Answer(given)
    if answer.body is None:
        return web.Response(status=answer.status, headers=answer.headers)
    body = _encode(answer.body)
    response = web.Response(status=answer.status, body=body, content_type=_JSON, headers=answer.headers)
    if request.method in ("GET", "HEAD") and answer.status == 200:
        tag = hashlib.sha256(body).hexdigest()[:32]
        response.etag = tag
        if any(given_tag.value in (tag, "*") for given_tag in request.if_none_match or ()):
            return web.Response(status=304, headers={"ETag": response.headers["ETag"]})
    if len(body) > _COMPRESS_ABOVE:
        response.enable_compression()
    return response


@web.middleware
async def _guarded(request: web.Request, handler: Next) -> web.StreamResponse:
    """Errors become problem details. Browsers of other origins get nothing."""
    deps = request.app[DEPS]
    try:
        _check_origin(request, deps)
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        detail = "" if error.status not in (405, 413) else error.reason
        headers = {name: value for name, value in error.headers.items() if name == "Allow"}
        return problem(error.status, detail, headers=headers)
    except (NoetlError, Refusal) as error:
        return answer_to(error)
    except Exception:  # noqa: BLE001  whatever it is, the next request is answered
        _log.exception("%s %s failed", request.method, request.path)
        return problem(500, "this is a bug of NoETL: the node's log says more")


def _check_origin(request: web.Request, deps: Deps) -> None:
    """A node that asks nobody who he is answers only to who calls it by a name of this machine: no page of the web can get at it."""
    origin = request.headers.get("Origin")
    if origin is not None and origin.partition("://")[2] != request.host and origin not in deps.settings.origins:
        raise Refusal(403, "requests from pages of other origins are not answered; the setting api.origins names those that are")
    if deps.doorkeeper is None and not _is_local(request.host):
        raise Refusal(403, "this node has no login, so it answers only to names of this machine, such as localhost")


@functools.lru_cache(maxsize=256)
def _is_local(host: str) -> bool:
    name = host.rpartition(":")[0] if re.search(r":\d+$", host) else host
    name = name.strip("[]")
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")


def _ascii(text: str) -> str:
    return re.sub(r"[^\w.-]", "?", text[:64], flags=re.ASCII)
