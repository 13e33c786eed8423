"""How the sandbox's tests wait for what happens: lines that code prints, and deaths of processes."""

from __future__ import annotations

import asyncio
import os
import select
from collections.abc import Iterable
from pathlib import Path

DEADLINE_S = 20.0


class Heard:
    """A `log` that can be waited for."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []
        self._news = asyncio.Event()

    def __call__(self, stream: str, line: str) -> None:
        self.lines.append((stream, line))
        self._news.set()

    def of(self, stream: str) -> list[str]:
        return [line for its, line in self.lines if its == stream]

    async def until(self, start: str) -> str:
        """The rest of the first line that starts so, printed now or later."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                for _, line in self.lines:
                    if line.startswith(start):
                        return line.removeprefix(start).strip()
                self._news.clear()
                await self._news.wait()


def marked(marker: str) -> set[int]:
    """The processes that have a text in their command line or their environment."""
    return {int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and _has(entry, marker.encode())}


def _has(process: Path, marker: bytes) -> bool:
    try:
        return marker in (process / "cmdline").read_bytes() or marker in (process / "environ").read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2][:1] not in b"ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def exists(path: str) -> bool:
    return Path(path).exists()


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[1])


def await_deaths(pids: Iterable[int], deadline_s: float = DEADLINE_S) -> None:
    """Return when all have died."""
    for pid in pids:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        ready, _, _ = select.select([descriptor], [], [], deadline_s)
        os.close(descriptor)
        assert ready, f"process {pid} lives on: {Path(f'/proc/{pid}/cmdline').read_bytes()!r}"
