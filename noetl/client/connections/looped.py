"""Requests on an event loop, with aiohttp. Imported when a client needs it: aiohttp is an extra, and slow to import."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Final

import aiohttp
from yarl import URL

from noetl.client.address import Address
from noetl.client.connection import IDLE_S, Request, Response, cut_off, no_answer, not_there, reason_of

_CONNECT_S: Final = 10.0


class AiohttpConnection:
    """Keeps connections open between requests. Belongs to the loop that it was first used on."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._session: aiohttp.ClientSession | None = None

    async def send(self, request: Request) -> Response:
        """Raises `NotReachable`, `AskTimeout`."""
        limits = aiohttp.ClientTimeout(total=request.timeout_s, sock_connect=_CONNECT_S)
        async with self._asked(request, limits) as response:
            return _response(response, await response.read())

    @contextlib.asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[tuple[Response, AsyncIterator[bytes]]]:
        """Raises `NotReachable`, also while the pieces come."""
        limits = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=IDLE_S)
        async with self._asked(request, limits) as response:
            head = _response(response, b"")
            if head.is_stream:
                yield head, self._streamed(response)
            else:
                yield _response(response, await response.read()), _nothing()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _streamed(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        async for piece in response.content.iter_any():
            yield piece
        raise cut_off(self.address, "it was closed")

    @contextlib.asynccontextmanager
    async def _asked(self, request: Request, limits: aiohttp.ClientTimeout) -> AsyncIterator[aiohttp.ClientResponse]:
        if self._session is None:
            self._session = aiohttp.ClientSession(auto_decompress=True, cookie_jar=aiohttp.DummyCookieJar(), skip_auto_headers=("Content-Type",))
        root = self.address.url.removesuffix(self.address.prefix) if self.address.prefix else self.address.url
        url = URL(root + request.target, encoded=True)
        try:
            async with self._session.request(
                request.method, url, headers=dict(request.headers), data=request.body, timeout=limits, allow_redirects=False
            ) as response:
                yield response
        except aiohttp.ConnectionTimeoutError as error:
            raise not_there(self.address, "timed out") from error
        except aiohttp.ClientConnectorError as error:
            raise not_there(self.address, reason_of(error.os_error)) from error
        except TimeoutError as error:
            raise self._silent(limits) from error
        except (aiohttp.ClientError, OSError) as error:
            raise cut_off(self.address, str(error).lower() or type(error).__name__) from error

    def _silent(self, limits: aiohttp.ClientTimeout) -> Exception:
        if limits.total is not None:
            return no_answer(self.address, limits.total)
        return cut_off(self.address, f"nothing came for {IDLE_S:g} s")


async def _nothing(pieces: tuple[bytes, ...] = ()) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def _response(response: aiohttp.ClientResponse, body: bytes) -> Response:
    return Response(response.status, {name.lower(): value for name, value in response.headers.items()}, body)
