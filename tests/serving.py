"""A real node of profile solo, as a process of its own."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType

from tests.cli.command import ENVIRONMENT, noetl


class Node:
    """Started in `folder`, on a free port unless one is named."""

    def __init__(self, folder: Path, *, port: int = 0, env: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.url = ""
        self._env = env or {}
        self._command = [sys.executable, "-m", "noetl", "node", "start", "solo", "--port", str(port)]

    def __enter__(self) -> Node:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.end(signal.SIGTERM)

    def start(self) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            self._command, cwd=self.folder, env=ENVIRONMENT | self._env, stdout=pipe, stderr=subprocess.STDOUT, text=True
        )
        assert self._process.stdout is not None
        said: list[str] = []
        for line in self._process.stdout:
            said.append(line)
            found = re.search(r"listens at (http://\S+)", line)
            if found:
                self.url = found[1]
                return
        raise AssertionError(f"the node has ended: {''.join(said)}")

    def end(self, how: signal.Signals) -> str:
        """What else it has said."""
        self._process.send_signal(how)
        rest, _ = self._process.communicate(timeout=30)
        return rest

    @property
    def port(self) -> str:
        return self.url.rpartition(":")[2]

    def noetl(self, *arguments: str, env: dict[str, str] | None = None, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command that talks to this node."""
        return noetl(*arguments, cwd=cwd or self.folder, env={"NOETL_URL": self.url} | (env or {}))

    def shell(self, line: str) -> subprocess.CompletedProcess[str]:
        """Type a line into a shell in which `noetl` is the one that runs the tests."""
        command = f'noetl() {{ {sys.executable} -m noetl "$@"; }}\n{line}'
        environment = ENVIRONMENT | {"NOETL_URL": self.url}
        return subprocess.run(["bash", "-c", command], cwd=self.folder, env=environment, capture_output=True, text=True, timeout=50, check=False)
