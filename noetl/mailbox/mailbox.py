"""A mailbox: two queues, and the place of its owner in a run queue.

Messages are bounded; what to do at the bound is the owner's policy. Signals are not bounded and come first. An idle mailbox is nothing but its slots:
the deque is there only while something waits, which is also how the owner knows that it is scheduled.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections import deque
from typing import Any, Generic, Literal, Protocol, TypeVar

from noetl.errors import ActorDead, MailboxFull

M = TypeVar("M")

Overflow = Literal["reject", "drop_oldest"]
"""At the bound: refuse the new message, or drop the one that has waited longest."""


class Dispatcher(Protocol):
    """Who gives owners their turns."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...

    def schedule(self, owner: Any) -> None: ...

    def take_deque(self) -> deque[Any]: ...

    def give_deque(self, spare: deque[Any]) -> None: ...


class Mailbox(Generic[M]):
    """The base of what can be told something. `accepting` says whether messages are taken; `room` holds those who wait for a place."""

    __slots__ = ("accepting", "capacity", "messages", "overflow", "room", "runtime", "signals")

    def __init__(self, runtime: Dispatcher) -> None:
        self.runtime: Any = runtime
        self.accepting = False
        self.capacity = 0
        self.overflow: Overflow = "reject"
        self.messages: deque[M] | None = None
        self.signals: deque[Any] | None = None
        self.room: deque[asyncio.Future[None]] | None = None

    @property
    @abstractmethod
    def path(self) -> str: ...

    @abstractmethod
    def is_schedulable(self) -> bool:
        """Whether the owner may get turns now; if not, what comes waits."""

    def tell(self, message: M) -> None:
        if not self.accepting:
            raise ActorDead(f"{self.path} is not running")
        messages = self.messages
        if messages is None:
            self.wake().append(message)
            return
        if len(messages) >= self.capacity:
            self._make_room(messages)
        messages.append(message)

    def report(self, message: M) -> None:
        if self.accepting:
            messages = self.messages
            (self.wake() if messages is None else messages).append(message)

    async def send(self, message: M) -> None:
        while self.accepting and self.messages is not None and len(self.messages) >= self.capacity:
            place: asyncio.Future[None] = self.runtime.loop.create_future()
            if self.room is None:
                self.room = deque()
            self.room.append(place)
            await place
        self.tell(message)

    def wake(self) -> deque[M]:
        """The deque, made; and a place in the run queue."""
        messages: deque[M] = self.runtime.take_deque()
        self.messages = messages
        if self.is_schedulable():
            self.runtime.schedule(self)
        return messages

    def signal_first(self, signal: Any) -> None:
        """Put a signal behind the other signals and before all messages."""
        if self.signals is None:
            self.signals = deque()
        self.signals.append(signal)
        if self.messages is None:
            self.wake()

    def rest(self, messages: deque[M]) -> None:
        """Nothing is left to do: give the deque back."""
        if self.messages is messages:
            self.messages = None
            self.runtime.give_deque(messages)
            if self.room is not None:
                self.let_in()

    def let_in(self) -> None:
        """Wake those who wait for a place; who finds none waits again."""
        room, self.room = self.room, None
        for place in room or ():
            if not place.done():
                place.set_result(None)

    def close(self) -> None:
        """Take nothing any more, and drop what waits."""
        messages, room = self.messages, self.room
        self.accepting = False
        self.messages = self.signals = self.room = None
        if messages is not None:
            messages.clear()  # the turn that may be under way must not go on with it
        for place in room or ():
            if not place.done():
                place.set_exception(ActorDead(f"{self.path} is not running"))

    def _make_room(self, messages: deque[M]) -> None:
        if self.overflow == "reject":
            raise MailboxFull(f"the mailbox of {self.path} is full ({len(messages)} messages)")
        messages.popleft()
