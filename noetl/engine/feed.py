"""Events of executions as they are committed, for those who look on.

What they get is read from the log, so that it is right after any crash; that something was committed here only wakes them. Executions of other
processes are looked at again and again. All who watch one execution share what was read.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Iterator
from typing import Final

import msgspec

from noetl.engine.client import EventView
from noetl.engine.eventlist import event_views
from noetl.engine.execution import ExecutionAdvanced
from noetl.probe import Happening, Probe
from noetl.store.store import Store
from noetl.vault.secrets import Secrets

_KEPT: Final = 1_000
"""Events that are at hand for those who are a little behind. Who is further behind reads the log."""
_ROWS: Final = 200
_LOOK_S: Final = 0.5
"""How often an execution of another process is looked at."""
_BEAT_S: Final = 15.0
"""How long it may be silent."""
ENDS: Final = frozenset({"ExecutionCompleted", "ExecutionFailed", "ExecutionCancelled"})


class Feed:
    """One per node."""

    def __init__(self, store: Store, probe: Probe, secrets: Secrets) -> None:
        self._store = store
        self._secrets = secrets
        self._channels: dict[int, _Channel] = {}
        self._unsubscribe = probe.subscribe(self._hear, ExecutionAdvanced)

    def close(self) -> None:
        self._unsubscribe()

    def _hear(self, happening: Happening) -> None:
        if isinstance(happening, ExecutionAdvanced):
            channel = self._channels.get(happening.execution_id)
            if channel is not None:
                channel.ring()

    async def ticking(self, execution_id: int, *, after: int = 0, is_ours: bool = True) -> AsyncIterator[EventView | None]:
        """The events behind number `after`, until the execution has ended; None now and then while nothing happens. `is_ours`: it runs here."""
        loop = asyncio.get_running_loop()
        beat = loop.time()
        with self._channel(execution_id) as channel:
            while True:
                found = await channel.after(after)
                for view in found:
                    after = view.seq
                    yield view
                if channel.is_over(after):
                    return
                if not found and not await channel.news(_BEAT_S if is_ours else _LOOK_S) and loop.time() - beat >= _BEAT_S:
                    beat = loop.time()
                    yield None

    @contextlib.contextmanager
    def _channel(self, execution_id: int) -> Iterator[_Channel]:
        channel = self._channels.get(execution_id)
        if channel is None:
            channel = self._channels[execution_id] = _Channel(execution_id, self._store, self._secrets)
        channel.watchers += 1
        try:
            yield channel
        finally:
            channel.watchers -= 1
            if not channel.watchers:
                del self._channels[execution_id]


class _Channel:
    """One execution that is watched. `views` are the last events that were read."""

    def __init__(self, execution_id: int, store: Store, secrets: Secrets) -> None:
        self.watchers = 0
        self._execution_id = execution_id
        self._store = store
        self._secrets = secrets
        self._views: deque[EventView] = deque(maxlen=_KEPT)
        self._version = 0
        self._loops: set[int] = set()
        self._lock = asyncio.Lock()
        self._stale = True
        self._bell: asyncio.Future[None] | None = None

    def ring(self) -> None:
        self._stale = True
        if self._bell is not None and not self._bell.done():
            self._bell.set_result(None)

    async def news(self, look_s: float) -> bool:
        """Wait until something was committed; False: nobody has said so for so long, but another process may have committed something."""
        if self._stale:
            return True
        if self._bell is None or self._bell.done():
            self._bell = asyncio.get_running_loop().create_future()
        bell = self._bell
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(look_s):
                await asyncio.shield(bell)
                return True
        self._stale = True
        return False

    def is_over(self, seq: int) -> bool:
        """Whether the event with that number is the last of an execution that has ended."""
        return bool(self._views) and not self._stale and self._views[-1].seq == seq and self._views[-1].name in ENDS

    async def after(self, seq: int) -> list[EventView]:
        async with self._lock:
            while self._stale:
                self._stale = False
                rows = await self._store.log.read(self._execution_id, self._version, self._version + _ROWS)
                for row in rows:
                    self._views.extend(self._hidden(view) for view in event_views(row, self._loops))
                    self._version = row.version
                if len(rows) == _ROWS:
                    self._stale = True
                    if self._views and self._views[0].seq > seq + 1:
                        break
        if self._views and self._views[0].seq > seq + 1:
            return await self._from_log(seq)
        return [view for view in self._views if view.seq > seq]

    async def _from_log(self, seq: int) -> list[EventView]:
        """For who is far behind."""
        found: list[EventView] = []
        loops: set[int] = set()
        version = 0
        while len(found) < _KEPT and (rows := await self._store.log.read(self._execution_id, version, version + _ROWS)):
            for row in rows:
                found += [self._hidden(view) for view in event_views(row, loops) if view.seq > seq]
            version = rows[-1].version
        return found

    def _hidden(self, view: EventView) -> EventView:
        return msgspec.structs.replace(view, data=self._secrets.hide(view.data)) if self._secrets.known else view
