"""A node in the test's own process, and somebody who calls its API."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from multidict import CIMultiDictProxy

from noetl.node.boot import Node, Serve, running_node
from noetl.node.profile import load_profile
from noetl.settings import ApiSettings, EngineSettings, Settings

HELLO = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: hello, path: demo/hello, labels: {team: red}}
workload: {name: world, deep: {a: 1, b: 2}}
workflow:
  - {step: start, tool: {kind: noop, result: "Hello, {{ workload.name }}! {{ workload.deep }}"}}
"""
WAITING = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: waiting, path: demo/waiting}
workflow:
  - {step: start, tool: {kind: python, code: "import time; time.sleep(1000)"}}
"""


class Answer:
    """What came back. `body` is the JSON document, else the bytes."""

    def __init__(self, status: int, headers: CIMultiDictProxy[str], raw: bytes) -> None:
        self.status = status
        self.headers = headers
        self.raw = raw

    @property
    def body(self) -> Any:
        return json.loads(self.raw)


class Caller:
    """Calls one node, as the owner of a token or as nobody."""

    def __init__(self, session: aiohttp.ClientSession, node: Node, token: str | None = None) -> None:
        assert node.parts.serving is not None
        assert node.parts.serving.url is not None
        self.node = node
        self.url = node.parts.serving.url
        self.session = session
        self._token = token

    def with_token(self, token: str) -> Caller:
        return Caller(self.session, self.node, token)

    async def call(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, **options: Any) -> Answer:
        sent = {} if self._token is None else {"Authorization": f"Bearer {self._token}"}
        if body is not None and "data" not in options:
            options["json"] = body
        async with self.session.request(method, self.url + path, headers={**sent, **(headers or {})}, **options) as response:
            return Answer(response.status, response.headers, await response.read())

    async def get(self, path: str, **options: Any) -> Answer:
        return await self.call("GET", path, **options)

    async def post(self, path: str, body: Any, **options: Any) -> Answer:
        return await self.call("POST", path, body, **options)

    async def register(self, text: str, **more: Any) -> Any:
        answer = await self.post("/api/catalog/register", {"content": text, **more})
        assert answer.status in (200, 201), answer.raw
        return answer.body

    async def execute(self, path: str, **more: Any) -> str:
        answer = await self.post("/api/execute", {"path": path, **more})
        assert answer.status == 202, answer.raw
        execution_id: str = answer.body["execution_id"]
        return execution_id

    async def run(self, path: str, **more: Any) -> Any:
        answer = await self.post("/api/execute?wait=30", {"path": path, **more})
        assert answer.status == 200, answer.raw
        return answer.body


Serving = Callable[..., Awaitable[Caller]]


@pytest.fixture
async def serving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Serving]:
    """Starts nodes on the store of the test's folder; stops them in reverse order."""
    monkeypatch.chdir(tmp_path)
    async with AsyncExitStack() as stack:

        async def start(*, asks_who: bool = False, api: ApiSettings | None = None, name: str = "node-1") -> Caller:
            settings = Settings(engine=EngineSettings(inbox_poll_s=0.05), api=api or ApiSettings())
            serve = Serve(name, "127.0.0.1", 0, asks_who)
            running = running_node(load_profile("solo"), settings, home=tmp_path / "home", store=None, environment={}, serve=serve)
            node = await stack.enter_async_context(running)
            session = await stack.enter_async_context(aiohttp.ClientSession(auto_decompress=True))
            return Caller(session, node)

        yield start


@pytest.fixture
async def api(serving: Serving) -> Caller:
    return await serving()
