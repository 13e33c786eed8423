"""The node's connections for HTTP: they end at addresses that may be called, and nowhere else."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Sequence
from typing import Any, Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from noetl.errors import ToolRefused
from noetl.tools.http_request import Request
from noetl.tools.outbound import Outbound, is_for, literal
from noetl.tools.tool import Resources

MAX_CONNECTIONS: Final = 256
_MAX_HEADER_BYTES: Final = 65_536
_SECRET_HEADER: Final = re.compile(r"token|key|secret|passw|pwd|sig|auth|cred|session|cookie|jwt", re.IGNORECASE)
_NO_SECRET: Final = frozenset({"idempotency-key"})


class Connections:
    """`outbound` says whom the session may call."""

    def __init__(self, session: aiohttp.ClientSession, outbound: Outbound) -> None:
        self.session = session
        self.outbound = outbound

    async def close(self) -> None:
        await self.session.close()


class GuardedResolver(AbstractResolver):
    """Finds only addresses that may be called. The connector connects to what is found here, and asks nobody again."""

    def __init__(self, outbound: Outbound) -> None:
        self._outbound = outbound
        self._inner = aiohttp.ThreadedResolver()

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        """Raises `ToolRefused`."""
        found = await self._inner.resolve(host, port, family)
        allowed = set(self._outbound.allowed(host, [_address(result) for result in found]))
        return [result for result in found if _address(result) in allowed]

    async def close(self) -> None:
        await self._inner.close()


def _address(result: ResolveResult) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return ipaddress.ip_address(result["host"])


async def open_connections(resources: Resources) -> Connections:
    """Cookies are not kept: a session has many users."""
    trace = aiohttp.TraceConfig()
    trace.on_connection_create_start.append(_connecting)
    trace.on_connection_create_end.append(_waiting)
    trace.on_connection_reuseconn.append(_waiting)
    outbound = Outbound(resources.settings.http.allow)
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=MAX_CONNECTIONS, resolver=GuardedResolver(outbound)),
        cookie_jar=aiohttp.DummyCookieJar(),
        trace_configs=[trace],
        max_line_size=_MAX_HEADER_BYTES,
        max_field_size=_MAX_HEADER_BYTES,
    )
    return Connections(session, outbound)


async def _connecting(_: aiohttp.ClientSession, trace: Any, __: object) -> None:
    trace.trace_request_ctx.doing = "connecting"


async def _waiting(_: aiohttp.ClientSession, trace: Any, __: object) -> None:
    trace.trace_request_ctx.doing = "waiting for the reply"


def guard(request: Request, outbound: Outbound, hosts: Sequence[Sequence[str]]) -> aiohttp.ClientMiddlewareType:
    """Looks at every hop of a call: the first request, and each redirect.

    A host that is an address is checked here, since nobody resolves it. The credential's header is added where the call goes, and on no redirect to
    somewhere else; there the author's own headers that are named like secrets are left out, too. `hosts`: see `ToolContext.hosts`.
    """
    origin = request.url.origin()

    async def look(sent: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        _check(str(request), sent.url.host or "", outbound, hosts)
        if sent.url.origin() != origin:
            for name in [name for name in sent.headers if _SECRET_HEADER.search(name) and name.lower() not in _NO_SECRET]:
                sent.headers.popall(name, None)
        elif request.proof is not None:
            name, value = request.proof
            sent.headers[name] = value
        return await send(sent)

    return look


def _check(asked: str, host: str, outbound: Outbound, hosts: Sequence[Sequence[str]]) -> None:
    """Raises `ToolRefused`, kind `refused`."""
    for only in hosts:
        if not is_for(host, only):
            raise ToolRefused(f"{asked}: a credential of this call is for {', '.join(only)} only, and {host} is none of them", kind="refused")
    address = literal(host)
    if address is not None:
        outbound.allowed(host, [address])
