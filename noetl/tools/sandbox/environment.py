"""Which variables cross from the node to the author's code."""

from __future__ import annotations

import os
from typing import Final

_ALLOWED: Final = ("PATH", "HOME", "LANG", "TZ")
_ALLOWED_PREFIX: Final = "LC_"
_INTERPRETER: Final = ("PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH")
"""What our interpreter may need to start and to find its packages. Calls do not see it."""


def for_nursery() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name in _INTERPRETER or _is_allowed(name)}


def for_calls() -> dict[str, str]:
    """In a worker: what every call finds, besides its own TMPDIR and what the task may see."""
    return {name: value for name, value in os.environ.items() if _is_allowed(name)}


def _is_allowed(name: str) -> bool:
    return name in _ALLOWED or name.startswith(_ALLOWED_PREFIX)
