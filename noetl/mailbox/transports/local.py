"""A bus within one process: several nodes on one event loop, as in a simulation.

What the real bus may do to a message, this one does when it is told to: a `Fate` says for each message how often it arrives, and how late.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable
from typing import Final

from noetl.errors import AskTimeout
from noetl.mailbox.subjects import matches
from noetl.mailbox.transport import BusUnavailable, Command, Delivery, Listening

HUB: Final = "bus"
"""The end of the way for commands and events: the stream."""

Fate = Callable[[str, str], tuple[float, ...]]
"""Sender and receiver -> the delay of each copy that arrives, in seconds. None arrives: it is lost."""


def arrives(sender: str, receiver: str) -> tuple[float, ...]:
    """Once, at once."""
    return (0.0,)


class LocalBus:
    """One per simulated cluster."""

    def __init__(self, fate: Fate = arrives) -> None:
        self.fate = fate
        self.stream = Stream()
        self.events: list[tuple[str, bytes]] = []
        """What was put into the stream of events."""
        self._listeners: dict[Ear, None] = {}
        self._event_ids: set[str] = set()
        self._told: list[Callable[[], None]] = []

    def transport(self, node: str) -> LocalTransport:
        return LocalTransport(self, node)

    def drop_stream(self) -> None:
        """All commands that wait are gone, as when somebody deletes the stream."""
        self.stream.clear()
        for told in self._told:
            told()

    def on_new_stream(self, told: Callable[[], None]) -> None:
        self._told.append(told)

    def add(self, ear: Ear) -> None:
        self._listeners[ear] = None

    def remove(self, ear: Ear) -> None:
        self._listeners.pop(ear, None)

    def ears(self, subject: str) -> list[Ear]:
        return [ear for ear in self._listeners if matches(ear.subject, subject)]

    def keep_event(self, subject: str, body: bytes, message_id: str) -> None:
        if message_id not in self._event_ids:
            self._event_ids.add(message_id)
            self.events.append((subject, body))

    def send(self, sender: str, receiver: str, arrive: Callable[[], None]) -> int:
        """How many copies are on their way."""
        loop = asyncio.get_running_loop()
        delays = self.fate(sender, receiver)
        for delay_s in delays:
            if delay_s > 0:
                loop.call_later(delay_s, arrive)
            else:
                loop.call_soon(arrive)
        return len(delays)


class Ear:
    """Who listens to a subject."""

    def __init__(self, bus: LocalBus, node: str, subject: str, handle: Callable[[Delivery], None]) -> None:
        self.node = node
        self.subject = subject
        self.handle = handle
        self._bus = bus

    def hear(self, delivery: Delivery) -> None:
        if self in self._bus.ears(delivery.subject):  # it may have stopped meanwhile
            self.handle(delivery)

    def stop(self) -> None:
        self._bus.remove(self)


class LocalDelivery:
    def __init__(self, subject: str, body: bytes, reply: Callable[[bytes], None]) -> None:
        self.subject = subject
        self.body = body
        self.reply = reply


class LocalTransport:
    """One node's end."""

    def __init__(self, bus: LocalBus, node: str) -> None:
        self._bus = bus
        self._node = node
        self._ears: list[Ear] = []
        self._pullers: list[LocalPuller] = []
        self._watchers: list[Callable[[bool], None]] = []
        self.is_up = True

    def cut(self) -> None:
        """The node finds that it can't reach the bus."""
        self._set_up(up=False)

    def heal(self) -> None:
        self._set_up(up=True)

    def watch(self, changed: Callable[[bool], None]) -> None:
        self._watchers.append(changed)

    def publish(self, subject: str, body: bytes) -> None:
        self._check_up()
        for ear in self._bus.ears(subject):
            self._send(ear, LocalDelivery(subject, body, _nobody))

    async def request(self, subject: str, body: bytes, timeout_s: float) -> bytes:
        self._check_up()
        ears = self._bus.ears(subject)
        if not ears:
            raise BusUnavailable(f"nobody listens at {subject}")
        answered: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        def answer(given: bytes) -> None:
            if not answered.done():
                answered.set_result(given)

        for ear in ears:
            self._send(ear, LocalDelivery(subject, body, self._back_from(ear, answer)))
        try:
            async with asyncio.timeout(timeout_s):
                return await answered
        except TimeoutError:
            raise AskTimeout(f"no answer from {subject} within {timeout_s:g} s") from None

    def listen(self, subject: str, handle: Callable[[Delivery], None]) -> Listening:
        ear = Ear(self._bus, self._node, subject, handle)
        self._ears.append(ear)
        self._bus.add(ear)
        return ear

    async def command(self, subject: str, body: bytes, message_id: str) -> None:
        await self._to_hub(lambda: self._bus.stream.put(subject, body, message_id))

    def puller(self, name: str, subjects: tuple[str, ...], ack_within_s: float) -> LocalPuller:
        puller = LocalPuller(self._bus.stream, subjects, ack_within_s)
        self._pullers.append(puller)
        return puller

    def on_new_stream(self, told: Callable[[], None]) -> None:
        self._bus.on_new_stream(told)

    def dead_letter(self, subject: str, body: bytes, reason: str) -> None:
        self._bus.stream.dead.append((subject, body, reason))

    async def event(self, subject: str, body: bytes, message_id: str) -> None:
        await self._to_hub(lambda: self._bus.keep_event(subject, body, message_id))

    async def close(self) -> None:
        for ear in self._ears:
            ear.stop()
        for puller in self._pullers:
            puller.close()
        self._set_up(up=False)

    def _send(self, ear: Ear, delivery: Delivery) -> None:
        self._bus.send(self._node, ear.node, lambda: ear.hear(delivery))

    def _back_from(self, ear: Ear, answer: Callable[[bytes], None]) -> Callable[[bytes], None]:
        def reply(body: bytes) -> None:
            self._bus.send(ear.node, self._node, lambda: answer(body))

        return reply

    async def _to_hub(self, arrive: Callable[[], None]) -> None:
        self._check_up()
        if not self._bus.send(self._node, HUB, arrive):
            raise BusUnavailable("the stream has not answered")

    def _check_up(self) -> None:
        if not self.is_up:
            raise BusUnavailable("the bus can't be reached")

    def _set_up(self, *, up: bool) -> None:
        if self.is_up != up:
            self.is_up = up
            for changed in self._watchers:
                changed(up)


