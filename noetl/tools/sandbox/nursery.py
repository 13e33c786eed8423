"""The nursery: a process that forks workers, watches their memory, and sees to it that none outlives its purpose.

Started by the keeper with the descriptor of its control socket, the node's process id and the directory for the calls' files. It has imported all
that a call needs, has one thread and waits in `select`. It ends when the node does.
"""

from __future__ import annotations

import errno
import gc
import os
import select
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from noetl.tools.sandbox import libc, processes
from noetl.tools.sandbox.child import Birth, live
from noetl.tools.sandbox.control import Message, Word, receive, send

_LOOK_EVERY_S: Final = 0.05


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    nursery = Nursery(control, node_pid=int(sys.argv[2]), directory=Path(sys.argv[3]))
    del sys.argv[1:]
    gc.collect()
    gc.freeze()  # what all workers share is not touched by their collectors, so it stays shared
    birth = nursery.serve()
    if birth is not None:
        live(birth)
    os._exit(0)


@dataclass(slots=True)
class Ward:
    """A worker in the nursery's care."""

    serial: int
    pid: int
    limit_bytes: int = 0
    kill_at: float | None = None


class Nursery:
    def __init__(self, control: socket.socket, *, node_pid: int, directory: Path) -> None:
        self._control = control
        self._directory = directory
        self._wards: dict[int, Ward] = {}
        self._pid = os.getpid()
        self._node_fd = _open_process(node_pid)
        self._wakeup = _wake_on_signals()
        libc.adopt_orphans()

    def serve(self) -> Birth | None:
        """Work until the node is gone; then nothing of it is left. Returns something in a forked worker only: with what it was born with."""
        try:
            return self._work()
        finally:
            if os.getpid() == self._pid:
                self._end()

    def _work(self) -> Birth | None:
        waiting_for: list[Any] = [self._control, self._wakeup[0], *([] if self._node_fd is None else [self._node_fd])]
        while True:
            ready, _, _ = select.select(waiting_for, [], [], self._patience())
            if self._node_fd in ready:
                return None
            if self._wakeup[0] in ready:
                self._wakeup[0].recv(4096)
            if self._control in ready:
                request = receive(self._control)
                if request is None:
                    return None
                birth = self._obey(*request)
                if birth is not None:
                    return birth
            self._bury()
            self._look_after()

    def _patience(self) -> float | None:
        """How long nothing is due."""
        due = [ward.kill_at - time.monotonic() for ward in self._wards.values() if ward.kill_at is not None]
        if any(ward.limit_bytes for ward in self._wards.values()):
            due.append(_LOOK_EVERY_S)
        return max(0.0, min(due)) if due else None

    def _obey(self, message: Message, fds: list[int]) -> Birth | None:
        if message.word is Word.FORK:
            return self._fork(message.serial, fds)
        ward = self._wards.get(message.serial)
        if ward is None:
            return None  # it has died in the meantime, and the node has been told
        if message.word is Word.WATCH:
            ward.limit_bytes = message.number
        elif message.word is Word.KILL:
            self._dismiss(ward, message.number / 1000)
        return None

    def _fork(self, serial: int, fds: list[int]) -> Birth | None:
        try:
            calls, stdout, stderr = _all(fds)
            pid = os.fork()
            if pid == 0:
                self._forget()
                return Birth(socket.socket(fileno=calls), stdout, stderr, self._directory / str(serial))
            self._wards[serial] = Ward(serial, pid)
            send(self._control, Message(Word.FORKED, serial, pid))
        except OSError as error:
            send(self._control, Message(Word.REFUSED, serial, error.errno or errno.EAGAIN))
        for fd in fds:
            os.close(fd)
        return None

    def _forget(self) -> None:
        """In a worker: let go of what is the nursery's."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for ours in (self._control, *self._wakeup):
            ours.close()
        if self._node_fd is not None:
            os.close(self._node_fd)

    def _dismiss(self, ward: Ward, grace_s: float) -> None:
        if grace_s > 0:
            ward.kill_at = time.monotonic() + grace_s
            processes.signal_group(ward.pid, signal.SIGTERM)
        else:
            ward.kill_at = None
            self._destroy(ward)

    def _destroy(self, ward: Ward) -> None:
        processes.destroy(ward.pid, adopter=self._pid, spared={other.pid for other in self._wards.values()})

    def _look_after(self) -> None:
        """Kill those whose grace is over, and those that have grown too large."""
        for ward in list(self._wards.values()):
            if ward.kill_at is not None and ward.kill_at <= time.monotonic():
                self._dismiss(ward, 0)
            elif ward.limit_bytes:
                self._weigh(ward)

    def _weigh(self, ward: Ward) -> None:
        weight = processes.memory_bytes(ward.pid, ward.limit_bytes)
        if weight > ward.limit_bytes:
            ward.limit_bytes = 0
            send(self._control, Message(Word.OVER, ward.serial, weight))
            self._destroy(ward)

    def _bury(self) -> None:
        """Of every child that has died: end its family, then free its process id, then tell the node."""
        wards = {ward.pid: ward for ward in self._wards.values()}

        def end_family(pid: int) -> None:
            if pid in wards:
                self._destroy(wards[pid])

        while (death := _next_death(end_family)) is not None:
            pid, status = death
            if pid in wards:
                ward = self._wards.pop(wards[pid].serial)
                _remove(self._directory / str(ward.serial))
                send(self._control, Message(Word.GONE, ward.serial, os.waitstatus_to_exitcode(status)))

    def _end(self) -> None:
        processes.destroy_offspring(self._pid, [ward.pid for ward in self._wards.values()])
        _remove(self._directory)


def _wake_on_signals() -> tuple[socket.socket, socket.socket]:
    """A pair of sockets: the first becomes readable when a child has died. SIGTERM ends the nursery in good order."""
    pair = socket.socketpair()
    for end in pair:
        end.settimeout(0)
    signal.set_wakeup_fd(pair[1].fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)  # a handler there must be for the wakeup to work
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    return pair


def _all(fds: list[int]) -> list[int]:
    if len(fds) < 3:
        raise OSError(errno.EMFILE, "the kernel has dropped descriptors on the way")
    return fds


def _next_death(last_rites: Callable[[int], None]) -> tuple[int, int] | None:
    """A child that has died, and its status. Its process id is free afterwards; `last_rites` is called before, where the system allows that."""
    try:
        if not hasattr(os, "waitid"):
            pid, status = os.waitpid(-1, os.WNOHANG)
            last_rites(pid)
            return (pid, status) if pid else None
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if found is None:
            return None
        last_rites(found.si_pid)
        return os.waitpid(found.si_pid, 0)
    except ChildProcessError:
        return None


def _open_process(pid: int) -> int | None:
    """A descriptor that becomes readable when the process dies, however its sockets were passed on. None where there is no such thing."""
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None  # an old kernel or a strict container; the socket's end says the same, unless a fork of the node keeps it open


def _remove(directory: Path) -> None:
    """Whatever the code has put there. What can't be removed is named on stderr, which is the node's."""

    def complain(_: object, path: str, reason: tuple[type[BaseException], BaseException, object]) -> None:
        if not isinstance(reason[1], FileNotFoundError):
            sys.stderr.write(f"noetl: can't remove {path}: {reason[1]}\n")

    shutil.rmtree(directory, onerror=complain)
