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
from noetl.actors.deadlines import Overdue
from noetl.actors.ref import Ref, Reply
from noetl.errors import ActorDead, AskCycle, AskTimeout
from noetl.mailbox.mailbox import Mailbox
from noetl.probe import TaskDisowned

if TYPE_CHECKING:
    from noetl.actors.loop import Runtime

M = TypeVar("M")
N = TypeVar("N")
R = TypeVar("R")


current_cell: Final[ContextVar[Tied[Any] | None]] = ContextVar("current_cell", default=None)
"""The async actor whose handler the running task belongs to."""


_DISOWN_S: Final = 1.0
"""How long a task may go on after its actor has ended before that is reported."""


_SPARE_TIES: Final = 64


class Ties:
    """`asking` is whom the actor's handler waits for, `pending` how many children are still to end.

    `interrupted`: its coroutine was cancelled. The containers are made when the first goes in: most actors that have ties at all have one. They are
    dicts because these keep their order: what is told to others is told in the same order every time.
    """

    __slots__ = ("asking", "deferred", "idle", "interrupted", "kill_timer", "links", "pending", "tasks", "timers", "watchers", "watching")

    def __init__(self) -> None:
        self.links: dict[Tied[Any], None] | None = None
        self.watchers: dict[Tied[Any], None] | None = None
        self.watching: dict[Tied[Any], None] | None = None
        self.timers: dict[Timer, None] | None = None
        self.tasks: dict[asyncio.Task[Any], None] | None = None
        self.asking: dict[Reply[Any], Tied[Any]] | None = None
        self.pending = 0
        self.deferred = False
        self.interrupted = False
        self.idle: asyncio.TimerHandle | None = None
        self.kill_timer: asyncio.TimerHandle | None = None

    def hold_nothing(self) -> bool:
        if self.tasks or self.links or self.watchers or self.watching or self.timers or self.asking:
            return False
        return not (self.deferred or self.interrupted or self.pending or self.idle or self.kill_timer)


def _added(members: dict[N, None] | None, member: N) -> dict[N, None]:
    if members is None:
        return {member: None}
    members[member] = None
    return members


def _without(members: dict[N, None] | None, member: N) -> None:
    if members is not None:
        members.pop(member, None)


