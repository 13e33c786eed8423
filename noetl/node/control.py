"""How a node is asked what it does: a Unix socket that only its user can open, and the actor that answers.

Both ways go frames: four bytes of length, big endian, and as many bytes of msgpack. A request is a `Wanted`, the answer a `NodeView`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final, cast

import msgspec
from msgspec import Struct

from noetl.actors.actor import AsyncActor, Context, Reason
from noetl.actors.observer import Observer
from noetl.actors.ref import Ref
from noetl.actors.snapshot import RuntimeView, Wanted
from noetl.errors import CallError

if TYPE_CHECKING:
    from noetl.actors.loop import Runtime

HEAD: Final = struct.Struct(">I")
MAX_REQUEST_BYTES: Final = 1_048_576
SUFFIX: Final = ".sock"
_PATH_BYTES: Final = 107
"""What fits into a `sockaddr_un`, on Linux; elsewhere it is a little less."""
_BACKLOG: Final = 16


class NodeView(Struct, frozen=True):
    """A node at one moment."""

    id: str
    pid: int
    title: str
    """What it was started for: a playbook."""
    runtime: RuntimeView


class Asked(Struct, frozen=True):
    """Somebody wants to see something."""

    wanted: Wanted
    line: _Line


class Hung(Struct, frozen=True):
    """Somebody has gone away."""

    line: _Line


class Control(AsyncActor[Asked | Hung]):
    """Owns the socket. A node whose socket can't be opened runs all the same: `lost` is told why. `scrub` takes secrets out of reasons."""

    capacity: ClassVar[int] = 100

    def __init__(self, runtime: Runtime, file: Path, node: str, title: str, *, scrub: Callable[[str], str], lost: Callable[[str], object]) -> None:
        self._runtime = runtime
        self._file = file
        self._node = node
        self._title = title
        self._scrub = scrub
        self._lost = lost
        self._opened = contextlib.ExitStack()
        self._server: asyncio.AbstractServer | None = None
        self._observers: dict[_Line, Observer] = {}

    async def init(self, ctx: Context[Asked | Hung]) -> None:
        try:
            listening = self._opened.enter_context(listening_at(self._file))
            self._server = await asyncio.get_running_loop().create_unix_server(partial(_Line, ctx.self_ref), sock=listening)
        except OSError as error:
            self._opened.close()
            self._lost(f"`noetl top` can't look into this run: {self._file}: {error.strerror or error}")

    async def handle(self, message: Asked | Hung, ctx: Context[Asked | Hung]) -> None:
        match message:
            case Asked(wanted, line):
                observer = self._observers.setdefault(line, Observer(self._runtime, self._scrub))
                line.answer(NodeView(self._node, os.getpid(), self._title, await observer.look(wanted)))
            case Hung(line):
                self._observers.pop(line, None)

    async def terminate(self, reason: Reason, ctx: Context[Asked | Hung]) -> None:
        for line in tuple(self._observers):
            line.hang_up()
        if self._server is not None:
            self._server.close()
        self._opened.close()


class _Line(asyncio.Protocol):
    """One who asks."""

    def __init__(self, control: Ref[Asked | Hung]) -> None:
        self._control = control
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are of no such class

    def data_received(self, data: bytes) -> None:
        self._received += data
        while len(self._received) >= HEAD.size:
            (size,) = HEAD.unpack_from(self._received)
            if size > MAX_REQUEST_BYTES:
                self.hang_up()
                return
            if len(self._received) < HEAD.size + size:
                return
            body = bytes(self._received[HEAD.size : HEAD.size + size])
            del self._received[: HEAD.size + size]
            self._ask(body)

    def connection_lost(self, error: Exception | None) -> None:
        self._control.report(Hung(self))

    def _ask(self, body: bytes) -> None:
        try:
            self._control.tell(Asked(msgspec.msgpack.decode(body, type=Wanted), self))
        except (msgspec.MsgspecError, CallError):  # nonsense, or more than it can answer
            self.hang_up()

    def answer(self, view: NodeView) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(framed(msgspec.msgpack.encode(view)))

    def hang_up(self) -> None:
        if self._transport is not None:
            self._transport.close()


def framed(body: bytes) -> bytes:
    return HEAD.pack(len(body)) + body


def socket_file(home: Path, node: str) -> Path:
    return home / "run" / f"{node}{SUFFIX}"


@contextlib.contextmanager
def listening_at(file: Path) -> Iterator[socket.socket]:
    """A socket that listens under a name, with mode 0600 from the first moment, in a directory that is its user's alone. Leaves nothing behind.

    Raises:
        OSError: it can't be made.
    """
    made = _made(file.parent)
    try:
        with socket.socket(socket.AF_UNIX) as listening, address_of(file) as address:
            os.fchmod(listening.fileno(), 0o600)  # on Linux the name gets the mode of the socket
            listening.bind(address)
            try:
                file.chmod(0o600)
                listening.setblocking(False)  # noqa: FBT003
                listening.listen(_BACKLOG)
                yield listening
            finally:
                file.unlink(missing_ok=True)
    finally:
        for folder in made:
            with contextlib.suppress(OSError):  # something else is in it
                folder.rmdir()


def _made(folder: Path) -> list[Path]:
    """Make a directory for its user alone; those that were made on the way to it, the innermost first."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    for place in reversed(missing[1:]):
        place.mkdir(exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_mode & 0o077:
        folder.chmod(0o700)
    return missing


@contextlib.contextmanager
def address_of(file: Path) -> Iterator[str]:
    """The address of a socket. Where its path is too long, Linux knows the directory by a shorter one."""
    if len(os.fsencode(file)) <= _PATH_BYTES:
        yield str(file)
    elif sys.platform != "linux":
        raise OSError(f"the path of a socket can't be longer than {_PATH_BYTES} bytes: choose a shorter NOETL_HOME")
    else:
        folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield f"/proc/self/fd/{folder}/{file.name}"
        finally:
            os.close(folder)
