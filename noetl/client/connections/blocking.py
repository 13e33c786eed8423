"""Requests on the standard library: nothing to install, fast to import. Each has a connection of its own."""

from __future__ import annotations

import contextlib
import http.client
import socket
import time
from collections.abc import Iterator
from typing import Final

from noetl.client.address import Address
from noetl.client.connection import IDLE_S, Request, Response, cut_off, no_answer, not_there, reason_of

_PIECE: Final = 65_536
_CONNECT_S: Final = 10.0


class StdlibConnection:
    """May be used by several threads."""

    def __init__(self, address: Address) -> None:
        self.address = address

    def send(self, request: Request) -> Response:
        """Raises `NotReachable`, `AskTimeout`."""
        with self._asked(request, request.timeout_s) as (sock, response):
            return _response(response, self._body(sock, response, request.timeout_s))

    @contextlib.contextmanager
    def stream(self, request: Request, *, until: float | None = None) -> Iterator[tuple[Response, Iterator[bytes]]]:
        """Raises `NotReachable`, also while the pieces come; `TimeoutError` at `until`."""
        timeout_s = _left_s(until, request.timeout_s)
        with self._asked(request, timeout_s) as (sock, response):
            head = _response(response, b"")
            if head.is_stream:
                yield head, self._streamed(sock, response, until)
            else:
                yield _response(response, self._body(sock, response, timeout_s)), iter(())

    def _body(self, sock: socket.socket, response: http.client.HTTPResponse, timeout_s: float) -> bytes:
        try:
            return b"".join(_pieces(sock, response, time.monotonic() + timeout_s))
        except TimeoutError as error:
            raise no_answer(self.address, timeout_s) from error
        except (OSError, http.client.HTTPException) as error:
            raise cut_off(self.address, reason_of(error)) from error

    def _streamed(self, sock: socket.socket, response: http.client.HTTPResponse, until: float | None) -> Iterator[bytes]:
        while True:
            limit_s = _left_s(until, IDLE_S)
            sock.settimeout(limit_s)
            try:
                piece = response.read1(_PIECE)
            except TimeoutError as error:
                if limit_s < IDLE_S:
                    raise
                raise cut_off(self.address, f"nothing came for {IDLE_S:g} s") from error
            except (OSError, http.client.HTTPException) as error:
                raise cut_off(self.address, reason_of(error)) from error
            if not piece:
                raise cut_off(self.address, "it was closed")
            yield piece

    @contextlib.contextmanager
    def _asked(self, request: Request, timeout_s: float) -> Iterator[tuple[socket.socket, http.client.HTTPResponse]]:
        connection = self._connection()
        try:
            sock = self._connected(connection)
            yield sock, self._head(connection, sock, request, timeout_s)
        finally:
            connection.close()

    def _connected(self, connection: http.client.HTTPConnection) -> socket.socket:
        """Its socket: the connection itself forgets it when the server closes it after the answer."""
        try:
            connection.connect()
        except OSError as error:
            raise not_there(self.address, reason_of(error)) from error
        sock: socket.socket = connection.sock
        return sock

    def _head(self, connection: http.client.HTTPConnection, sock: socket.socket, request: Request, timeout_s: float) -> http.client.HTTPResponse:
        try:
            sock.settimeout(timeout_s)
            connection.request(request.method, request.target, request.body, dict(request.headers))
            return connection.getresponse()
        except TimeoutError as error:
            raise no_answer(self.address, timeout_s) from error
        except (OSError, http.client.HTTPException) as error:
            raise cut_off(self.address, reason_of(error)) from error

    def _connection(self) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self.address.scheme == "https" else http.client.HTTPConnection
        return kind(self.address.host, self.address.port, timeout=_CONNECT_S)


def _pieces(sock: socket.socket, response: http.client.HTTPResponse, until: float) -> Iterator[bytes]:
    """The body to its end. A server that sends it byte by byte does not get longer for it. Raises `TimeoutError`."""
    while True:
        sock.settimeout(_left_s(until, IDLE_S))
        piece = response.read1(_PIECE)
        if not piece:
            break
        yield piece
    if response.length:  # read1 does not say so
        raise http.client.IncompleteRead(b"", response.length)


def _left_s(until: float | None, at_most: float) -> float:
    """Raises `TimeoutError` when nothing is left."""
    left = at_most if until is None else min(until - time.monotonic(), at_most)
    if left <= 0:
        raise TimeoutError
    return left


def _response(response: http.client.HTTPResponse, body: bytes) -> Response:
    return Response(response.status, {name.lower(): value for name, value in response.getheaders()}, body)
