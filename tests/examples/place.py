"""Running the examples as a user does: the real command, from the root of the repository, with a store of the test's own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.cli.command import ENVIRONMENT, document, noetl, start
from tests.tools.sandbox_news import marked

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
FLIGHTS_PATH = "examples/flights/flights"


class Place:
    """A store, a folder for results, and all processes that were started from here: they are known by their HOME."""

    def __init__(self, folder: Path) -> None:
        self.store = folder / "store"
        self.out = folder / "out"
        self._started: list[subprocess.Popen[str]] = []
        self._env = {"HOME": str(folder / "home"), "NOETL_HOME": str(self.store)}

    def noetl(self, *arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return noetl(*arguments, cwd=ROOT, env=self._env | (env or {}))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        process = start(*arguments, cwd=ROOT, env=self._env)
        self._started.append(process)
        return process

    def report(self, *arguments: str, env: dict[str, str] | None = None) -> dict[str, Any]:
        """The report of a run that completes; `arguments` are those of `noetl run`."""
        process = self.noetl("run", *arguments, "--json", env=env)
        report: dict[str, Any] = document(process)
        assert (process.returncode, report["status"]) == (0, "completed"), process.stdout + process.stderr
        return report

    def events(self, execution: str) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = document(self.noetl("executions", "events", execution, "--json"))
        return events

    def killed_after(self, event: str, step: str, *arguments: str) -> str:
        """Run `noetl run`, which kills itself with SIGKILL when an event of a step has just been committed. The id of the execution."""
        command = [sys.executable, str(Path(__file__).with_name("kill_after.py")), event, step, "run", *arguments]
        process = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT | self._env, capture_output=True, text=True, timeout=50, check=False)
        assert process.returncode == -9, process.stdout + process.stderr
        return process.stdout.split()[1]

    def processes(self) -> set[int]:
        return marked(self._env["HOME"])

    def close(self) -> None:
        """End what a test that failed has left running."""
        for process in self._started:
            with process:
                process.kill()


def results(report: dict[str, Any]) -> dict[str, Any]:
    """Step -> result."""
    return {name: step.get("result") for name, step in report["steps"].items()}
