"""Running the real command in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

ENVIRONMENT = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/tmp"), "LANG": "C.UTF-8"}


def write(folder: Path, workflow: str, *, name: str = "test", head: str = "") -> str:
    """A playbook around a workflow (and further root keys), written at any indentation; the name of its file."""
    text = f"apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {{name: {name}}}\n{textwrap.dedent(head)}\nworkflow:\n{textwrap.dedent(workflow)}\n"
    (folder / f"{name}.yaml").write_text(text)
    return f"{name}.yaml"


def noetl(*arguments: str, cwd: Path, env: dict[str, str] | None = None, timeout_s: float = 50, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run `noetl` to its end."""
    options: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | more
    return subprocess.run(
        [sys.executable, "-m", "noetl", *arguments],
        cwd=cwd,
        env=ENVIRONMENT | (env or {}),
        text=True,
        timeout=timeout_s,
        check=False,
        **options,
    )


def start(*arguments: str, cwd: Path, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """Start `noetl` and leave it running. Standard output and error come in one stream."""
    return subprocess.Popen(
        [sys.executable, "-m", "noetl", *arguments],
        cwd=cwd,
        env=ENVIRONMENT | (env or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def read_until(process: subprocess.Popen[str], *texts: str) -> list[str]:
    """The lines that it prints, until each of `texts` was in one."""
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line.rstrip("\n"))
        if all(any(text in line for line in lines) for text in texts):
            return lines
    raise AssertionError(f"ended without saying {texts}: {lines}")


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit status and what else it prints, once it has ended."""
    rest, _ = process.communicate(timeout=30)
    return process.returncode, rest


def killed_at(append: int, when: str, *arguments: str, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run `noetl`, which kills itself with SIGKILL at its n-th append: `before` it is handed to SQLite, or `after` it was committed and before anybody
    was told."""
    return _scripted("killer.py", str(append), when, *arguments, cwd=cwd, env=env)


def with_full_disk(pages: int, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run `noetl` on a store that may grow by so many pages from its first append on."""
    return _scripted("fulldisk.py", str(pages), *arguments, cwd=cwd)


def _scripted(script: str, *arguments: str, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(Path(__file__).with_name(script)), *arguments],
        cwd=cwd,
        env=ENVIRONMENT | (env or {}),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def was_killed(process: subprocess.CompletedProcess[str]) -> bool:
    return process.returncode == -signal.SIGKILL


def document(process: subprocess.CompletedProcess[str]) -> Any:
    """The one JSON document on standard output."""
    return json.loads(process.stdout)


def listed(cwd: Path, *options: str) -> list[dict[str, Any]]:
    """`executions list`."""
    found: list[dict[str, Any]] = document(noetl("executions", "list", "--json", *options, cwd=cwd))
    return found


def newest(cwd: Path) -> str:
    """Id of the execution that was started last."""
    identifier: str = listed(cwd)[0]["execution_id"]
    return identifier


def files(folder: Path) -> set[str]:
    """Everything below a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}
