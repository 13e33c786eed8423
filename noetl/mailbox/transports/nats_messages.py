"""Messages as NATS brings them."""

from __future__ import annotations

from typing import Any, Final, Protocol

from nats.aio.msg import Msg

from noetl.mailbox.address import dead

ID_HEADER: Final = "Nats-Msg-Id"
REASON_HEADER: Final = "Noetl-Reason"
NO_RESPONDERS: Final = "503"


class Sender(Protocol):
    def send(self, subject: str, body: bytes, reply: str = "", headers: dict[str, str] | None = None) -> None:
        """Put it on its way, if there is one."""
        ...


class NatsMessage:
    __slots__ = ("_msg", "_sender")

    def __init__(self, msg: Msg, sender: Sender) -> None:
        self._msg = msg
        self._sender = sender

    @property
    def subject(self) -> str:
        return self._msg.subject

    @property
    def body(self) -> bytes:
        return self._msg.data


class NatsDelivery(NatsMessage):
    __slots__ = ()

    def reply(self, body: bytes) -> None:
        if self._msg.reply:
            self._sender.send(self._msg.reply, body)


class NatsCommand(NatsMessage):
    __slots__ = ()

    @property
    def deliveries(self) -> int:
        return int(self._msg.metadata.num_delivered)

    def ack(self) -> None:
        self._sender.send(self._msg.reply, b"+ACK")

    def give_back(self) -> None:
        self._sender.send(self._msg.reply, b"-NAK")

    def term(self, reason: str) -> None:
        self._sender.send(dead(self.subject), self.body, headers={REASON_HEADER: reason})
        self._sender.send(self._msg.reply, b"+TERM")


def status_of(msg: Any) -> str | None:
    """What the server itself says; None: it is a message of somebody."""
    return None if msg.headers is None else msg.headers.get("Status")
