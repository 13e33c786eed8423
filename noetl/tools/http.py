"""http: call an address, give its status, headers and body.

    - {step: orders, tool: {kind: http, url: "{{ workload.api }}/orders", params: {page: 1}, auth: api_login}}
    - {step: create, tool: {kind: http, method: POST, url: "{{ workload.api }}/orders", json: {sku: A1}}}

A status from 400 is an error whose result is kept. POST, PUT, PATCH and DELETE carry an `Idempotency-Key`, the same for every retry of a call.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import os
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import aiohttp

from noetl.clock import Clock
from noetl.errors import ToolError, ToolRefused, ToolTimeout
from noetl.tools.http_reply import Reply, as_text, failure, joined, result
from noetl.tools.http_request import DEFAULT_TIMEOUT_S, Input, Request, Timeout, request_of
from noetl.tools.tool import Resources, ToolContext

__all__ = ["NAME", "Input", "ask", "get_text", "open_session", "run"]

NAME = "http"

MAX_CONNECTIONS: Final = 256
MAX_REDIRECTS: Final = 10
_CHUNK_BYTES: Final = 65_536
_MAX_HEADER_BYTES: Final = 65_536
_LARGE_BYTES: Final = 262_144
"""A body from this size is decoded on a thread."""
_EARLIER_S: Final = 0.05
"""By so much the call gives up before the engine would: only here is known what it was waiting for."""


class Progress:
    """How far a call has come, in words for its time-out, and since when."""

    __slots__ = ("_clock", "_started", "doing")

    def __init__(self, clock: Clock) -> None:
        self.doing = "connecting"
        self._clock = clock
        self._started = clock.monotonic()

    def elapsed_s(self) -> float:
        return self._clock.monotonic() - self._started


async def open_session(_: Resources) -> aiohttp.ClientSession:
    """The node's connections. Cookies are not kept: a session has many users."""
    trace = aiohttp.TraceConfig()
    trace.on_connection_create_start.append(_connecting)
    trace.on_connection_create_end.append(_waiting)
    trace.on_connection_reuseconn.append(_waiting)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=MAX_CONNECTIONS),
        cookie_jar=aiohttp.DummyCookieJar(),
        trace_configs=[trace],
        max_line_size=_MAX_HEADER_BYTES,
        max_field_size=_MAX_HEADER_BYTES,
    )


async def _connecting(_: aiohttp.ClientSession, trace: Any, __: object) -> None:
    trace.trace_request_ctx.doing = "connecting"


async def _waiting(_: aiohttp.ClientSession, trace: Any, __: object) -> None:
    trace.trace_request_ctx.doing = "waiting for the reply"


async def run(given: Input, ctx: ToolContext) -> dict[str, Any]:
    """`{status, status_code, headers, data, body, url, elapsed}`; with `encoding: base64` when the body is binary.

    Raises:
        ToolError: the kinds of HTTP statuses, with the result; `connection`, `timeout`, `limit`.
        ToolRefused: the call can't be made as written.
    """
    if len(ctx.credentials) > 1:
        raise ToolRefused("http takes one credential: 'auth' names several")
    request = request_of(given, ctx.credential(), ctx.call.id)
    reply = await _call(request, ctx)
    outcome = partial(_outcome, request, reply, ctx.clock.now())
    return await ctx.resources.run_blocking(outcome) if len(reply.raw) >= _LARGE_BYTES else outcome()


def _outcome(request: Request, reply: Reply, now: dt.datetime) -> dict[str, Any]:
    if reply.status >= 400:
        raise failure(str(request), reply, now)
    return result(reply)


async def ask(given: Input, ctx: ToolContext) -> Any:
    """The body of a successful answer, for the engine itself. Without an idempotency key: each call is a new one. Raises as `run` does."""
    request = request_of(given, None, None)
    reply = await _call(request, ctx)
    if reply.status >= 300:
        raise failure(str(request), reply, ctx.clock.now())
    return result(reply)["data"]


async def get_text(url: str, headers: Mapping[str, Any] | None, timeout: float | None, ctx: ToolContext) -> str:  # noqa: ASYNC109  the tool's own field
    """The text at an address, for scripts. Raises as `run` does; `client_error` when what is there is no text."""
    request = request_of(Input(url=url, headers=dict(headers or {}), timeout=timeout), None, ctx.call.id)
    reply = await _call(request, ctx)
    if reply.status >= 400:
        raise failure(str(request), reply, ctx.clock.now())
    text = as_text(reply)
    if text is None:
        raise ToolError(f"{request} gave no text but {reply.content_type or 'bytes'}", kind="client_error")
    return text


