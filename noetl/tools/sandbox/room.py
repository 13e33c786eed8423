"""Where a call finds itself: an empty directory of its own, an environment of its own, streams and signals as if nothing had run before."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import time
from io import TextIOWrapper
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from noetl.tools.sandbox import environment
from noetl.tools.sandbox.calling import TASK_MODULE
from noetl.tools.sandbox.libc import flush_streams
from noetl.tools.sandbox.messages import Job

_SIGNALS: Final = tuple(
    signal.Signals[f"SIG{name}"] for name in ("HUP", "INT", "QUIT", "PIPE", "ALRM", "TERM", "CHLD", "USR1", "USR2", "VTALRM", "PROF")
)
"""Those for which code is likely to set a handler."""


class Stopped(SystemExit):
    """Raised in the code by SIGTERM, so that its `finally` blocks run. A SystemExit, because asyncio lets that one through."""


class Room:
    """Made once per worker, before any of the author's code has run; what it finds then is what every call finds."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._environ = environment.for_calls()
        self._path = list(sys.path)
        self._main = sys.modules["__main__"]
        self._recursion = sys.getrecursionlimit()
        self._umask = os.umask(0o022)
        os.umask(self._umask)
        self._printed = [os.dup(1), os.dup(2)]
        self._streams = [_stream(1), _stream(2)]
        self.stopping = False
        signal.signal(signal.SIGTERM, self._stop)
        self._handlers = {number: signal.getsignal(number) for number in _SIGNALS}
        self._calls = 0
        self.leave()
        self.prepare()

    def prepare(self) -> None:
        """Make the next call's directory: done while the node looks at the last answer."""
        self._calls += 1
        self._inside().mkdir(parents=True)

    def enter(self, job: Job) -> None:
        try:
            os.chdir(self._inside())
        except FileNotFoundError:  # somebody has tidied up the machine's temporary files
            self._inside().mkdir(parents=True)
            os.chdir(self._inside())
        self._set_environment(self._environ | {"TMPDIR": str(self._inside())} | job.env)
        sys.argv[:] = [job.file]

    def leave(self) -> str | None:
        """Take back what the call has changed and delete its files. Says what it left running, if anything."""
        self._restore_signals()
        sys.modules["__main__"] = self._main
        sys.modules.pop(TASK_MODULE, None)
        self._restore_streams()
        sys.setrecursionlimit(self._recursion)
        sys.path[:] = self._path
        os.umask(self._umask)
        os.chdir("/")
        return _left_running() or self._remove_files()

    def _restore_signals(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        for number, handler in self._handlers.items():
            if signal.getsignal(number) is not handler:
                signal.signal(number, handler)

    def _stop(self, number: int, frame: FrameType | None) -> NoReturn:
        self.stopping = True
        raise Stopped

    def _set_environment(self, wanted: dict[str, str]) -> None:
        zone = os.environ.get("TZ")
        for name in os.environ.keys() - wanted.keys():
            del os.environ[name]
        for name, value in wanted.items():
            if os.environ.get(name) != value:
                os.environ[name] = value
        if wanted.get("TZ") != zone:
            time.tzset()
        if "tempfile" in sys.modules:
            setattr(sys.modules["tempfile"], "tempdir", None)  # noqa: B010  mypy knows no modules by name. It remembers the TMPDIR of an earlier call

    def _restore_streams(self) -> None:
        """1 and 2 are our pipes again, whatever was done to them; then what is still held back is printed."""
        self._reconnect()
        self._streams = [_stream(index) if stream.closed else stream for index, stream in enumerate(self._streams, start=1)]
        sys.stdout, sys.stderr = self._streams
        sys.__dict__.update(__stdout__=sys.stdout, __stderr__=sys.stderr)
        self._reconnect()  # a stream of the code's that went away just now may have closed 1 or 2
        flush_streams()
        for stream in self._streams:
            stream.flush()

    def _reconnect(self) -> None:
        for number, pipe in enumerate(self._printed, start=1):
            os.dup2(pipe, number)

    def _inside(self) -> Path:
        return self._directory / str(self._calls)

    def _remove_files(self) -> str | None:
        try:
            self._inside().rmdir()
        except FileNotFoundError:
            return None
        except OSError:
            return self._remove_tree()
        return None

    def _remove_tree(self) -> str | None:
        try:
            shutil.rmtree(self._inside())
        except OSError as error:
            return f"files that can't be removed ({error})"
        return None


def _stream(number: int) -> TextIOWrapper:
    """A text stream that gives a line away as soon as it is complete, and leaves the descriptor open when it is closed."""
    return open(number, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)


def _left_running() -> str | None:
    threads = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread() and not thread.daemon]
    if threads:
        return f"running threads ({', '.join(threads)[:200]})"
    try:
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass  # a zombie that nobody had waited for
    except ChildProcessError:
        return None
    return "running processes"
