"""Running the real command in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

ENVIRONMENT = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/tmp"), "LANG": "C.UTF-8"}


def noetl(*arguments: str, cwd: Path, env: dict[str, str] | None = None, timeout_s: float = 50) -> subprocess.CompletedProcess[str]:
    """Run `noetl` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "noetl", *arguments], cwd=cwd, env=ENVIRONMENT | (env or {}), capture_output=True, text=True, timeout=timeout_s, check=False
    )


def start(*arguments: str, cwd: Path, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """Start `noetl` and leave it running. Standard output and error come in one stream."""
    return subprocess.Popen(
        [sys.executable, "-m", "noetl", *arguments], cwd=cwd, env=ENVIRONMENT | (env or {}), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def killed_at(append: int, when: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run `noetl`, which kills itself with SIGKILL at its n-th append: `before` it is handed to SQLite, or `after` it was committed and before anybody was told."""
    script = Path(__file__).with_name("killer.py")
    return subprocess.run(
        [sys.executable, str(script), str(append), when, *arguments], cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=50, check=False
    )


def was_killed(process: subprocess.CompletedProcess[str]) -> bool:
    return process.returncode == -signal.SIGKILL


def document(process: subprocess.CompletedProcess[str]) -> Any:
    """The one JSON document on standard output."""
    return json.loads(process.stdout)


def newest(cwd: Path) -> str:
    """Id of the execution that was started last."""
    identifier: str = document(noetl("executions", "list", "--json", cwd=cwd))[0]["execution_id"]
    return identifier
