"""The node's end of its nursery: starts it, asks it for workers, and starts another when it is lost."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from noetl.tools.sandbox import environment, processes
from noetl.tools.sandbox.control import Message, Word, receive, send
from noetl.tools.sandbox.worker import End, Worker

_COMMAND: Final = (sys.executable, "-P", "-X", "utf8", "-c", "from noetl.tools.sandbox.nursery import main; main()")
"""-P: the node's working directory is not where the author's code finds its modules."""


class Keeper:
    """`ready` is told of a worker that can take calls, `gone` of one that has ended, its `gone` future already set."""

    def __init__(self, directory: Path, max_frame_bytes: int, ready: Callable[[Worker], None], gone: Callable[[Worker], None]) -> None:
        self._directory = directory
        self._max_frame_bytes = max_frame_bytes
        self._ready = ready
        self._gone = gone
        self._serials = itertools.count(1)
        self._workers: dict[int, Worker] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._ended: asyncio.Future[None] | None = None

    def fork(self) -> Worker:
        """Ask for a worker. It is told to `ready`, or to `gone` if it can't be had.

        Raises:
            OSError: there are no descriptors, or no memory, for it or for the nursery.
        """
        control = self._reach()
        worker, theirs = Worker.open(next(self._serials), self._max_frame_bytes)
        self._workers[worker.serial] = worker
        try:
            send(control, Message(Word.FORK, worker.serial), theirs)
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        return worker

    def watch(self, worker: Worker, limit_bytes: int) -> None:
        """Have it killed when its memory is over the limit; 0: no longer."""
        worker.is_watched = limit_bytes > 0
        self._tell(Message(Word.WATCH, worker.serial, limit_bytes))

    def kill(self, worker: Worker, grace_s: float) -> None:
        """SIGTERM, and SIGKILL after the grace. `worker.gone` is set when nothing of it is left."""
        self._tell(Message(Word.KILL, worker.serial, round(grace_s * 1000)))

    def give_up(self) -> None:
        """Kill a nursery that does not react. What follows is as for any nursery that is lost."""
        if self._process is not None:
            self._process.kill()

    async def close(self) -> None:
        """End the nursery; it ends everything else."""
        if self._control is not None and self._ended is not None:
            self._control.shutdown(socket.SHUT_WR)
            await asyncio.shield(self._ended)

    def _tell(self, message: Message) -> None:
        if self._control is not None:
            send(self._control, message)

    def _reach(self) -> socket.socket:
        """The way to the nursery, which is started when there is none."""
        if self._control is not None:
            return self._control
        with contextlib.ExitStack() as undo:
            ours, theirs = (undo.enter_context(end) for end in socket.socketpair())
            self._process = self._start(theirs)
            undo.pop_all()
        theirs.close()
        ours.settimeout(0)
        loop = asyncio.get_running_loop()
        loop.add_reader(ours, self._hear)
        self._ended = loop.create_future()
        self._control = ours
        return ours

    def _start(self, control: socket.socket) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603  our own interpreter and code
            [*_COMMAND, str(control.fileno()), str(os.getpid()), str(self._directory)],
            pass_fds=[control.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env=environment.for_nursery(),
            cwd="/",
            start_new_session=True,
        )

    def _hear(self) -> None:
        assert self._control is not None
        try:
            news = receive(self._control)
        except BlockingIOError:
            return
        if news is None:
            self._lose_nursery()
        else:
            self._learn(news[0])

    def _learn(self, message: Message) -> None:
        worker = self._workers[message.serial]
        match message.word:
            case Word.FORKED:
                worker.pid = message.number
                self._ready(worker)
            case Word.OVER:
                worker.over_bytes = message.number
            case Word.GONE:
                self._bury(worker, End(message.number))
            case Word.REFUSED:
                self._bury(worker, End(None, f"no process could be made: {os.strerror(message.number)}"))
            case Word.FORK | Word.WATCH | Word.KILL:
                raise AssertionError(f"the nursery said {message.word.name}")

    def _bury(self, worker: Worker, end: End) -> None:
        del self._workers[worker.serial]
        worker.gone.set_result(end)
        self._gone(worker)

    def _lose_nursery(self) -> None:
        """It has ended, whether we wanted that or not: if not in good order, the kernel kills its workers and we what they leave."""
        assert self._control is not None
        assert self._process is not None
        assert self._ended is not None
        asyncio.get_running_loop().remove_reader(self._control)
        self._control.close()
        self._control = None
        code = self._process.wait()
        self._ended.set_result(None)
        lost = list(self._workers.values())
        if code != 0:
            processes.destroy_sessions({worker.pid for worker in lost if worker.pid is not None})
        for worker in lost:
            self._bury(worker, End(None, f"its nursery ended ({code})"))
