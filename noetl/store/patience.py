"""What needs the store while that is away waits for it, as appends do: a connection that was lost for a moment is no failure of a step."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from noetl.errors import LogUnavailable, StoreAway

T = TypeVar("T")

_PAUSE_S: Final = 0.1
_PAUSE_MAX_S: Final = 2.0
_log: Final = logging.getLogger("noetl.store")


async def patiently(job: Callable[[], Awaitable[T]], away: type[LogUnavailable] = StoreAway) -> T:
    """Do it again until it does not raise `away`. The job must be one that may be done twice."""
    pause_s = _PAUSE_S
    while True:
        try:
            return await job()
        except away as error:
            if pause_s == _PAUSE_S:
                _log.warning("%s; it is tried again", error)
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 2, _PAUSE_MAX_S)
