"""A reader's terminals: a shell that is typed into, and others in which something is left running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType

_END = "\x04end of the output"


class Terminal:
    """A bash in `folder`, in which `noetl` and `python` are those that run the tests."""

    def __init__(self, folder: Path, programs: Path) -> None:
        programs.mkdir()
        for name, command in (("noetl", f"{sys.executable} -m noetl"), ("python", sys.executable)):
            (programs / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
            (programs / name).chmod(0o755)
        self._environment = {"PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(programs), "LANG": "C.UTF-8"}
        self._left: list[subprocess.Popen[str]] = []
        self._shell = self._open(["bash", "--noprofile", "--norc"], folder)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for process in (*self._left, self._shell):
            with process:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)

    def type(self, command: str) -> list[str]:
        """The lines that a command prints, on both streams."""
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.write(f"{{ {command}\n}} 2>&1 </dev/null; echo; echo '{_END}'\n")
        self._shell.stdin.flush()
        lines: list[str] = []
        for line in self._shell.stdout:
            if line == f"{_END}\n":
                return _without_last_break(lines)
            lines.append(line.rstrip("\n"))
        raise AssertionError(f"the shell has ended: {lines}")

    def folder(self) -> Path:
        """Where the shell is."""
        return Path(self.type("pwd")[0])

    def leave_running(self, command: str, *, count: int) -> list[str]:
        """Start a command in a terminal of its own, in the directory of the first; the first `count` lines that it prints."""
        process = self._open(["bash", "-c", f"exec {command} 2>&1"], self.folder())
        self._left.append(process)
        assert process.stdout is not None
        lines: list[str] = []
        for line in process.stdout:
            lines.append(line.rstrip("\n"))
            if len(lines) == count:
                return lines
        raise AssertionError(f"{command} has ended: {lines}")

    def _open(self, command: list[str], folder: Path) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, cwd=folder, env=self._environment, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True, start_new_session=True
        )


def _without_last_break(lines: list[str]) -> list[str]:
    """Without the line break that was put behind the output, which may end without one of its own."""
    return lines[:-1] if lines and not lines[-1] else lines
