"""Puts committed events on the bus, for live views and other systems: what is in the log of the shards that this node owns, in its order.

It reads the store from where it was, so that none is skipped; a message that is sent twice, since a node was killed between sending and noting it,
has the same id and is taken once.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from noetl.actors.actor import AsyncActor, Context
from noetl.cluster.membership import Vicinity
from noetl.engine.client import EventView
from noetl.engine.eventlist import event_views
from noetl.errors import CallError, LogUnavailable
from noetl.mailbox.address import events
from noetl.mailbox.transport import MESSAGE_MAX_BYTES, Transport
from noetl.store.log import FedAppend, Log, Positions
from noetl.vault.secrets import Secrets

READER: Final = "bus"
_EVERY_S: Final = 0.1
_TOGETHER: Final = 500
_KNOWN: Final = 4_096
"""Executions whose loops are remembered."""
_encode = msgspec.json.Encoder(enc_hook=str).encode


class Published(Struct, frozen=True):
    """One message: what one append holds. `version` counts the appends of the execution, without gaps: one that a disturbed bus has let overtake
    another is known by it. `events` is null where they are too large for a message: the API has them, behind `after`."""

    execution_id: str
    path: str
    version: int
    after: int
    count: int
    events: tuple[EventView, ...] | None


class Look(Struct, frozen=True):
    """To oneself: time to read on."""


class Publisher(AsyncActor[Look]):
    def __init__(self, log: Log, positions: Positions, bus: Transport, vicinity: Vicinity, secrets: Secrets) -> None:
        self._log = log
        self._positions = positions
        self._bus = bus
        self._vicinity = vicinity
        self._secrets = secrets
        self._after: dict[int, int] = {}
        """How far each shard of ours has been published."""
        self._loops: OrderedDict[int, set[int]] = OrderedDict()

    async def init(self, ctx: Context[Look]) -> None:
        ctx.self_ref.report(Look())

    async def handle(self, message: Look, ctx: Context[Look]) -> None:
        more = False
        try:
            await self._see_shards()
            more = bool(self._after) and self._bus.is_up and await self._publish()
        except (LogUnavailable, CallError):
            pass  # later, from where it was
        ctx.send_after(0.0 if more else _EVERY_S, Look())

    async def _see_shards(self) -> None:
        """A shard that is new to us goes on where its owner before us was."""
        own = self._vicinity.own
        ours = {row.shard.id for row in self._vicinity.cluster.shards if own is not None and row.owner == own}
        self._after = {shard: after for shard, after in self._after.items() if shard in ours}
        if ours - self._after.keys():
            kept = await self._positions.positions(READER)
            self._after.update({shard: kept.get(shard, 0) for shard in ours - self._after.keys()})

    async def _publish(self) -> bool:
        """Whether there may be more."""
        fed = await self._log.fed(self._after, _TOGETHER)
        if not fed:
            return False
        messages = [(append, self._message(append, await self._loops_of(append))) for append in fed]
        await asyncio.gather(*[self._send(append, message) for append, message in messages])  # they leave in this order
        reached = {append.shard: append.sequence for append in fed}
        await self._positions.keep_positions(READER, reached)
        self._after.update(reached)
        return len(fed) >= _TOGETHER

    async def _send(self, fed: FedAppend, message: bytes) -> None:
        await self._bus.event(events(fed.path.partition("/")[0], fed.execution_id), message, f"{fed.shard}.{fed.sequence}")

    def _message(self, fed: FedAppend, loops: set[int]) -> bytes:
        views = [msgspec.structs.replace(view, data=self._secrets.hide(view.data)) for view in event_views(fed.append, loops)]
        body = _encode(_message(fed, views, tuple(views)))
        return body if len(body) <= MESSAGE_MAX_BYTES else _encode(_message(fed, views, None))

    async def _loops_of(self, fed: FedAppend) -> set[int]:
        """Which runs of the execution are loops: what is before this append says so."""
        loops = self._loops.get(fed.execution_id)
        if loops is None:
            loops = self._loops[fed.execution_id] = set()
            before = await self._log.read(fed.execution_id, upto=fed.append.version - 1) if fed.append.version > 1 else []
            for row in before:
                list(event_views(row, loops))
            while len(self._loops) > _KNOWN:
                self._loops.popitem(last=False)
        return loops


def _message(fed: FedAppend, views: Sequence[EventView], shown: Any) -> Published:
    return Published(
        execution_id=str(fed.execution_id),
        path=fed.path,
        version=fed.append.version,
        after=fed.append.first_seq - 1,
        count=len(views),
        events=shown,
    )
