"""The actor that keeps a node connected to the bus. Its troubles are nobody else's: those who use the bus are told `BusUnavailable`, and wait."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import Any, Final

from msgspec import Struct

from noetl.actors.actor import AsyncActor, Context, Reason
from noetl.mailbox.transport import BusUnavailable
from noetl.mailbox.transports.jetstream import NatsBus
from noetl.probe import Happening
from noetl.settings import NatsSettings
from noetl.supervisors.spec import Backoff, ChildSpec

_PAUSE_S: Final = 0.1
_PAUSE_MAX_S: Final = 2.0
_log: Final = logging.getLogger("noetl.bus")


class BusConnected(Happening, frozen=True):
    """The node reaches the bus."""


class BusLost(Happening, frozen=True):
    """The node does not reach the bus."""

    reason: str


class Connect(Struct, frozen=True):
    """To oneself: try to connect."""


class Check(Struct, frozen=True):
    """To oneself: see whether the bus brings back what is sent."""


class Over(Struct, frozen=True):
    """To oneself: the connection is over. `of` is the one that is meant."""

    of: Any


LinkInbox = Connect | Check | Over


class Link(AsyncActor[LinkInbox]):
    """`silence_s`: how long the bus may not bring back what was sent before it is left."""

    def __init__(self, bus: NatsBus, silence_s: float) -> None:
        self._bus = bus
        self._silence_s = silence_s
        self._pause_s = _PAUSE_S
        self._is_told = False

    async def init(self, ctx: Context[LinkInbox]) -> None:
        ctx.self_ref.report(Connect())
        ctx.send_interval(self._silence_s / 2, Check())

    async def handle(self, message: LinkInbox, ctx: Context[LinkInbox]) -> None:
        match message:
            case Connect():
                await self._connect(ctx)
            case Over(of):
                if of is self._bus.lost:
                    await self._reconnect("the connection was closed", ctx)
            case Check():
                if self._bus.is_up and not await self._bus.check(self._silence_s):
                    await self._reconnect("it is silent", ctx)

    async def terminate(self, reason: Reason, ctx: Context[LinkInbox]) -> None:
        await self._bus.close()

    async def _connect(self, ctx: Context[LinkInbox]) -> None:
        if self._bus.is_up:
            return
        try:
            await self._bus.connect()
        except BusUnavailable as error:
            self._say_lost(str(error), ctx)
            ctx.send_after(self._pause_s, Connect())
            self._pause_s = min(self._pause_s * 2, _PAUSE_MAX_S)
            return
        self._pause_s, self._is_told = _PAUSE_S, False
        ctx.probe.emit(BusConnected())
        lost = self._bus.lost
        assert lost is not None
        ctx.run(_ended(lost), lambda _: Over(lost))

    async def _reconnect(self, why: str, ctx: Context[LinkInbox]) -> None:
        await self._bus.disconnect()
        self._say_lost(why, ctx)
        await self._connect(ctx)

    def _say_lost(self, reason: str, ctx: Context[LinkInbox]) -> None:
        """Once, until it is there again."""
        if not self._is_told:
            self._is_told = True
            ctx.probe.emit(BusLost(reason))
            _log.warning("the bus is lost: %s", reason)


async def _ended(lost: asyncio.Future[None]) -> None:
    await asyncio.shield(lost)


def link_spec(bus: NatsBus, settings: NatsSettings) -> ChildSpec:
    return ChildSpec(id="bus", start=partial(Link, bus, settings.silence_s), shutdown_s=5.0, backoff=Backoff(initial_s=0.2, max_s=5.0))