async def _call(request: Request, ctx: ToolContext) -> Reply:
    session = await ctx.resources.get(NAME, open_session)
    progress = Progress(ctx.clock)
    try:
        async with asyncio.timeout(_total_s(request, ctx.timeout_s)):
            return await _exchange(session, request, progress, ctx.resources.settings.values.result_max_bytes)
    except TimeoutError:
        raise ToolTimeout(
            f"{request}: timed out after {progress.elapsed_s():.3g} s, while {progress.doing}", extra={"phase": progress.doing}
        ) from None
    except (aiohttp.ClientError, OSError) as error:
        raise _unreachable(str(request), error) from None  # its text may show the whole address


def _total_s(request: Request, task_s: float | None) -> float | None:
    if isinstance(request.timeout, Timeout):
        return None
    if request.timeout is not None:
        return request.timeout
    return DEFAULT_TIMEOUT_S if task_s is None else task_s - min(_EARLIER_S, task_s / 10)


async def _exchange(session: aiohttp.ClientSession, request: Request, progress: Progress, max_bytes: int) -> Reply:
    bounds = request.timeout if isinstance(request.timeout, Timeout) else Timeout()
    async with session.request(
        request.method,
        request.url,
        headers=request.headers,
        data=request.body,
        allow_redirects=request.follow_redirects,
        max_redirects=MAX_REDIRECTS,
        ssl=request.verify_ssl,
        timeout=aiohttp.ClientTimeout(total=None, connect=bounds.connect, sock_read=bounds.read),
        middlewares=(_prove(request),),
        trace_request_ctx=progress,
    ) as response:
        progress.doing = "reading the reply"
        raw = await _read(response, str(request), max_bytes)
        return Reply(
            status=response.status,
            reason=response.reason or "",
            headers=joined(response.headers.items()),
            content_type=response.content_type.lower() if "Content-Type" in response.headers else "",
            charset=response.charset,
            raw=raw,
            url=str(response.url),
            elapsed_s=progress.elapsed_s(),
        )


def _prove(request: Request) -> aiohttp.ClientMiddlewareType:
    """Adds the credential's header where the call goes, and on no redirect to somewhere else."""
    origin = request.url.origin()

    async def prove(sent: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        if request.proof is not None and sent.url.origin() == origin:
            name, value = request.proof
            sent.headers[name] = value
        return await send(sent)

    return prove


async def _read(response: aiohttp.ClientResponse, asked: str, max_bytes: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
        size += len(chunk)  # after decompression
        if size > max_bytes:
            raise ToolError(f"{asked}: the reply has more than {max_bytes:,} bytes: ask for less, or load it with a tool that streams", kind="limit")
        chunks.append(chunk)
    return b"".join(chunks)


def _unreachable(asked: str, error: aiohttp.ClientError | OSError) -> ToolError:
    """No answer, or none that is HTTP. Only what is wrong is said: the driver's own texts may hold addresses and headers."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return ToolError(f"{asked}: the server's certificate is not trusted; 'verify_ssl: false' skips the check", kind="connection")
        case aiohttp.ClientConnectorSSLError():
            return ToolError(f"{asked}: no secure connection could be made", kind="connection")
        case aiohttp.TooManyRedirects():
            return ToolError(f"{asked}: more than {MAX_REDIRECTS} redirects", kind="connection")
        case aiohttp.RedirectClientError():
            return ToolError(f"{asked}: redirected to an address that can't be called", kind="connection")
        case aiohttp.ClientConnectorDNSError():
            reason = "the host's name can't be resolved"
        case aiohttp.ClientPayloadError():
            reason = "the connection ended in the middle of the reply"
        case aiohttp.ServerDisconnectedError():
            reason = "the server closed the connection without a reply"
        case aiohttp.ClientResponseError():
            reason = "the reply is not HTTP"
        case OSError() if error.errno is not None and error.errno > 0:
            reason = os.strerror(error.errno).lower()
        case _:
            reason = f"the connection failed ({type(error).__name__})"
    return ToolError(f"{asked}: {reason}", kind="connection", retryable=True)
