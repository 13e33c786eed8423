"""A server that answers by the contract of the API, as it is told to: it keeps no executions, it remembers what it was asked."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any

import msgspec
from aiohttp import web
from msgspec import Struct


class Asked(Struct):
    """One request as it arrived. `path` is as it was sent, `query` decoded."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


Answer = Callable[[web.Request], Coroutine[Any, Any, web.StreamResponse]]


class StandIn:
    """Runs on a thread of its own. Answers come from `answers`, in order; the last one goes on."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.answers: list[Answer] = []
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def __enter__(self) -> StandIn:
        self._thread.start()
        self._do(self._start())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._do(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def answer(self, *answers: Answer) -> None:
        self.answers[:] = answers

    @property
    def last(self) -> Asked:
        return self.asked[-1]

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _start(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{rest:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def _stop(self) -> None:
        await self._runner.cleanup()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        decoded = msgspec.json.decode(body) if body else None
        self.asked.append(Asked(request.method, request.raw_path.partition("?")[0], dict(request.query), headers, decoded))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return await answer(request)


def body(content: Any, status: int = 200) -> Answer:
    """A body of the API."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, body=msgspec.json.encode(content), content_type="application/json")

    return answer


def problem(status: int, detail: str = "", headers: dict[str, str] | None = None, **more: Any) -> Answer:
    """Problem details, RFC 9457."""

    async def answer(_: web.Request) -> web.StreamResponse:
        content = {"type": "about:blank", "title": f"status {status}", "status": status, "detail": detail} | more
        return web.Response(status=status, body=msgspec.json.encode(content), content_type="application/problem+json", headers=headers)

    return answer


def page(status: int, text: str, content_type: str = "text/html", headers: dict[str, str] | None = None) -> Answer:
    """What another program would answer."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text=text, content_type=content_type, headers=headers)

    return answer


def hang_up() -> Answer:
    """Close the connection instead of answering."""

    async def answer(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    return answer


def stream(*pieces: str | bytes, then: str = "close") -> Answer:
    """Server-sent events in these pieces; `then` close the connection, or `wait` for the reader to go."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        for piece in pieces:
            await response.write(piece.encode() if isinstance(piece, str) else piece)
        if then == "wait":
            await asyncio.Event().wait()
        return response

    return answer


def event(seq: int, name: str = "StepScheduled", **more: Any) -> str:
    """One frame of a stream."""
    view = {"seq": seq, "at": "2026-11-24T00:00:00Z", "name": name, "step": None, "iteration": None, "attempt": None, "data": {}} | more
    return f"id: {seq}\nevent: {name}\ndata: {msgspec.json.encode(view).decode()}\n\n"


END = "event: end\ndata: {}\n\n"
