"""Which process this is, told apart from every other at any time, and whether another one still runs."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from noetl.store.lease import Owner


def this_process(node: str) -> Owner:
    pid = os.getpid()
    return Owner(node=node, pid=pid, began=_began(pid) or "", boot=_boot(), host=socket.gethostname())


def is_alive(owner: Owner) -> bool:
    """Whether the owner still runs. One on another machine, or in another container, can't be asked: it counts as running."""
    if owner.boot == _boot():
        return _began(owner.pid) == owner.began
    return owner.host != socket.gethostname()  # this machine, before it was booted again


def _began(pid: int) -> str | None:
    """When a process began, so that a pid that was given again is not taken for the old process; None when there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except FileNotFoundError:
        return None if Path("/proc/self/stat").exists() else _began_elsewhere(pid)
    except OSError:
        return None
    return None if fields[0] in ("Z", "X") else fields[19]  # a zombie runs no more; field 22 of the line is the start time in ticks


def _began_elsewhere(pid: int) -> str | None:
    """Systems without /proc."""
    import psutil  # noqa: PLC0415  only there

    try:
        return str(psutil.Process(pid).create_time())
    except psutil.Error:
        return None


def _boot() -> str:
    """The boot of this machine, and the namespace in which pids count."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        import psutil  # noqa: PLC0415  as above

        return str(psutil.boot_time())
