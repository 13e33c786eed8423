"""A worker from the inside: born by a fork of the nursery, it does one call after the other until its socket closes."""

from __future__ import annotations

import faulthandler
import fcntl
import os
import resource
import signal
import socket
import sys
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

import msgspec

from noetl.tools.sandbox import libc
from noetl.tools.sandbox.answer import done, failed
from noetl.tools.sandbox.calling import Scope, load_libs, perform
from noetl.tools.sandbox.frames import read_frame, write_frame
from noetl.tools.sandbox.handed import Lazy, as_result, decoder
from noetl.tools.sandbox.messages import Done, Failed, Farewell, Job, decode_job, decode_named, encode_answer
from noetl.tools.sandbox.room import Room, Stopped
from noetl.tools.sandbox.source import compile_source

_MAX_FRAME: Final = 2**32 - 1
"""The node bounds what it sends."""
_HIGH_FD: Final = 200
"""Where our socket is out of the way of code that closes or counts descriptors."""
_BUG: Final = 70  # EX_SOFTWARE
_OOM_SCORE: Final = "500"
"""When the machine has no memory left, the kernel is to take this process rather than the node."""


class Birth(NamedTuple):
    """What a worker comes into the world with."""

    calls: socket.socket
    stdout: int
    stderr: int
    directory: Path


def live(birth: Birth) -> NoReturn:
    """The whole life of a worker. Never returns into the nursery's code."""
    code = _BUG
    try:
        _settle(birth)
        Child(_out_of_the_way(birth.calls), Room(birth.directory)).serve()
        code = 0
    except Stopped:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
    except BaseException:  # noqa: BLE001  ours, not the author's; stderr is the only way left to be heard
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)


def _settle(birth: Birth) -> None:
    """Become a process of one's own: session, streams, and an end that comes with the nursery's."""
    parent = os.getppid()
    libc.die_with_parent()
    if os.getppid() != parent:
        os._exit(0)  # it died before that took effect
    libc.adopt_orphans()
    os.setsid()
    for pipe, number in ((birth.stdout, 1), (birth.stderr, 2)):
        os.dup2(pipe, number)
        os.close(pipe)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    oom_score = Path("/proc/self/oom_score_adj")
    if oom_score.exists():
        oom_score.write_text(_OOM_SCORE)
    faulthandler.enable(file=2, all_threads=False)


def _out_of_the_way(calls: socket.socket) -> socket.socket:
    moved = socket.socket(fileno=fcntl.fcntl(calls, fcntl.F_DUPFD_CLOEXEC, _HIGH_FD))
    calls.close()
    return moved


class Child:
    def __init__(self, calls: socket.socket, room: Room) -> None:
        self._calls = calls
        self._room = room
        self._pid = os.getpid()
        os.register_at_fork(after_in_child=calls.close)  # what the code forks is not us
        sys.addaudithook(self._announce_suicide)

    def serve(self) -> None:
        while (frame := read_frame(self._calls, _MAX_FRAME)) is not None:
            write_frame(self._calls, encode_answer(self._answer(decode_job(frame))))
            self._room.prepare()

    def _answer(self, job: Job) -> Done | Failed:
        self._room.enter(job)
        answer = _attempt(job)
        if os.getpid() != self._pid:
            _end_fork(answer)
        if self._room.stopping:
            raise Stopped  # the code has caught it; we have not
        left = self._room.leave()
        return msgspec.structs.replace(answer, left=left) if left else answer

    def _announce_suicide(self, event: str, args: tuple[Any, ...]) -> None:
        """Tell the node that a SIGKILL is the code's own: one from outside (an operator, the kernel) is not the author's fault."""
        if event in ("os.kill", "os.killpg") and args[1] == signal.SIGKILL and args[0] in (0, -1, self._pid, -self._pid) and os.getpid() == self._pid:
            write_frame(self._calls, encode_answer(Farewell()))


def _end_fork(answer: Done | Failed) -> NoReturn:
    """The code has forked, and the fork came back to us: it ends as a script does."""
    if isinstance(answer, Failed):
        sys.stderr.write(answer.traceback or answer.message)
    sys.stdout.flush()
    os._exit(0 if isinstance(answer, Done) else 1)


def _attempt(job: Job) -> Done | Failed:
    """Whatever the code does, there is an answer, unless it ends the process."""
    warnings: list[str] = []
    try:
        value = perform(compile_source(job.source, job.file), _scope(job), load_libs(job.libs, warnings.append), job.execution_id)
        answer = done(value, job)
    except Stopped:
        raise
    except BaseException as error:  # noqa: BLE001  SystemExit and KeyboardInterrupt too: they end the call, not the worker
        answer = failed(error, job.source, job.file)
    return msgspec.structs.replace(answer, warnings=(*warnings, *answer.warnings)) if warnings else answer


def _scope(job: Job) -> Scope:
    decode = decoder(Path(job.artifacts_dir))
    context = Lazy(job.names, decode)
    context["execution_id"] = job.execution_id
    if "steps" in job.names:
        context["steps"] = Lazy(decode_named(job.names["steps"]), decode)
    return Scope({name: as_result(decode(value)) for name, value in job.args.items()}, context, job.iterator)
