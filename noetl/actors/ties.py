"""What ties an actor to others and to time: links, monitors, timers, tasks, and those who wait for its answers.

Most actors have none of it: the `Ties` are made when the first is needed, and end with the incarnation.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, TypeVar

from noetl.actors.actor import NOPROC, Down, Exit, Reason, Signal, Timer
from noetl.actors.ref import Ref, Reply
from noetl.errors import ActorDead, AskCycle
from noetl.mailbox.mailbox import Mailbox
from noetl.probe import TaskDisowned

if TYPE_CHECKING:
    from noetl.actors.loop import Runtime

M = TypeVar("M")
N = TypeVar("N")
R = TypeVar("R")


current_cell: Final[ContextVar[Tied[Any] | None]] = ContextVar("current_cell", default=None)
"""The async actor whose handler the running task belongs to."""


class Ties:
    """`asking` is whom the actor waits for, `pending` how many children are still to end.

    The containers are made when the first goes in: most actors that have ties at all have one.
    """

    __slots__ = ("asking", "deferred", "kill_timer", "links", "pending", "tasks", "timers", "waiters", "watchers", "watching")

    def __init__(self) -> None:
        self.links: set[Tied[Any]] | None = None
        self.watchers: dict[Tied[Any], None] | None = None
        self.watching: set[Tied[Any]] | None = None
        self.waiters: set[Reply[Any]] | None = None
        self.timers: set[Timer] | None = None
        self.tasks: set[asyncio.Task[Any]] | None = None
        self.asking: Tied[Any] | None = None
        self.pending = 0
        self.deferred = False
        self.kill_timer: asyncio.TimerHandle | None = None


def _added(members: set[N] | None, member: N) -> set[N]:
    if members is None:
        return {member}
    members.add(member)
    return members


def _without(members: set[N] | None, member: N) -> None:
    if members is not None:
        members.discard(member)


class Tied(Mailbox[M], Ref[M]):
    """The half of a cell that knows others. The other half lives and dies (`noetl.actors.cell`)."""

    __slots__ = ("_ties", "incarnation")
    runtime: Runtime

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(runtime)
        self.incarnation = 0
        self._ties: Ties | None = None

    @abstractmethod
    def is_dead(self) -> bool: ...

    @abstractmethod
    def hear(self, signal: Signal) -> None:
        """Take a signal, before all messages."""

    def _tie(self) -> Ties:
        if self._ties is None:
            self._ties = Ties()
        return self._ties

    async def ask(self, make: Callable[[Reply[R]], M], timeout_s: float) -> R:
        loop = self.runtime.loop
        future: asyncio.Future[R] = loop.create_future()
        reply: Reply[R] = Reply(future, self._forget_waiter)
        asker = current_cell.get()
        if asker is not None:
            self._refuse_cycle(asker)
            asker._tie().asking = self
        deadline = loop.call_later(timeout_s, self._expire, reply, timeout_s)
        try:
            self.tell(make(reply))
            ties = self._tie()
            ties.waiters = _added(ties.waiters, reply)
            return await future
        finally:
            deadline.cancel()
            self._forget_waiter(reply)
            if asker is not None and asker._ties is not None:
                asker._ties.asking = None

    def _refuse_cycle(self, asker: Tied[Any]) -> None:
        chain: list[Tied[Any]] = [asker]
        cell: Tied[Any] | None = self
        while cell is not None:
            chain.append(cell)
            if cell is asker:
                raise AskCycle(tuple(link.path for link in chain))
            cell = cell._ties.asking if cell._ties is not None else None

    def _expire(self, reply: Reply[Any], timeout_s: float) -> None:
        reply.expire(self.path, timeout_s)

    def link(self, ref: Ref[Any]) -> None:
        other = _local(ref)
        if other.is_dead():
            self.hear(Exit(other, NOPROC))
            return
        mine, theirs = self._tie(), other._tie()
        mine.links = _added(mine.links, other)
        theirs.links = _added(theirs.links, self)

    def unlink(self, ref: Ref[Any]) -> None:
        other = _local(ref)
        if self._ties is not None:
            _without(self._ties.links, other)
        if other._ties is not None:
            _without(other._ties.links, self)

    def _linked_ended(self, other: Tied[Any], reason: Reason) -> None:
        if self._ties is not None:
            _without(self._ties.links, other)
        self.hear(Exit(other, reason))

    def monitor(self, ref: Ref[Any]) -> None:
        other = _local(ref)
        if other.is_dead():
            self.hear(Down(other, NOPROC))
            return
        mine, theirs = self._tie(), other._tie()
        theirs.watchers = theirs.watchers or {}
        theirs.watchers[self] = None
        mine.watching = _added(mine.watching, other)

    def demonitor(self, ref: Ref[Any]) -> None:
        other = _local(ref)
        other._unwatch(self)
        if self._ties is not None:
            _without(self._ties.watching, other)

    def _unwatch(self, watcher: Tied[Any]) -> None:
        if self._ties is not None and self._ties.watchers is not None:
            self._ties.watchers.pop(watcher, None)

    def _watched_ended(self, other: Tied[Any], reason: Reason) -> None:
        if self._ties is not None:
            _without(self._ties.watching, other)
        self.hear(Down(other, reason))

    def send_after(self, delay_s: float, message: M) -> Timer:
        ties = self._tie()
        timer = Timer(self, delay_s, message)
        ties.timers = _added(ties.timers, timer)
        return timer

    def forget_timer(self, timer: Timer) -> None:
        if self._ties is not None:
            _without(self._ties.timers, timer)

    def run_task(self, work: Coroutine[Any, Any, N], then: Callable[[N | BaseException], M]) -> asyncio.Task[N]:
        ties, incarnation = self._tie(), self.incarnation
        task = self.runtime.loop.create_task(work)
        ties.tasks = _added(ties.tasks, task)

        def done(ended: asyncio.Task[N]) -> None:
            _without(ties.tasks, ended)
            error = asyncio.CancelledError() if ended.cancelled() else ended.exception()
            if self.incarnation == incarnation and not self.is_dead():
                self.report(then(ended.result() if error is None else error))
            elif isinstance(error, Exception):  # its owner has ended; nothing that it raises is lost
                self.runtime.probe.emit(TaskDisowned(self.path, error))

        task.add_done_callback(done)
        return task

    def _forget_waiter(self, reply: Reply[Any]) -> None:
        if self._ties is not None:
            _without(self._ties.waiters, reply)

    def _untie(self, ties: Ties, reason: Reason) -> None:
        """Tell everybody who asked to be told, once."""
        if ties.kill_timer is not None:
            ties.kill_timer.cancel()
        for timer in tuple(ties.timers or ()):
            timer.cancel()
        for task in tuple(ties.tasks or ()):
            task.cancel()
        for other in ties.watching or ():
            other._unwatch(self)
        for reply in tuple(ties.waiters or ()):
            reply.fail(ActorDead(f"{self.path} ended before it answered"))
        for watcher in ties.watchers or ():
            watcher._watched_ended(self, reason)
        for other in ties.links or ():
            other._linked_ended(self, reason)


def _local(ref: Ref[Any]) -> Tied[Any]:
    if not isinstance(ref, Tied):
        raise TypeError(f"{ref.path} is not on this node: links and monitors across nodes go through membership")
    return ref
