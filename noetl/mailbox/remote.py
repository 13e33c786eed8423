"""Actors of other nodes: told and asked as those of one's own, over the bus, by an address that is a role.

A message is a Struct of the one closed union that its receiver takes, as msgpack; fields that a node does not know it skips. Who has the address may
change between two messages, and any message may be lost or come twice (`noetl.mailbox.transport`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

import msgspec

from noetl.errors import CallError
from noetl.mailbox.transport import Delivery, Listening, Transport

M = TypeVar("M")
Sent = TypeVar("Sent", contravariant=True)
R = TypeVar("R")

_encode: Final = msgspec.msgpack.Encoder().encode
_log: Final = logging.getLogger("noetl.bus")


class Unreadable(CallError):
    """The answer is none: what has answered speaks another language."""


class RemoteRef(Generic[Sent]):
    """The address of an actor whose inbox is `Sent`, wherever it is; or of a group, whose members all get what is told."""

    __slots__ = ("_bus", "address")

    def __init__(self, address: str, bus: Transport) -> None:
        self.address = address
        self._bus = bus

    def tell(self, message: Sent) -> None:
        """Put a message on its way. Raises `BusUnavailable` when it is known that nobody gets it."""
        self._bus.publish(self.address, _encode(message))

    async def ask(self, message: Sent, returns: type[R], timeout_s: float) -> R:
        """Send a message and wait for its answer.

        Raises:
            BusUnavailable: nobody has the address now, or the bus is gone.
            AskTimeout: no answer within `timeout_s`: perhaps it was done all the same.
            Unreadable: what came is no `returns`.
        """
        answer = await self._bus.request(self.address, _encode(message), timeout_s)
        try:
            return msgspec.msgpack.decode(answer, type=returns)
        except msgspec.MsgspecError as error:
            raise Unreadable(f"what {self.address} has answered can't be read: {error}") from error


class Mailed(msgspec.Struct, Generic[M], frozen=True):
    """A message that came in over the bus."""

    message: M
    delivery: Any

    def answer(self, value: Any) -> None:
        """Nothing when nobody waits for one, or the bus is gone."""
        self.delivery.reply(_encode(value))


def receive(bus: Transport, address: str, inbox: Any, hear: Callable[[Mailed[Any]], None]) -> Listening:
    """From now on what is sent to the address is heard here. `inbox` is the union of what may come: what is none of it lies in the dead letters."""
    decode = msgspec.msgpack.Decoder(inbox).decode

    def take(delivery: Delivery) -> None:
        try:
            message = decode(delivery.body)
        except msgspec.MsgspecError as error:
            _log.warning("a message at %s can't be read: %s", delivery.subject, error)
            bus.dead_letter(delivery.subject, delivery.body, str(error))
        else:
            hear(Mailed(message, delivery))

    return bus.listen(address, take)
