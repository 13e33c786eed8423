"""A token endpoint of our own, and a service that shows what it was sent."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web


class TokenEndpoint:
    """`/token` gives a new token for each request; `/echo` shows headers and body. `asked` are the forms that came, `heads` their headers."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[dict[str, str]] = []
        self.heads: list[Mapping[str, str]] = []
        self.echoed: list[dict[str, Any]] = []
        self.answer: dict[str, Any] = {"expires_in": 3600, "token_type": "Bearer"}
        """What an answer holds besides the token."""
        self.status = 200
        self.field = "access_token"
        self.wait: asyncio.Event | None = None
        """Answers come when it is set."""
        self.came = asyncio.Event()

    @property
    def tokens(self) -> list[str]:
        """Those that were given."""
        return [f"t0ken-number-{number}" for number in range(1, len(self.asked) + 1)]

    async def token(self, request: web.Request) -> web.Response:
        is_json = request.content_type == "application/json"
        self.asked.append(await request.json() if is_json else dict(await request.post()))  # type: ignore[arg-type]
        self.heads.append(request.headers)
        self.came.set()
        number = len(self.asked)
        if self.wait is not None:
            await self.wait.wait()
        if self.status != 200:
            return web.json_response({"error": "invalid_client", "error_description": "who are you?"}, status=self.status)
        rotated = {"refresh_token": f"refresh-number-{number}"} if self.answer.get("refresh_token") is True else {}
        return web.json_response({self.field: f"t0ken-number-{number}"} | self.answer | rotated)

    async def echo(self, request: web.Request) -> web.Response:
        seen = {"headers": {name.lower(): value for name, value in request.headers.items()}, "body": (await request.read()).decode()}
        self.echoed.append(seen)
        return web.json_response(seen)

    @property
    def authorizations(self) -> list[str | None]:
        return [seen["headers"].get("authorization") for seen in self.echoed]


@asynccontextmanager
async def token_endpoint() -> AsyncIterator[TokenEndpoint]:
    endpoint = TokenEndpoint()
    app = web.Application()
    app.router.add_post("/token", endpoint.token)
    app.router.add_route("*", "/echo", endpoint.echo)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        endpoint.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield endpoint
    finally:
        await runner.cleanup()


def claims_of(assertion: str) -> dict[str, Any]:
    """What a JSON Web Token says."""
    part = assertion.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found
