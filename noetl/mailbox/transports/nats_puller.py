"""Commands from a durable consumer of JetStream: asked for as slots are free."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Final, Protocol

from nats.aio.msg import Msg

from noetl.mailbox.transport import BusUnavailable
from noetl.mailbox.transports.nats_messages import NO_RESPONDERS, NatsCommand, Sender, status_of

_PULL_S: Final = 20.0
"""How long a request for commands lies at the server."""
_WAITING_OVER: Final = ("404", "408", "409")


class Consumers(Sender, Protocol):
    async def make_consumer(self, puller: NatsPuller) -> None:
        """Raises `BusUnavailable`."""
        ...

    def ask_for_commands(self, puller: NatsPuller, number: int, expires_s: float) -> None: ...

    def deafen(self, puller: NatsPuller) -> None:
        """It hears nothing more, until a consumer is made for it again."""
        ...

    def forget_puller(self, puller: NatsPuller) -> None: ...


class NatsPuller:
    """Commands that have come and were not asked for yet wait here."""

    def __init__(self, name: str, subjects: tuple[str, ...], ack_within_s: float, bus: Consumers) -> None:
        self.name = name
        self.subjects = subjects
        self.ack_within_s = ack_within_s
        self._bus = bus
        self._came: deque[NatsCommand] = deque()
        self._asked = 0
        """Commands that the server has been asked for and has not sent."""
        self._bell: asyncio.Future[None] | None = None
        self._is_there = False
        self._rests = False
        self._closed = False

    async def pull(self, most: int) -> list[Any]:
        self._rests = False
        while not self._came:
            if self._closed or self._rests:
                raise BusUnavailable("it pulls no more")
            await self._ask(most)
            self._bell = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(_PULL_S + 5.0):
                    await self._bell
            except TimeoutError:  # not even a word that there is nothing
                self.begin_again()
        return [self._came.popleft() for _ in range(min(most, len(self._came)))]

    def rest(self) -> None:
        self._rests = True
        self._bus.deafen(self)  # then the server drops what was asked for
        while self._came:
            self._came.popleft().give_back()
        self.begin_again()

    def close(self) -> None:
        self._closed = True
        self._bus.forget_puller(self)
        self._ring()

    async def _ask(self, most: int) -> None:
        """Raises `BusUnavailable`."""
        if not self._is_there:
            await self._bus.make_consumer(self)
            self._is_there, self._asked = True, 0
        wanted = most - self._asked
        if wanted > 0:
            self._asked += wanted
            self._bus.ask_for_commands(self, wanted, _PULL_S)

    async def hear(self, msg: Msg) -> None:
        status = status_of(msg)
        if status not in (*_WAITING_OVER, NO_RESPONDERS):
            self._asked = max(self._asked - 1, 0)
            self._came.append(NatsCommand(msg, self._bus))
        elif status == "408":
            left = int((msg.headers or {}).get("Nats-Pending-Messages", self._asked))
            self._asked = max(self._asked - left, 0)
        else:  # the consumer is gone, or its server
            self._asked, self._is_there = 0, False
        self._ring()

    def begin_again(self) -> None:
        """What was asked for will not come: it was asked on another connection, or of a stream that is no more."""
        self._asked, self._is_there = 0, False
        self._ring()

    def _ring(self) -> None:
        if self._bell is not None and not self._bell.done():
            self._bell.set_result(None)
