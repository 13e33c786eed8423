"""What executions have fetched and may use for a while: tokens, and entries of their keychains. One per node; nothing of it is kept on disk."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, Generic, TypeVar

from noetl.clock import Clock

V = TypeVar("V")

_MARGIN_S: Final = 30.0
_MARGIN_SHARE: Final = 0.1
"""What lasts for long is renewed half a minute early, so that it does not expire on its way; what lasts for less, a tenth of its time."""


class Lasting(Generic[V]):
    """A value, and for how many seconds from now it may be used; None: for as long as the execution lasts."""

    __slots__ = ("lasts_s", "value")

    def __init__(self, value: V, lasts_s: float | None = None) -> None:
        self.value = value
        self.lasts_s = lasts_s


class Fetched:
    """Who asks while somebody else fetches gets what comes of that."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kept: dict[int, dict[str, tuple[Any, float | None]]] = {}
        self._under_way: dict[tuple[int, str], asyncio.Future[Any]] = {}

    async def get(self, execution_id: int, key: str, fetch: Callable[[], Awaitable[Lasting[V]]], *, alone: bool = False) -> V:
        """What is kept under the key, fetched when it is not there or has expired. `alone`: do not wait for others, who may be waiting for us."""
        while True:
            value, expires = self._kept.get(execution_id, {}).get(key, (None, 0.0))
            if expires is None or self._clock.monotonic() < expires:
                found: V = value
                return found
            others = self._under_way.get((execution_id, key))
            if others is None or alone:
                return await self._fetch(execution_id, key, fetch)
            try:
                shared: V = await asyncio.shield(others)
            except asyncio.CancelledError:
                if not others.cancelled():
                    raise  # we were cancelled, not the one who fetches
            else:
                return shared

    async def _fetch(self, execution_id: int, key: str, fetch: Callable[[], Awaitable[Lasting[V]]]) -> V:
        future = asyncio.get_running_loop().create_future()
        place = (execution_id, key)
        self._under_way.setdefault(place, future)
        try:
            lasting = await fetch()
        except Exception as error:
            future.set_exception(error)
            future.exception()  # those who wait raise it; nobody may be waiting
            raise
        except BaseException:
            future.cancel()
            raise
        finally:
            if self._under_way.get(place) is future:
                del self._under_way[place]
        self._kept.setdefault(execution_id, {})[key] = (lasting.value, self._expiry(lasting.lasts_s))
        future.set_result(lasting.value)
        return lasting.value

    def _expiry(self, lasts_s: float | None) -> float | None:
        return None if lasts_s is None else self._clock.monotonic() + lasts_s - min(_MARGIN_S, lasts_s * _MARGIN_SHARE)

    async def end_execution(self, execution_id: int) -> None:
        self._kept.pop(execution_id, None)

    async def close(self) -> None:
        self._kept.clear()
