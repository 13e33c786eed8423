"""The other end of a node's socket: which nodes run here, and what they say."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final

import msgspec

from noetl.actors.snapshot import Wanted
from noetl.errors import CallError
from noetl.node.control import HEAD, SUFFIX, NodeView, address_of, framed

_STALE_S: Final = 60.0
"""A name that is older and that nobody listens at was left by a process that was killed."""


class NodeSilent(CallError):
    """A node does not answer: its loop is blocked, or it has ended."""


class Line:
    """A connection to one node. One question at a time."""

    def __init__(self, file: Path, timeout_s: float = 5.0) -> None:
        self._file = file
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout_s)

    def __enter__(self) -> Line:
        """Raises `ConnectionRefusedError` when nobody listens, `FileNotFoundError` when there is none."""
        try:
            with address_of(self._file) as address:
                self._socket.connect(address)
        except BaseException:
            self._socket.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._socket.close()

    def ask(self, wanted: Wanted) -> NodeView:
        """Raises `NodeSilent`."""
        try:
            self._socket.sendall(framed(msgspec.msgpack.encode(wanted)))
            (size,) = HEAD.unpack(self._exactly(HEAD.size))
            return msgspec.msgpack.decode(self._exactly(size), type=NodeView)
        except TimeoutError:
            raise NodeSilent(f"{self._file.stem} does not answer: its event loop is blocked, or the process is stopped") from None
        except OSError as error:
            raise NodeSilent(f"{self._file.stem} has ended") from error

    def _exactly(self, size: int) -> bytes:
        received = bytearray()
        while len(received) < size:
            more = self._socket.recv(min(size - len(received), 1 << 20))
            if not more:
                raise ConnectionResetError
            received += more
        return bytes(received)


def running_nodes(home: Path) -> Iterator[Path]:
    """The sockets of the nodes that run, in the order of their ids. What killed processes have left is cleared away."""
    for file in sorted(home.joinpath("run").glob(f"*{SUFFIX}")):
        try:
            with Line(file):
                yield file
        except ConnectionRefusedError:
            with contextlib.suppress(OSError):
                if time.time() - file.stat().st_mtime > _STALE_S:
                    file.unlink()
        except OSError:  # gone since, or somebody else's
            continue
