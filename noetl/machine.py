"""What of this machine this process may use."""

from __future__ import annotations

import os


def cores() -> int:
    """Cores that the process may run on, which are fewer than the machine's under `taskset` or in a container that is pinned."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
