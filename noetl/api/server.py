"""The actor that serves the API: a branch of the node's tree like any other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web

from noetl.actors.actor import AsyncActor, Context, Reason
from noetl.api.app import create_app
from noetl.api.deps import Deps
from noetl.errors import SettingsError

_CLOSE_S = 2.0
"""How long requests that are under way may take when the node stops."""


class ApiServer(AsyncActor[Any]):
    """Listens while it lives. `listening` is told the address, with the port that was given when none was wanted."""

    def __init__(self, host: str, port: int, deps: Callable[[], Deps], listening: Callable[[str, int], None]) -> None:
        self._host = host
        self._port = port
        self._deps = deps
        self._listening = listening
        self._runner: web.AppRunner | None = None

    async def init(self, ctx: Context[Any]) -> None:
        self._runner = web.AppRunner(create_app(self._deps()), access_log=None, shutdown_timeout=_CLOSE_S)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port, backlog=1024).start()
        except OSError as error:
            await self._runner.cleanup()
            raise SettingsError(
                f"the API can't listen on {self._host}:{self._port}: {error.strerror or error}; another process may be there, --port takes another"
            ) from error
        host, port = self._runner.addresses[0][:2]
        self._listening(f"http://{f'[{host}]' if ':' in host else host}:{port}", port)

    async def terminate(self, reason: Reason, ctx: Context[Any]) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
