"""Who may append: shards, their owners and epochs.

A shard has at most one owner at a time. Each change of owner raises its epoch, and an append names the epoch it was made under, so that a process
that was thought dead and comes back can't write.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from msgspec import Struct


class Owner(Struct, frozen=True):
    """A process, such that no other at any time is the same: its pid, when it began, and which boot of which machine it runs in."""

    node: str
    pid: int
    began: str
    boot: str
    host: str

    def __str__(self) -> str:
        return f"{self.node} (pid {self.pid} on {self.host})"


class Shard(Struct, frozen=True):
    id: int
    epoch: int


IsAlive = Callable[[Owner], bool]


class Shards(Protocol):
    async def new_shard(self, owner: Owner, newest: int = 1) -> Shard:
        """A private shard of the owner's own, which reads and writes formats up to `newest`."""
        ...

    async def release(self, shard: Shard) -> None:
        """Give a shard up: nobody owns it, and nobody appends under its epoch any more."""
        ...

    async def is_ours(self, shard: Shard) -> bool:
        """Whether nobody has taken the shard since it was given to us."""
        ...

    async def adopt(self, execution_id: int, into: Shard, is_alive: IsAlive) -> None:
        """Move an execution and all its relatives into a shard of ours, and fence the shard that they were in.

        Raises:
            NotFound: no such execution.
            Owned: the shard's owner is alive; the error says who it is.
            StoreTooNew: its format is newer than that of our shard.
        """
        ...

    async def adopt_left(self, into: Shard, is_alive: IsAlive) -> list[int]:
        """Move all executions that nodes have accepted, and whose process is gone, into a shard of ours, and fence the shards that they were in.
        Those in shards of a newer format stay where they are.

        Returns:
            The ids of those that somebody has to go on with now. Others wait in the store, and are woken when their time has come.
        """
        ...

    async def format_of(self, shard: int) -> int:
        """The newest format that the logs of a shard may hold; 0 when there is no such shard."""
        ...

    async def owner_of(self, execution_id: int) -> Owner | None:
        """Who owns the shard of an execution, dead or alive; None when nobody does."""
        ...
