"""Frames on a stream: four bytes of length, then the bytes. A length over the bound ends the conversation."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Final

HEADER_BYTES: Final = 4
_SLACK_BYTES: Final = 1_048_576
"""What a frame may hold besides values: the source of the code, the traceback, names."""


class FrameTooLarge(Exception):
    """The frame is longer than its reader allows."""


def bound(value_bytes: int) -> int:
    """The longest frame for values of this size in all."""
    return min(value_bytes + _SLACK_BYTES, 2**32 - 1)


def header(length: int) -> bytes:
    return length.to_bytes(HEADER_BYTES)


def read_frame(connection: socket.socket, max_bytes: int) -> memoryview | None:
    """The next frame of a blocking socket; None when the other side is gone."""
    head = _read(connection, HEADER_BYTES)
    if head is None:
        return None
    length = int.from_bytes(head)
    if length > max_bytes:
        raise FrameTooLarge(f"{length} bytes")
    return _read(connection, length)


def _read(connection: socket.socket, length: int) -> memoryview | None:
    buffer = memoryview(bytearray(length))
    filled = 0
    while filled < length:
        received = connection.recv_into(buffer[filled:])
        if received == 0:
            return None
        filled += received
    return buffer


def write_frame(connection: socket.socket, data: bytes) -> None:
    connection.sendall(header(len(data)) + data)


class Frames:
    """Puts frames together from the pieces that a non-blocking socket gives."""

    def __init__(self, max_bytes: int) -> None:
        self._buffer = bytearray()
        self._max_bytes = max_bytes

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The frames that `data` completes.

        Raises:
            FrameTooLarge
        """
        self._buffer += data
        while len(self._buffer) >= HEADER_BYTES:
            length = int.from_bytes(self._buffer[:HEADER_BYTES])
            if length > self._max_bytes:
                raise FrameTooLarge(f"{length} bytes")
            end = HEADER_BYTES + length
            if len(self._buffer) < end:
                return
            yield bytes(self._buffer[HEADER_BYTES:end])
            del self._buffer[:end]
