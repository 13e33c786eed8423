"""Executions: start, look at, watch, cancel."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

import msgspec
from aiohttp import WSMsgType, web
from msgspec import Meta, Struct

from noetl.api.problem import Refusal
from noetl.api.route import Answer, Call, Route
from noetl.engine.client import (
    Accepted,
    Cancelled,
    CancelRequest,
    EventList,
    EventView,
    ExecuteRequest,
    ExecutionContext,
    ExecutionFilter,
    ExecutionList,
    ExecutionReport,
    IdText,
    Rendered,
    RenderRequest,
)
from noetl.engine.effects import ENDED

SSE: Final = "text/event-stream"
_encode = msgspec.json.Encoder(enc_hook=str).encode


class Wait(Struct, frozen=True, kw_only=True):
    """`wait`: answer when it has ended, at most after so many seconds."""

    wait: Annotated[float, Meta(ge=0, le=3600)] | None = None


class EventPage(Struct, frozen=True, kw_only=True):
    after: Annotated[int, Meta(ge=0)] = 0
    limit: Annotated[int, Meta(ge=1, le=10_000)] = 1000


class EventsOf(EventPage, frozen=True, kw_only=True):
    execution_id: IdText


async def execute(call: Call) -> Any:
    wanted: ExecuteRequest = call.body
    key = call.request.headers.get("Idempotency-Key")
    if key is not None:
        if wanted.idempotency_key not in (None, key):
            raise Refusal(400, "the header Idempotency-Key and the field idempotency_key differ")
        wanted = msgspec.structs.replace(wanted, idempotency_key=key)
    accepted = await call.client.execute(wanted)
    if call.query.wait is not None:
        report = await call.client.ended(accepted.execution_id, call.query.wait)
        if report.status in ENDED:
            return report
    return Answer(accepted, status=202, headers={"Location": f"/api/executions/{accepted.execution_id}"})


async def list_executions(call: Call) -> Any:
    return await call.client.executions(call.query)


async def show(call: Call) -> Any:
    return await call.client.execution(call.path["id"])


async def context(call: Call) -> Any:
    return await call.client.context(call.path["id"])


async def cancel(call: Call) -> Any:
    return Answer(await call.client.cancel(call.path["id"], call.body.reason or f"cancelled by {call.principal.name}"), status=202)


async def render(call: Call) -> Any:
    return await call.client.render(call.body)


async def list_events(call: Call) -> Any:
    return await _events(call, call.query.execution_id)


async def events(call: Call) -> Any:
    return await _events(call, call.path["id"])


async def _events(call: Call, execution_id: str) -> Any:
    request = call.request
    if request.headers.get("Upgrade", "").lower() == "websocket":
        return await _over_websocket(call, execution_id)
    if SSE in request.headers.get("Accept", ""):
        return await _as_stream(call, execution_id)
    return await call.client.events(execution_id, after=call.query.after, limit=call.query.limit)


def _after(call: Call) -> int:
    last = call.request.headers.get("Last-Event-ID", "")
    return int(last) if last.isascii() and last.isdigit() else int(call.query.after)


async def _as_stream(call: Call, execution_id: str) -> web.StreamResponse:
    """Server-sent events, each with its number as `id`; at the end one called `end`."""
    found = call.client.ticking(execution_id, after=_after(call))
    first = await anext(found, None)  # raises what must be an answer of its own, before the stream begins
    response = web.StreamResponse(headers={"Content-Type": SSE, "Cache-Control": "no-store", "X-Accel-Buffering": "no"})
    await response.prepare(call.request)
    with contextlib.suppress(ConnectionResetError):  # the reader has gone away
        if first is not None:
            await response.write(_frame(first))
        async for view in found:
            await response.write(b": \n\n" if view is None else _frame(view))
        await response.write(b"event: end\ndata: {}\n\n")
        await response.write_eof()
    return response


def _frame(view: EventView) -> bytes:
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (view.seq, view.name.encode(), _encode(view))


async def _over_websocket(call: Call, execution_id: str) -> web.StreamResponse:
    """Each event as a text message; the server closes at the end."""
    found = call.client.ticking(execution_id, after=_after(call))
    first = await anext(found, None)
    socket = web.WebSocketResponse(heartbeat=30.0)
    await socket.prepare(call.request)
    async with asyncio.TaskGroup() as tasks:
        listening = tasks.create_task(_until_closed(socket))
        sending = tasks.create_task(_send(socket, first, found))
        sending.add_done_callback(lambda _: listening.cancel())
        listening.add_done_callback(lambda _: sending.cancel())
    return socket


async def _until_closed(socket: web.WebSocketResponse) -> None:
    async for message in socket:
        if message.type is WSMsgType.ERROR:
            return


async def _send(socket: web.WebSocketResponse, first: EventView | None, found: AsyncIterator[EventView | None]) -> None:
    with contextlib.suppress(ConnectionResetError):
        if first is not None:
            await socket.send_str(_encode(first).decode())
        async for view in found:
            if view is not None:
                await socket.send_str(_encode(view).decode())
        await socket.close()


_EVENTS: Final = "Events: a list; with `Accept: text/event-stream`, or over a WebSocket, live from `Last-Event-ID` or `after` to the end"
_EXECUTE: Final = "Start an execution. With `wait` the answer comes at its end, as its report"
_STARTS: Final[dict[int, Any]] = {202: Accepted, 200: ExecutionReport}


ROUTES: Final = (
    Route(
        method="POST",
        path="/api/execute",
        handler=execute,
        role="operator",
        summary=_EXECUTE,
        query=Wait,
        body=ExecuteRequest,
        answers=_STARTS,
        refusals=(404, 409, 422),
    ),
    Route(
        method="POST",
        path="/api/run/playbook",
        handler=execute,
        role="operator",
        summary=_EXECUTE,
        query=Wait,
        body=ExecuteRequest,
        answers=_STARTS,
        refusals=(404, 409, 422),
    ),
    Route(
        method="GET",
        path="/api/executions",
        handler=list_executions,
        role="viewer",
        summary="Executions without a parent, the newest first",
        query=ExecutionFilter,
        answers={200: ExecutionList},
    ),
    Route(
        method="GET",
        path="/api/executions/{id}",
        handler=show,
        role="viewer",
        summary="One execution: its steps, results and errors, and its children",
        answers={200: ExecutionReport},
        refusals=(404, 409),
    ),
    Route(
        method="POST",
        path="/api/executions/{id}/cancel",
        handler=cancel,
        role="operator",
        summary="Ask for the cancellation; it is in the store when this is answered",
        body=CancelRequest,
        answers={202: Cancelled},
        refusals=(404, 409),
    ),
    Route(
        method="GET",
        path="/api/executions/{id}/ctx",
        handler=context,
        role="viewer",
        summary="What the execution's templates can read",
        answers={200: ExecutionContext},
        refusals=(404, 409),
    ),
    Route(
        method="GET",
        path="/api/executions/{id}/events",
        handler=events,
        role="viewer",
        summary=_EVENTS,
        query=EventPage,
        answers={200: EventList},
        media=(SSE,),
        refusals=(404, 409),
    ),
    Route(
        method="GET",
        path="/api/events",
        handler=list_events,
        role="viewer",
        summary=_EVENTS,
        query=EventsOf,
        answers={200: EventList},
        media=(SSE,),
        refusals=(404, 409),
    ),
    Route(
        method="POST",
        path="/api/context/render",
        handler=render,
        role="viewer",
        summary="Render a template against the state of an execution",
        body=RenderRequest,
        answers={200: Rendered},
        refusals=(404, 409, 422),
    ),
)
