"""How messages get from one node to another. What is promised: nothing that a sender could rely on but order of magnitude.

A message may be lost, doubled, late, or overtaken by another. Who needs more keeps what he has sent until he is told that it is done, and allows it
to come twice. A message has at most `MESSAGE_MAX_BYTES`: what is larger travels by handle.

Two kinds of traffic: *subjects* reach who listens now (a request, an answer, news); *commands* lie in a stream until somebody pulls them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from noetl.errors import CallError

MESSAGE_MAX_BYTES: Final = 262_144


class BusUnavailable(CallError):
    """The bus can't be reached, or has no place for the message: try again, or go another way."""


class Delivery(Protocol):
    """A message that came in."""

    @property
    def subject(self) -> str: ...

    @property
    def body(self) -> bytes: ...

    def reply(self, body: bytes) -> None:
        """Answer a request. Nothing when nobody waits for one, or the bus is gone."""
        ...


class Command(Protocol):
    """A command that was pulled. It comes again, to whoever pulls, unless it is acked in time."""

    @property
    def subject(self) -> str: ...

    @property
    def body(self) -> bytes: ...

    @property
    def deliveries(self) -> int:
        """Which delivery this is, from 1."""
        ...

    def ack(self) -> None:
        """It need not come again. May be lost like any message."""
        ...

    def give_back(self) -> None:
        """It comes again, at once, to whoever pulls."""
        ...

    def term(self, reason: str) -> None:
        """It can't be read: it never comes again, and lies in the dead letters, with the reason."""
        ...


class Listening(Protocol):
    def stop(self) -> None:
        """Hear nothing more. What was delivered and not handled is dropped."""
        ...


class Puller(Protocol):
    """Takes commands of some subjects from the stream."""

    async def pull(self, most: int) -> list[Command]:
        """At least one, at most `most`, as soon as there are any: however long that takes. What is pulled by nobody waits.

        Raises:
            BusUnavailable: not now. Ask again; the pause is the transport's.
        """
        ...

    def rest(self) -> None:
        """Let go of what was asked for: what has come and nobody has taken comes again, to others. A `pull` that waits ends with `BusUnavailable`;
        the next one asks anew."""
        ...

    def close(self) -> None:
        """Pull no more."""
        ...


class Transport(Protocol):
    """The connection of one node to the others. Its methods run on the loop that opened it."""

    @property
    def is_up(self) -> bool: ...

    def watch(self, changed: Callable[[bool], None]) -> None:
        """`changed` is called with True when the bus can be reached (again), with False when it can't be any more."""
        ...

    def publish(self, subject: str, body: bytes) -> None:
        """Send to all who listen now. Raises `BusUnavailable` when it is known that nobody hears it."""
        ...

    async def request(self, subject: str, body: bytes, timeout_s: float) -> bytes:
        """Send to somebody who listens, and wait for the answer.

        Raises:
            BusUnavailable: nobody listens, or the bus is gone; at once, as far as it is known.
            AskTimeout: no answer within `timeout_s`.
        """
        ...

    def listen(self, subject: str, handle: Callable[[Delivery], None]) -> Listening:
        """Hear what is sent to a subject; `*` stands for any one part of it, a last `>` for all that follow. It goes on over losses of the
        connection.

        `handle` must not raise: what can't be read is its business."""
        ...

    async def command(self, subject: str, body: bytes, message_id: str) -> None:
        """Put a command into the stream. Two of one id within two minutes are one. When this returns the stream has it.

        Raises:
            BusUnavailable: nobody knows whether it is there.
        """
        ...

    def puller(self, name: str, subjects: tuple[str, ...], ack_within_s: float) -> Puller:
        """All pullers of one name share the commands of their subjects: each goes to one of them. A consumer of that name is made in the stream when
        it is not there, also when the stream is made anew."""
        ...

    def on_new_stream(self, told: Callable[[], None]) -> None:
        """`told` is called when the stream of commands was made anew: all that waited in it is gone."""
        ...

    def dead_letter(self, subject: str, body: bytes, reason: str) -> None:
        """Keep what could not be read, for a person. Nothing when the bus is gone."""
        ...

    async def event(self, subject: str, body: bytes, message_id: str) -> None:
        """Put an event into the stream of events, for live views and other systems. As `command`."""
        ...

    async def close(self) -> None:
        """Send what was published, then let go."""
        ...


OpenTransport = Callable[[], Awaitable[Transport]]
