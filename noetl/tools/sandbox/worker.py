"""The node's end of one worker process: its socket, its two streams, and what became of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from typing import Final, NamedTuple

import msgspec

from noetl.errors import ToolError
from noetl.tools.sandbox.frames import Frames, FrameTooLarge, header
from noetl.tools.sandbox.messages import Done, Failed, Farewell, decode_answer
from noetl.tools.sandbox.output import Output
from noetl.tools.sandbox.sizes import show_bytes

_ANSWER_BYTES: Final = 131_072
_PIPE_BYTES: Final = 1_048_576
"""The most that a pipe holds: one read gets all that was printed before."""


class End(NamedTuple):
    """How a worker ended. `code` is its exit code or minus the signal; None when it was lost with its nursery or never began to live."""

    code: int | None
    reason: str = ""


class NotBegun(Exception):
    """The process ended before it had read the call."""


class Worker:
    def __init__(self, serial: int, max_frame_bytes: int, calls: socket.socket, pipes: dict[str, int]) -> None:
        self.serial = serial
        self.pid: int | None = None
        self.calls = 0
        self.is_open = True
        self.is_watched = False
        self.leaving = False
        """It will not take another call."""
        self.over_bytes: int | None = None
        """Memory in use when it was found over its limit."""
        self._farewell = False
        self._loop = asyncio.get_running_loop()
        self.gone: asyncio.Future[End] = self._loop.create_future()
        self._socket = calls
        self._pipes = pipes
        self._frames = Frames(max_frame_bytes)
        self._answer: asyncio.Future[Done | Failed | None] | None = None
        self._output: Output | None = None
        self._loop.add_reader(calls, self._hear)
        for stream, pipe in pipes.items():
            self._loop.add_reader(pipe, self._overhear, stream)

    @classmethod
    def open(cls, serial: int, max_frame_bytes: int) -> tuple[Worker, tuple[int, ...]]:
        """A worker, and the descriptors that its process is to have: socket, stdout, stderr. The caller closes them."""
        with contextlib.ExitStack() as undo:
            ours, theirs = (undo.enter_context(end) for end in socket.socketpair())
            pipes = {stream: _pipe(undo) for stream in ("stdout", "stderr")}
            undo.pop_all()
        ours.settimeout(0)
        worker = cls(serial, max_frame_bytes, ours, {stream: read_end for stream, (read_end, _) in pipes.items()})
        return worker, (theirs.detach(), *(write_end for _, write_end in pipes.values()))

    def close(self) -> None:
        """Let go of the process: one that lives finds its socket ended, and exits."""
        if self._socket.fileno() < 0:
            return
        self._deafen()
        self._socket.close()
        for pipe in self._pipes.values():
            self._loop.remove_reader(pipe)
            os.close(pipe)

    async def ask(self, job: bytes, output: Output) -> Done | Failed | None:
        """One call; None when the process ended in it.

        Raises:
            NotBegun: nothing of it was done.
        """
        if not self.is_open:
            raise NotBegun
        self.calls += 1
        self._output = output
        self._answer = self._loop.create_future()
        try:
            await self._loop.sock_sendall(self._socket, header(len(job)) + job)
            return await self._answer
        except ConnectionError:  # the kernel tells an end before all was read (a reset) from one after it
            raise NotBegun from None
        finally:
            self._answer = None

    def drain(self) -> None:
        """Take what lies in the pipes, and deliver what the call's output still holds back."""
        for stream in self._pipes:
            self._overhear(stream)
        if self._output is not None:
            self._output.finish()
            self._output = None

    def why(self, end: End, limit_bytes: int) -> ToolError:
        """The error of a call that was running when the process ended."""
        if self.over_bytes is not None:
            used, limit = show_bytes(self.over_bytes), show_bytes(limit_bytes)
            return ToolError(f"the code was stopped: it used {used} of memory, its limit is {limit} (spec.memory_bytes)", kind="limit")
        if end.code is None or (end.code == -signal.SIGKILL and not self._farewell):
            reason = end.reason or "killed from outside, by hand or because the machine had no memory left"
            return ToolError(f"the process that ran the code was lost: {reason}", kind="worker_lost", retryable=True)
        kind, what = ("Signal", _signal_name(-end.code)) if end.code < 0 else ("Exit", f"exit status {end.code}")
        return ToolError(f"the code ended its process: {what}", kind="python", extra={"exception_type": kind})

    def _hear(self) -> None:
        try:
            data = self._socket.recv(_ANSWER_BYTES)
            for frame in self._frames.feed(data):
                self._take(decode_answer(frame))
        except BlockingIOError:
            return
        except (ConnectionError, FrameTooLarge, msgspec.MsgspecError) as error:  # the last two: the code has written into our socket
            self._deafen()
            self._settle(error if isinstance(error, ConnectionError) else None)
            return
        if not data:
            self._deafen()
            self._settle(None)

    def _take(self, answer: Done | Failed | Farewell) -> None:
        if isinstance(answer, Farewell):
            self._farewell = True
        else:
            self._settle(answer)

    def _settle(self, answer: Done | Failed | ConnectionError | None) -> None:
        if self._answer is None or self._answer.done():
            return
        if isinstance(answer, ConnectionError):
            self._answer.set_exception(answer)
        else:
            self._answer.set_result(answer)

    def _deafen(self) -> None:
        self.is_open = False
        self._loop.remove_reader(self._socket)

    def _overhear(self, stream: str) -> None:
        with contextlib.suppress(BlockingIOError):
            data = os.read(self._pipes[stream], _PIPE_BYTES)
            if not data:
                self._loop.remove_reader(self._pipes[stream])
            elif self._output is not None:
                self._output.feed(stream, data)


def _signal_name(number: int) -> str:
    return next((known.name for known in signal.Signals if known == number), f"signal {number}")


def _pipe(undo: contextlib.ExitStack) -> tuple[int, int]:
    """A pipe whose reading end does not block."""
    ends = os.pipe()
    for end in ends:
        undo.callback(os.close, end)
    os.set_blocking(ends[0], False)
    return ends
