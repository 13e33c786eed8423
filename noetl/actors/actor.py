"""What an actor is: private state, a mailbox, one message at a time.

    class Counter(Actor[Increment | Read]):
        def init(self, ctx): self.count = 0
        def handle(self, message, ctx):
            match message:
                case Increment(by): self.count += by
                case Read(reply): reply.send(self.count)

`Actor` has plain methods and runs without a task: it must not block. `AsyncActor` has coroutines and owns a task while it has something to do. The
names are OTP's (docs/reference/runtime.md says where the semantics differ).
"""

from __future__ import annotations

import asyncio
import datetime as dt
import enum
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from noetl.actors.ref import Ref
from noetl.mailbox.mailbox import Overflow

if TYPE_CHECKING:
    from noetl.actors.cell import Cell
    from noetl.actors.registry import Registry
    from noetl.actors.ties import Tied
    from noetl.clock import Clock
    from noetl.probe import Probe

M = TypeVar("M")
N = TypeVar("N")


class ExitReason(enum.Enum):
    """Why an actor ended, when it was not an exception."""

    NORMAL = "normal"
    SHUTDOWN = "shutdown"
    KILLED = "killed"
    NOPROC = "noproc"
    """Of a monitor or link to an actor that was not there."""

    def __repr__(self) -> str:
        return self.value


Reason = ExitReason | BaseException
NORMAL = ExitReason.NORMAL
SHUTDOWN = ExitReason.SHUTDOWN
KILLED = ExitReason.KILLED
NOPROC = ExitReason.NOPROC


def is_abnormal(reason: Reason) -> bool:
    return reason is not NORMAL and reason is not SHUTDOWN


class Exit:
    """A linked actor, or a child, ended."""

    __slots__ = ("reason", "ref")

    def __init__(self, ref: Ref[Any], reason: Reason) -> None:
        self.ref = ref
        self.reason = reason


class Down:
    """A monitored actor ended. Comes exactly once for each `monitor`."""

    __slots__ = ("reason", "ref")

    def __init__(self, ref: Ref[Any], reason: Reason) -> None:
        self.ref = ref
        self.reason = reason


class Ready:
    """A child has finished its start."""

    __slots__ = ("ref",)

    def __init__(self, ref: Ref[Any]) -> None:
        self.ref = ref


Signal = Exit | Down | Ready


class _Behaviour(Generic[M]):
    """What both kinds of actor declare."""

    __slots__ = ()

    trap_exit: ClassVar[bool] = False
    """True: an abnormal exit of a linked actor or child is a signal instead of the end."""
    capacity: ClassVar[int] = 10_000
    """Messages that may wait. Outcomes, timers and signals are not counted against it."""
    overflow: ClassVar[Overflow] = "reject"
    is_async: ClassVar[bool] = False


class Actor(_Behaviour[M]):
    """An actor with plain methods."""

    __slots__ = ()

    def init(self, ctx: Context[M]) -> None:
        """Runs before the first message, in the starter's call. An exception here fails the start."""

    def handle(self, message: M, ctx: Context[M]) -> None:
        raise NotImplementedError

    def signal(self, signal: Signal, ctx: Context[M]) -> None:
        """A monitor's news, and with `trap_exit` the exits of others."""

    def terminate(self, reason: Reason, ctx: Context[M]) -> None:
        """Runs last, after the children have ended; not after a kill."""


class AsyncActor(_Behaviour[M]):
    """An actor with coroutines. Without `trap_exit` a shutdown cancels the handler that runs; with it the handler is waited for."""

    __slots__ = ()

    is_async: ClassVar[bool] = True

    async def init(self, ctx: Context[M]) -> None:
        """Runs before the first message. An exception here fails the start."""

    async def handle(self, message: M, ctx: Context[M]) -> None:
        raise NotImplementedError

    async def signal(self, signal: Signal, ctx: Context[M]) -> None:
        """A monitor's news, and with `trap_exit` the exits of others."""

    async def terminate(self, reason: Reason, ctx: Context[M]) -> None:
        """Runs last, after the children have ended; not after a kill."""


AnyActor = Actor[M] | AsyncActor[M]
Start = Callable[[], Actor[M] | AsyncActor[M]]


