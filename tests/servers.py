"""Nodes as processes of their own, as users start them."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

_READY = re.compile(r"node (\S+) (?:listens at (http://\S+)|runs the pools)")
_END_S = 30.0


class Server:
    """A node that was started with `noetl node start`, or what `program` has in its place. `said` are the lines that it has printed."""

    def __init__(
        self, home: Path, *options: str, profile: str = "solo", environment: dict[str, str] | None = None, program: Sequence[str] = ("-m", "noetl")
    ) -> None:
        port = [] if "--port" in options else ["--port", "0"]
        command = [sys.executable, *program, "node", "start", profile, *port, *options]
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("NOETL_")}
        self.environment = {**inherited, "NOETL_HOME": str(home), **(environment or {})}
        self.process = subprocess.Popen(command, cwd=home.parent, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.said: list[str] = []
        self.url = self._url()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _url(self) -> str:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line.rstrip("\n"))
            if found := _READY.search(line):
                self.id = found[1]
                return found[2] or ""
        raise AssertionError(f"the node did not start: {self.said}")

    def _read(self) -> None:
        assert self.process.stderr is not None
        with contextlib.suppress(ValueError):
            self.said.extend(line.rstrip("\n") for line in self.process.stderr)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def kill(self) -> None:
        self.process.kill()
        self.wait()

    def stop(self) -> int:
        """As SIGTERM does; its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """Until it ends; its exit status."""
        try:
            return self.process.wait(_END_S)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            self._reader.join()
            assert self.process.stderr is not None
            self.process.stderr.close()


@contextlib.contextmanager
def server(home: Path, *options: str, profile: str = "solo", environment: dict[str, str] | None = None) -> Iterator[Server]:
    started = Server(home, *options, profile=profile, environment=environment)
    try:
        yield started
    finally:
        started.stop()
