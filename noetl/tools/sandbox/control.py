"""What the node and its nursery tell each other: 13 bytes each way, so that neither ever has half of a message to keep.

A FORK carries three file descriptors: the worker's end of its socket, its stdout and its stderr.
"""

from __future__ import annotations

import contextlib
import enum
import socket
import struct
from typing import Final, NamedTuple

_LAYOUT: Final = struct.Struct("!BIq")
_FDS: Final = 3


class Word(enum.IntEnum):
    """Requests of the node, then news of the nursery. `number` of the message is what is named here."""

    FORK = 1
    WATCH = 2
    """Limit of resident memory, bytes; 0 ends the watch."""
    KILL = 3
    """Grace in milliseconds between SIGTERM and SIGKILL; 0: SIGKILL at once."""
    FORKED = 11
    """Process id."""
    REFUSED = 12
    """errno of the fork."""
    OVER = 13
    """Bytes in use when they were over the limit. GONE follows."""
    GONE = 14
    """Exit code, or minus the signal. Nothing of the worker is left: no process, no file."""


class Message(NamedTuple):
    word: Word
    serial: int
    """The worker's number: process ids are used again, these are not."""
    number: int = 0


def send(control: socket.socket, message: Message, fds: tuple[int, ...] = ()) -> None:
    """When the other side is gone, nothing happens: whoever reads this socket learns of it."""
    with contextlib.suppress(ConnectionError):
        socket.send_fds(control, [_LAYOUT.pack(*message)], list(fds))


def receive(control: socket.socket) -> tuple[Message, list[int]] | None:
    """The next message with its descriptors; None when the other side is gone.

    Raises:
        BlockingIOError: the socket is non-blocking and there is none.
    """
    try:
        data, fds, _, _ = socket.recv_fds(control, _LAYOUT.size, _FDS)
    except ConnectionError:
        return None
    if len(data) < _LAYOUT.size:
        return None
    word, serial, number = _LAYOUT.unpack(data)
    return Message(Word(word), serial, number), fds