def _nobody(body: bytes) -> None:
    """Nobody waits for an answer."""


class Stream:
    """Commands that wait, in the order of their coming; and those that were given out and not acked."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._waiting: dict[int, LocalCommand] = {}
        self._ids: set[str] = set()
        self._pullers: deque[LocalPuller] = deque()
        self.dead: list[tuple[str, bytes, str]] = []
        """Dead letters: subject, body, reason."""

    def put(self, subject: str, body: bytes, message_id: str) -> None:
        if message_id in self._ids:
            return
        self._ids.add(message_id)
        number = next(self._numbers)
        self._waiting[number] = LocalCommand(self, number, subject, body)
        self.serve()

    def clear(self) -> None:
        self._waiting.clear()
        self._ids.clear()

    def add(self, puller: LocalPuller) -> None:
        self._pullers.append(puller)
        self.serve()

    def remove(self, puller: LocalPuller) -> None:
        if puller in self._pullers:
            self._pullers.remove(puller)

    def serve(self) -> None:
        """Give what waits to those who pull, in their order."""
        for puller in list(self._pullers):
            found = [command for command in self._waiting.values() if not command.is_out and puller.wants(command)][: puller.most]
            if found:
                self._pullers.remove(puller)
                for command in found:
                    command.give_out(puller.ack_within_s)
                puller.take(found)

    def forget(self, number: int) -> None:
        self._waiting.pop(number, None)


class LocalCommand:
    def __init__(self, stream: Stream, number: int, subject: str, body: bytes) -> None:
        self.subject = subject
        self.body = body
        self.deliveries = 0
        self.is_out = False
        self._stream = stream
        self._number = number
        self._again: asyncio.TimerHandle | None = None

    def give_out(self, ack_within_s: float) -> None:
        self.deliveries += 1
        self.is_out = True
        self._again = asyncio.get_running_loop().call_later(ack_within_s, self._come_again)

    def ack(self) -> None:
        if self._again is not None:
            self._again.cancel()
        self._stream.forget(self._number)

    def give_back(self) -> None:
        if self._again is not None:
            self._again.cancel()
        self._come_again()

    def term(self, reason: str) -> None:
        self._stream.dead.append((self.subject, self.body, reason))
        self.ack()

    def _come_again(self) -> None:
        self.is_out = False
        self._stream.serve()


class LocalPuller:
    def __init__(self, stream: Stream, subjects: tuple[str, ...], ack_within_s: float) -> None:
        self.ack_within_s = ack_within_s
        self.most = 0
        self._stream = stream
        self._subjects = subjects
        self._pulled: asyncio.Future[list[Command]] | None = None

    def wants(self, command: LocalCommand) -> bool:
        return any(matches(subject, command.subject) for subject in self._subjects)

    async def pull(self, most: int) -> list[Command]:
        self.most = most
        pulled: asyncio.Future[list[Command]] = asyncio.get_running_loop().create_future()
        self._pulled = pulled
        self._stream.add(self)
        try:
            return await pulled
        finally:
            self._stream.remove(self)

    def take(self, commands: list[LocalCommand]) -> None:
        if self._pulled is not None and not self._pulled.done():
            self._pulled.set_result(list(commands))

    def rest(self) -> None:
        self._stream.remove(self)
        if self._pulled is not None and not self._pulled.done():
            self._pulled.set_exception(BusUnavailable("it rests"))

    def close(self) -> None:
        self._stream.remove(self)
        if self._pulled is not None:
            self._pulled.cancel()
