"""How others reach an actor: a ref names a role, not an incarnation, and outlives restarts."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from noetl.errors import AskTimeout

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

        Raises:
            ActorDead: it is not running.
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
    def kill(self) -> None:
        """End the actor at once, without its consent."""


class Reply(Generic[R]):
    """Where an answer goes. Answering twice, or after the deadline, has no effect."""

    __slots__ = ("_forget", "_future")

    def __init__(self, future: asyncio.Future[Any], forget: Callable[[Reply[Any]], None]) -> None:
        self._future = future
        self._forget = forget

    def send(self, value: R) -> None:
        if not self._future.done():
            self._forget(self)
            self._future.set_result(value)

    def fail(self, error: Exception) -> None:
        if not self._future.done():
            self._forget(self)
            self._future.set_exception(error)

    def expire(self, who: str, timeout_s: float) -> None:
        self.fail(AskTimeout(f"{who} did not answer within {timeout_s:g} s"))
