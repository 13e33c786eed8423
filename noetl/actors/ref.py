"""How others reach an actor: a ref names a role, not an incarnation, and outlives restarts."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from msgspec import Struct

if TYPE_CHECKING:
    from noetl.actors.actor import Reason

M = TypeVar("M", contravariant=True)
R = TypeVar("R")


class Ref(ABC, Generic[M]):
    """The address of an actor whose inbox is `M`."""

    __slots__ = ()

    @property
    @abstractmethod
    def path(self) -> str:
        """Where the actor stands in the tree, such as `solo/shard/executions/1234`."""

    @abstractmethod
    def tell(self, message: M) -> None:
        """Put a message into the mailbox.

        Raises:
            ActorDead: it is not running.
            MailboxFull: the mailbox is at its bound and its policy is to reject.
        """

    @abstractmethod
    def report(self, message: M) -> None:
        """Tell what the actor itself set in motion: an outcome. Never refused for fullness; dropped when the actor is not running."""

    @abstractmethod
    async def send(self, message: M) -> None:
        """Put a message into the mailbox, waiting for room. For senders that are no actors.

        In an actor's handler it is `tell`: actors that wait for room could wait for each other.

        Raises:
            ActorDead: it is not running.
            MailboxFull: as `tell`, in a handler.
        """

    @abstractmethod
    async def ask(self, make: Callable[[Reply[R]], M], timeout_s: float) -> R:
        """Send the message that `make` gives for a reply address, and wait for the reply.

        Raises:
            ActorDead: it is not running, or ends before it replies.
            MailboxFull: as `tell`.
            AskTimeout: no reply within `timeout_s` seconds.
            AskCycle: it waits, perhaps through others, for the asker.
        """

    @abstractmethod
    def is_alive(self) -> bool:
        """Whether an incarnation is running or starting now."""

    @abstractmethod
    def is_dead(self) -> bool:
        """Whether none is left, not even one that is ending."""

    @abstractmethod
    def kill(self) -> None:
        """End the actor at once, without its consent."""

    @abstractmethod
    def exit(self, reason: Reason, sender: Ref[Any] | None = None) -> None:
        """Send an exit signal. An actor that traps exits gets an `Exit`; any other ends with `reason`, unless that is `normal`.

        `KILL` can't be trapped: it is `kill`, and others see `killed`. An Exit without a sender names the receiver.
        """


class Reply(Struct, Generic[R], eq=False):
    """Where an answer goes. Answering twice, or after the deadline, has no effect.

    A struct for the speed of making one: each ask makes one.
    """

    future: asyncio.Future[Any] | None
    """Where somebody waits; None once it was answered."""
    due_s: float = 0.0
    """When it is too late, in the time of the event loop."""

    @property
    def is_over(self) -> bool:
        """Whether it was answered, or nobody waits any more."""
        return self.future is None or self.future.done()

    def send(self, value: R) -> None:
        future = self.future
        if future is not None:
            self.future = None
            if not future.done():
                future.set_result(value)

    def fail(self, error: Exception) -> None:
        future = self.future
        if future is not None:
            self.future = None
            if not future.done():
                future.set_exception(error)
