"""A mailbox: two queues, and the place of its owner in a run queue.

Messages are bounded; what to do at the bound is the owner's policy. Signals are not bounded and come first. An idle mailbox is nothing but its slots:
the deque is there only while something waits, which is also how the owner knows that it is scheduled.
"""

from __future__ import annotations

import asyncio
import time
from abc import abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, Literal, Protocol, TypeVar

from noetl.errors import ActorDead, MailboxFull
from noetl.probe import MailboxAtBound, Probe

M = TypeVar("M")

Overflow = Literal["reject", "drop_oldest"]
"""At the bound: refuse the new message, or drop the one that has waited longest."""


class Sure:
    """A message in a mailbox that drops, but not this one: it was reported."""

    __slots__ = ("message",)

    def __init__(self, message: Any) -> None:
        self.message = message


def unwrapped(message: Any) -> Any:
    return message.message if type(message) is Sure else message


def unwrapping(handle: Callable[..., Any]) -> Callable[..., Any]:
    """The handler, for what stands in a mailbox that drops."""
    return lambda message, *more: handle(unwrapped(message), *more)


class Dispatcher(Protocol):
    """Who gives owners their turns."""

    now_s: float
    """`time.perf_counter` a moment ago: when a turn ended and others waited, or the first owner came into an empty run queue."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...

    @property
    def probe(self) -> Probe: ...

    def schedule(self, owner: Any) -> None: ...


class Backlog:
    """Of an owner that has not caught up in one turn. What waited at `at_s` is handled once the owner's reductions reach `until`."""

    __slots__ = ("at_s", "is_told", "until")

    def __init__(self, at_s: float, until: int) -> None:
        self.at_s = at_s
        self.until = until
        self.is_told = False
        """Whether somebody was told that the mailbox is at its bound."""


class Mailbox(Generic[M]):
    """The base of what can be told something. `accepting` says whether messages are taken; `room` holds those who wait for a place.

    `reductions` counts what its owner has handled. `since_s` is the latest time (`time.perf_counter`) of which it is known that all that waits now
    came after it: when the mailbox was last empty or, under a backlog, the last mark but one. No message carries a time of its own.
    """

    __slots__ = ("accepting", "backlog", "capacity", "messages", "overflow", "reductions", "room", "runtime", "signals", "since_s")

    def __init__(self, runtime: Dispatcher) -> None:
        self.runtime: Any = runtime
        self.accepting = False
        self.capacity = 0
        self.overflow: Overflow = "reject"
        self.messages: deque[M] | None = None
        self.signals: deque[Any] | None = None
        self.room: deque[asyncio.Future[None]] | None = None
        self.reductions = 0
        self.since_s = 0.0
        self.backlog: Backlog | None = None

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
        if len(messages) < self.capacity or self._make_room(messages):
            messages.append(message)

    def report(self, message: M) -> None:
        if self.accepting:
            messages = self.messages
            waiting: deque[Any] = self.wake() if messages is None else messages
            waiting.append(message if self.overflow == "reject" else Sure(message))

    async def send(self, message: M) -> None:
        while self.accepting and self.messages is not None and len(self.messages) >= self.capacity:
            self._tell_bound()
            place: asyncio.Future[None] = self.runtime.loop.create_future()
            if self.room is None:
                self.room = deque()
            self.room.append(place)
            try:
                await place
            except asyncio.CancelledError:
                self.let_in()  # perhaps it was our turn: the next one's, then
                raise
        self.tell(message)

    def wake(self) -> deque[M]:
        """A deque, and a place in the run queue."""
        runtime = self.runtime
        messages: deque[M] = deque()
        self.messages = messages
        if self.is_schedulable():
            runtime.schedule(self)
            self.since_s = runtime.now_s
        else:
            self.since_s = time.perf_counter()
        return messages

    def signal_first(self, signal: Any) -> None:
        """Put a signal behind the other signals and before all messages."""
        signals = self.signals
        if signals is None:
            signals = self.signals = deque()
        signals.append(signal)
        if self.messages is None:
            self.wake()

    def rest(self, messages: deque[M]) -> None:
        """Nothing is left to do: be without a deque."""
        if self.messages is messages:
            self.messages = self.signals = self.backlog = None
            if self.room is not None:
                self.let_in()

    def fall_behind(self, now_s: float) -> None:
        """The owner's turn is over, and something still waits: set a mark when the last one is reached."""
        backlog, until = self.backlog, self.reductions + len(self.messages or ()) + len(self.signals or ())
        if backlog is None:
            self.backlog = Backlog(now_s, until)
        elif self.reductions >= backlog.until:
            self.since_s = backlog.at_s
            backlog.at_s, backlog.until = now_s, until

    def let_in(self) -> None:
        """Wake as many of those who wait for a place as there are places. One that finds its place taken waits again."""
        room = self.room
        places = self.capacity - len(self.messages or ())
        while room and places > 0:
            place = room.popleft()
            if not place.done():
                place.set_result(None)
                places -= 1
        if not room:
            self.room = None

    def close(self) -> None:
        """Take nothing any more, and drop what waits."""
        messages, room = self.messages, self.room
        self.accepting = False
        self.messages = self.signals = self.room = self.backlog = None
        if messages is not None:
            messages.clear()  # the turn that may be under way must not go on with it
        if room is not None:
            for place in room:
                if not place.done():
                    place.set_exception(ActorDead(f"{self.path} is not running"))

    def _tell_bound(self) -> None:
        """Say that the mailbox is at its bound; once, until it was empty again."""
        if self.backlog is None:
            self.fall_behind(time.perf_counter())
        if self.backlog is not None and not self.backlog.is_told:
            self.backlog.is_told = True
            if MailboxAtBound in self.runtime.probe.wanted:
                self.runtime.probe.emit(MailboxAtBound(self.path, self.capacity, self.overflow))

    def _make_room(self, messages: deque[Any]) -> bool:
        """Whether there is a place now. Where nothing that waits may be dropped, the new message is."""
        self._tell_bound()
        if self.overflow == "reject":
            raise MailboxFull(f"the mailbox of {self.path} is full ({len(messages)} messages)")
        for place, message in enumerate(messages):
            if type(message) is not Sure:
                del messages[place]
                return True
        return False
