"""The few calls of the C library that Python has no name for."""

from __future__ import annotations

import ctypes
import signal
import sys
from typing import Final

_LIBC: Final = ctypes.CDLL(None)
_LINUX: Final = sys.platform == "linux"
_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
_PR_SET_CHILD_SUBREAPER: Final = 36


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies. Not inherited by children."""
    if _LINUX:
        _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def die_with_parent() -> None:
    """Be killed by the kernel when the parent dies. Not inherited by children."""
    if _LINUX:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def flush_streams() -> None:
    """Write what C code has printed and not flushed."""
    _LIBC.fflush(None)