class Tied(Mailbox[M], Ref[M]):
    """The half of a cell that knows others. The other half lives and dies (`noetl.actors.cell`)."""

    __slots__ = ("_ties", "_waiters", "incarnation")
    runtime: Runtime

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(runtime)
        self.incarnation = 0
        self._ties: Ties | None = None
        self._waiters: Reply[Any] | dict[Reply[Any], None] | None = None
        """Who waits for its answer: nobody, one, or several. Not among the ties, and mostly no dict: an ask must be cheap."""

    @abstractmethod
    def is_related(self, other: Ref[Any]) -> bool:
        """Whether it is the parent or a child: those are linked for life."""

    @abstractmethod
    def hear(self, signal: Signal) -> None:
        """Take a signal, before all messages."""

    def _tie(self) -> Ties:
        if self._ties is None:
            spare = self.runtime.spare_ties
            self._ties = spare.pop() if spare else Ties()
        return self._ties

    def _loosen(self, ties: Ties) -> None:
        """An actor that once was asked costs no more than one that never was."""
        if ties.hold_nothing():
            self._ties = None
            if len(self.runtime.spare_ties) < _SPARE_TIES:
                self.runtime.spare_ties.append(ties)

    async def send(self, message: M) -> None:
        if current_cell.get() is not None:
            self.tell(message)
        else:
            await super().send(message)

    async def ask(self, make: Callable[[Reply[R]], M], timeout_s: float) -> R:
        runtime = self.runtime
        loop = runtime.loop
        future: asyncio.Future[R] = loop.create_future()
        reply: Reply[R] = Reply(future, loop.time() + timeout_s)
        asker = current_cell.get()
        if asker is not None:
            self._refuse_cycle(asker)
            ties = asker._tie()
            ties.asking = ties.asking or {}
            ties.asking[reply] = self
        runtime.deadlines.add(timeout_s, reply)
        if self._waiters is None:
            self._waiters = reply
        else:
            self._wait_too(self._waiters, reply)
        try:
            self.tell(make(reply))
            return await future
        except Overdue:
            raise AskTimeout(f"{self.path} did not answer within {timeout_s:g} s") from None
        finally:
            if self._waiters is reply:
                self._waiters = None
            else:
                self._forget_waiter(reply)
            if asker is not None and asker._ties is not None and asker._ties.asking is not None:
                asker._ties.asking.pop(reply, None)

    def _wait_too(self, waiters: Reply[Any] | dict[Reply[Any], None], reply: Reply[Any]) -> None:
        if isinstance(waiters, dict):
            waiters[reply] = None
        else:
            self._waiters = {waiters: None, reply: None}

    def _forget_waiter(self, reply: Reply[Any]) -> None:
        if isinstance(self._waiters, dict):
            self._waiters.pop(reply, None)
            self._waiters = self._waiters or None

    def _waiting(self) -> list[Reply[Any]]:
        """Those that nobody has answered."""
        waiters = self._waiters
        if waiters is None:
            return []
        return [reply for reply in (waiters if isinstance(waiters, dict) else (waiters,)) if not reply.is_over]

    def _refuse_cycle(self, asker: Tied[Any]) -> None:
        """A handler that waits may wait for several. Raises `AskCycle` when one of them, or whom that one waits for, and so on, is the asker."""
        before: dict[Tied[Any], Tied[Any]] = {self: asker}
        unseen = [self]
        while unseen:
            cell = unseen.pop()
            if cell is asker:
                raise AskCycle(tuple(link.path for link in _way_back(asker, before)))
            asking = None if cell._ties is None else cell._ties.asking
            for reply, asked in asking.items() if asking else ():
                if asked not in before and not reply.is_over:
                    before[asked] = cell
                    unseen.append(asked)

    def link(self, ref: Ref[Any]) -> None:
        other = _local(ref)
        if other is self or self.is_related(other):
            return
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
        if not self.is_related(other):
            self._unhear(Exit, other)

    def _unhear(self, kind: type[Signal], other: Tied[Any]) -> None:
        """Drop what has come from a tie that is cut and was not handled yet."""
        for signal in tuple(self.signals or ()):
            if type(signal) is kind and signal.ref is other:
                self.signals.remove(signal)  # type: ignore[union-attr]

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
        theirs.watchers = _added(theirs.watchers, self)
        mine.watching = _added(mine.watching, other)

    def demonitor(self, ref: Ref[Any]) -> None:
        other = _local(ref)
        other._unwatch(self)
        if self._ties is not None:
            _without(self._ties.watching, other)
        self._unhear(Down, other)

    def _unwatch(self, watcher: Tied[Any]) -> None:
        if self._ties is not None:
            _without(self._ties.watchers, watcher)

    def _watched_ended(self, other: Tied[Any], reason: Reason) -> None:
        if self._ties is not None:
            _without(self._ties.watching, other)
        self.hear(Down(other, reason))

    def set_timer(self, timer: Timer) -> Timer:
        ties = self._tie()
        ties.timers = _added(ties.timers, timer)
        return timer

    def forget_timer(self, timer: Timer) -> None:
        if self._ties is not None:
            _without(self._ties.timers, timer)

    def run_task(self, work: Coroutine[Any, Any, N], then: Callable[[N | BaseException], M]) -> asyncio.Task[N]:
        ties, incarnation = self._tie(), self.incarnation
        task = self.runtime.loop.create_task(work, context=self.runtime.context.copy())  # its actor does not wait for it, nor for what it asks
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

    def disown(self, task: asyncio.Task[Any]) -> None:
        """Cancel a task of an incarnation that has ended. That it goes on is reported; what it still does has no effect."""
        task.cancel()
        late = self.runtime.loop.call_later(_DISOWN_S, self._goes_on, task)
        task.add_done_callback(lambda _: late.cancel())

    def _goes_on(self, task: asyncio.Task[Any]) -> None:
        if not task.done():
            self.runtime.probe.emit(TaskDisowned(self.path))

    def is_waited_for(self) -> bool:
        """Whether somebody waits for its answer, or a task of its own runs."""
        return bool(self._waiting()) or (self._ties is not None and bool(self._ties.tasks))

    def _disappoint(self) -> None:
        """There will be no answers any more."""
        for reply in self._waiting():
            reply.fail(ActorDead(f"{self.path} ended before it answered"))

    def _untie(self, ties: Ties, reason: Reason) -> None:
        """Tell everybody who asked to be told, once."""
        for handle in (ties.kill_timer, ties.idle):
            if handle is not None:
                handle.cancel()
        for timer in tuple(ties.timers or ()):
            timer.cancel()
        for task in tuple(ties.tasks or ()):
            self.disown(task)
        for other in ties.watching or ():
            other._unwatch(self)
        for watcher in ties.watchers or ():
            watcher._watched_ended(self, reason)
        for other in ties.links or ():
            other._linked_ended(self, reason)


def _way_back(asker: Tied[Any], before: dict[Tied[Any], Tied[Any]]) -> list[Tied[Any]]:
    """The circle, from the asker to itself."""
    way = [asker, before[asker]]
    while way[-1] is not asker:
        way.append(before[way[-1]])
    return way[::-1]


def _local(ref: Ref[Any]) -> Tied[Any]:
    if not isinstance(ref, Tied):
        raise TypeError(f"{ref.path} is not on this node: links and monitors across nodes go through membership")
    return ref
