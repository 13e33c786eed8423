"""Families of processes: who descends from whom, what they weigh, and how they all end. Reads Linux's /proc."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Container, Iterable
from pathlib import Path
from typing import Final, NamedTuple

LINUX: Final = sys.platform == "linux"
_PROC: Final = Path("/proc")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_PATIENCE_S: Final = 2.0
"""A process in the kernel's hands (a dead network disk) may outlive a SIGKILL: we do not wait for it for ever."""


class Process(NamedTuple):
    pid: int
    parent: int
    session: int


def running() -> list[Process]:
    """All processes that one may see, zombies left out."""
    found = (_stat(entry.name) for entry in os.scandir(_PROC) if entry.name.isdigit())
    return [process for process in found if process is not None]


def _stat(pid: str) -> Process | None:
    try:
        text = Path(_PROC, pid, "stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, parent, _, session = text[text.rindex(b")") + 2 :].split(b" ", 4)[:4]  # the name before it may hold anything
    return None if state in (b"Z", b"X") else Process(int(pid), int(parent), int(session))


def family(leaders: Iterable[int], everybody: Iterable[Process]) -> set[int]:
    """The leaders' descendants, and who is in a session that one of them began. Without the leaders."""
    roots = set(leaders)
    children: dict[int, list[int]] = {}
    pending: list[int] = []
    for process in everybody:
        children.setdefault(process.parent, []).append(process.pid)
        if process.session in roots:
            pending.append(process.pid)
    pending += roots
    seen: set[int] = set()
    while pending:
        pid = pending.pop()
        if pid not in seen:
            seen.add(pid)
            pending += children.get(pid, ())
    return seen - roots


def send_signal(pid: int, number: int) -> None:
    """To a process that may be gone already, or another user's by now (sudo)."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def signal_group(leader: int, number: int) -> None:
    """To a worker and those of its children that stayed in its process group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS says "not permitted" of a group of zombies
        os.killpg(leader, number)


def destroy(leader: int, *, adopter: int | None = None, spared: Container[int] = ()) -> None:
    """End a process, its session and its descendants, wherever they have gone. The leader's process id must not have been freed.

    The leader is stopped first, so that it makes no more children, and dies last, so that those whose parent dies come to it (it is a subreaper) and
    are found there. When it is dead already they have come to `adopter`: of that one's children, all go that are not `spared`.
    """
    if not LINUX:
        signal_group(leader, signal.SIGKILL)
        return

    def doomed(everybody: list[Process]) -> set[int]:
        orphans = {process.pid for process in everybody if process.parent == adopter and process.pid not in spared}
        return orphans | family({leader, *orphans}, everybody)

    send_signal(leader, signal.SIGSTOP)
    end_all(doomed)
    send_signal(leader, signal.SIGKILL)


def destroy_offspring(parent: int, leaders: Iterable[int]) -> None:
    """End all that descends from a process that adopts orphans; `leaders` are its children that lead sessions."""
    if LINUX:
        end_all(lambda everybody: family({parent}, everybody))
    else:
        for leader in leaders:
            signal_group(leader, signal.SIGKILL)


def destroy_sessions(leaders: set[int]) -> None:
    """End sessions whose leaders are no children of ours and most likely dead, so that a leader's number alone says nothing."""
    if LINUX:
        end_all(lambda everybody: {process.pid for process in everybody if process.session in leaders} | family(leaders, everybody))
    else:
        for leader in leaders:
            signal_group(leader, signal.SIGKILL)


def end_all(doomed: Callable[[list[Process]], set[int]]) -> None:
    """SIGKILL the processes that `doomed` names until it names none: they may make others while they die."""
    give_up_at = time.monotonic() + _PATIENCE_S
    while (pids := doomed(running())) and time.monotonic() < give_up_at:
        for pid in pids:
            send_signal(pid, signal.SIGKILL)
        time.sleep(0.001)


def memory_bytes(leader: int, limit: int) -> int:
    """Resident memory of a process and its descendants.

    A page that several of them share counts once, but finding that out is slow: it is done only when the plain sum is over `limit`.
    """
    if not LINUX:
        return _memory_by_psutil(leader)
    pids = _descendants(leader)
    total = sum(_resident(pid) for pid in pids)
    return total if total <= limit or len(pids) == 1 else sum(_proportional(pid) for pid in pids)


def _descendants(leader: int) -> list[int]:
    """By the kernel's lists of children: as many small files as there are threads, however many processes the machine has."""
    found = [leader]
    for pid in found:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # gone, or a kernel without these lists
            for task in os.scandir(_PROC / str(pid) / "task"):
                found += map(int, Path(task.path, "children").read_bytes().split())
    return found


def _resident(pid: int) -> int:
    try:
        return int(Path(_PROC, str(pid), "statm").read_bytes().split()[1]) * _PAGE
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _proportional(pid: int) -> int:
    try:
        text = Path(_PROC, str(pid), "smaps_rollup").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith(b"Pss:")), 0)


def _memory_by_psutil(leader: int) -> int:
    import psutil  # noqa: PLC0415  20 ms, and never on Linux

    try:
        process = psutil.Process(leader)
        return sum(one.memory_info().rss for one in (process, *process.children(recursive=True)))
    except psutil.NoSuchProcess:
        return 0