class Timer:
    """A message that is on its way in time."""

    __slots__ = ("_cell", "_handle", "_message")

    def __init__(self, cell: Tied[Any], delay_s: float, message: Any) -> None:
        self._cell = cell
        self._message = message
        self._handle: asyncio.TimerHandle | None = cell.runtime.loop.call_later(delay_s, self._fire)

    def _fire(self) -> None:
        self._handle = None
        self._cell.forget_timer(self)
        self._cell.report(self._message)

    def cancel(self) -> None:
        """After this the message does not come. No effect when it has come."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
            self._cell.forget_timer(self)


class Context(Generic[M]):
    """What an actor may do besides answering: the face of its cell that it alone sees."""

    __slots__ = ("_cell",)

    def __init__(self, cell: Cell[M]) -> None:
        self._cell = cell

    @property
    def self_ref(self) -> Ref[M]:
        return self._cell

    @property
    def path(self) -> str:
        return self._cell.path

    @property
    def incarnation(self) -> int:
        return self._cell.incarnation

    @property
    def clock(self) -> Clock:
        return self._cell.runtime.clock

    @property
    def registry(self) -> Registry:
        return self._cell.runtime.registry

    @property
    def probe(self) -> Probe:
        return self._cell.runtime.probe

    def others_are_ready(self) -> bool:
        """Whether actors wait for their turn."""
        return self._cell.runtime.is_busy()

    def now(self) -> dt.datetime:
        return self._cell.runtime.clock.now()

    def spawn(self, start: Start[N], id_: str | int, *, shutdown_s: float = 5.0, record: Any = None) -> Ref[N]:
        """Start a child. It is linked to this actor and never outlives it.

        A child with plain methods has finished its `init` when this returns; an exception in it is raised here. An `AsyncActor` starts
        afterwards: a `Ready` or `Exit` signal says how it went.
        """
        return self._cell.spawn(start, id_, shutdown_s=shutdown_s, record=record)

    def respawn(self, child: Ref[N]) -> None:
        """Start a child that has ended again, under the same ref, as its next incarnation."""
        self._cell.respawn(child)

    def is_ready(self, child: Ref[Any]) -> bool:
        """Whether a child's start is over."""
        return self._cell.is_child_ready(child)

    def forget(self, child: Ref[Any]) -> None:
        """Drop a child that has ended."""
        self._cell.forget_child(child)

    def children(self) -> dict[Ref[Any], Any]:
        """The children in the order of their first start, each with the record that `spawn` was given."""
        return self._cell.child_records()

    def record(self, child: Ref[Any]) -> Any:
        """What `spawn` was given as `record` for this child."""
        return self._cell.child_record(child)

    def shutdown(self, child: Ref[Any], reason: Reason = SHUTDOWN) -> None:
        """Ask a child to end. Its exit comes as a signal; after its `shutdown_s` it is killed."""
        self._cell.shutdown_child(child, reason)

    def kill(self, ref: Ref[Any]) -> None:
        """End an actor at once: no `terminate`, no finishing."""
        ref.kill()

    def stop(self, reason: Reason = NORMAL) -> None:
        """End this actor when the handler returns."""
        self._cell.request_stop(reason)

    @property
    def is_stopping(self) -> bool:
        """Whether `stop` was called, here or by somebody who may."""
        return self._cell.is_stopping()

    def defer_ready(self) -> None:
        """In `init`: the start is not over when `init` returns but when `ready` is called."""
        self._cell.defer_ready()

    def ready(self) -> None:
        self._cell.become_ready()

    def link(self, ref: Ref[Any]) -> None:
        self._cell.link(ref)

    def unlink(self, ref: Ref[Any]) -> None:
        self._cell.unlink(ref)

    def monitor(self, ref: Ref[Any]) -> None:
        """Get one `Down` when `ref` ends, or at once when it is not running."""
        self._cell.monitor(ref)

    def demonitor(self, ref: Ref[Any]) -> None:
        self._cell.demonitor(ref)

    def send_after(self, delay_s: float, message: M) -> Timer:
        """Send a message to oneself later. Ends with this incarnation."""
        return self._cell.send_after(delay_s, message)

    def run(self, work: Coroutine[Any, Any, N], then: Callable[[N | BaseException], M]) -> asyncio.Task[N]:
        """Let a task of this actor's own do `work`; what becomes of it comes back as the message that `then` makes.

        The task ends with the actor.
        """
        return self._cell.run_task(work, then)
