"""What carries requests: `connections/blocking.py` on the standard library, `connections/looped.py` on aiohttp. Neither knows what is asked for."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Final, Protocol

from msgspec import Struct

from noetl.client.address import Address
from noetl.errors import AskTimeout, NotReachable

IDLE_S: Final = 60.0
"""A stream that has been silent for so long is taken for lost; servers say something more often."""


class Request(Struct, frozen=True):
    """`target` is the path with its query, encoded. `timeout_s`: from the beginning to the last byte."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes | None = None
    timeout_s: float = 30.0


class Response(Struct, frozen=True):
    """Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def media_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def is_stream(self) -> bool:
        return self.status == 200 and self.media_type == "text/event-stream"


class Connection(Protocol):
    """On an event loop."""

    address: Address

    async def send(self, request: Request) -> Response:
        """Raises `NotReachable`, `AskTimeout`."""
        ...

    def stream(self, request: Request) -> contextlib.AbstractAsyncContextManager[tuple[Response, AsyncIterator[bytes]]]:
        """The answer, whole unless it `is_stream`; then its body comes in pieces. Raises `NotReachable`, also while the pieces come."""
        ...

    async def close(self) -> None: ...


class BlockingConnection(Protocol):
    """The same for threads."""

    address: Address

    def send(self, request: Request) -> Response: ...

    def stream(self, request: Request, *, until: float | None = None) -> contextlib.AbstractContextManager[tuple[Response, Iterator[bytes]]]:
        """`until`: a reading of `time.monotonic()` at which to raise `TimeoutError`."""
        ...


def not_there(address: Address, reason: str) -> NotReachable:
    """Nothing was sent."""
    return NotReachable(
        f"no server at {address.url}: {reason}. Start one with `noetl node start solo`, or say where it is (--url, NOETL_URL)",
        url=address.url,
        sent=False,
    )


def cut_off(address: Address, reason: str) -> NotReachable:
    """The request was on its way."""
    return NotReachable(f"the connection to {address.url} was lost: {reason}", url=address.url, sent=True)


def no_answer(address: Address, timeout_s: float) -> AskTimeout:
    return AskTimeout(f"{address.url} did not answer within {timeout_s:g} s")


def reason_of(error: Exception) -> str:
    """The system's words for an error; asyncio's own name the address once more."""
    if isinstance(error, OSError) and not isinstance(error, (socket.gaierror, ssl.SSLError)) and error.errno:
        return os.strerror(error.errno).lower()
    return str(getattr(error, "strerror", None) or error or type(error).__name__).lower()
