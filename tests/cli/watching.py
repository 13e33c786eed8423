"""A terminal in which `noetl` takes the whole screen: what is on it now, and keys for it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from tests.cli.command import ENVIRONMENT


class Watching:
    def __init__(self, *arguments: str, cwd: Path, env: dict[str, str] | None = None, size: tuple[int, int] = (24, 120)) -> None:
        self._pid, self._terminal = pty.fork()
        if self._pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
            os.chdir(cwd)
            os.execve(sys.executable, [sys.executable, "-m", "noetl", *arguments], ENVIRONMENT | {"TERM": "xterm-256color"} | (env or {}))
        self.raw = b""
        self.status: int | None = None

    def __enter__(self) -> Watching:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.status is None:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
        os.close(self._terminal)

    @property
    def screen(self) -> list[str]:
        """The lines of the last screen that is complete, because another has begun after it. Without colours."""
        screens = self.raw.split(b"\x1b[H")
        last = screens[-2].decode() if len(screens) > 2 else ""
        return [line.rstrip() for line in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", last).replace("\r\n", "\n").splitlines()]

    def row(self, name: str) -> str:
        """The line of an actor; empty when it is not shown."""
        return next((line for line in self.screen if re.match(rf"\s*[▸▾]? ?{re.escape(name)} ", line)), "")

    def until(self, holds: Callable[[], object], patience_s: float = 20.0) -> None:
        """Read on until something is true of the screen."""
        deadline = time.monotonic() + patience_s
        while not holds():
            assert time.monotonic() < deadline, "\n".join(self.screen)
            assert self._read(), "\n".join(self.screen)

    def press(self, keys: str) -> None:
        os.write(self._terminal, keys.encode())

    def resize(self, lines: int, columns: int) -> None:
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def ended(self) -> int:
        """Read to the end; the exit status."""
        while self._read():
            pass
        self.status = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        return self.status

    def _read(self) -> bool:
        if not select.select([self._terminal], [], [], 1.0)[0]:
            return True
        try:
            data = os.read(self._terminal, 65536)
        except OSError:  # Linux: the other end was closed
            return False
        self.raw += data
        return bool(data)
