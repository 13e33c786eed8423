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
from noetl.errors import ActorDead, CallError
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
    KILL = "kill"
    """Only to be sent: can't be trapped, and others see `killed`."""
    KILLED = "killed"
    NOPROC = "noproc"
    """Of a monitor or link to an actor that was not there."""

    def __repr__(self) -> str:
        return self.value


Reason = ExitReason | BaseException
NORMAL = ExitReason.NORMAL
SHUTDOWN = ExitReason.SHUTDOWN
KILL = ExitReason.KILL
KILLED = ExitReason.KILLED
NOPROC = ExitReason.NOPROC


def is_abnormal(reason: Reason) -> bool:
    return reason is not NORMAL and reason is not SHUTDOWN


class Exit:
    """A linked actor, or a child, ended; or somebody sent an exit signal."""

    __slots__ = ("reason", "ref")

    def __init__(self, ref: Ref[Any], reason: Reason) -> None:
        self.ref = ref
        self.reason = reason


class Down:
    """A monitored actor ended. Comes exactly once for each incarnation that is monitored."""

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
    """True: the exit of a linked actor or child is a signal instead of the end."""
    capacity: ClassVar[int] = 10_000
    """Messages that may wait before `tell` is refused. What is reported, timers and signals are never refused."""
    overflow: ClassVar[Overflow] = "reject"
    stop_in_order: ClassVar[bool] = False
    """True: its children are stopped one after the other, the last one first."""
    idle_after_s: ClassVar[float | None] = None
    """Passivate when nothing was handled for so long, or up to twice as long."""
    version: ClassVar[int] = 1
    """Of what `passivate` keeps."""
    is_async: ClassVar[bool] = False

    def evolve(self, version: int, kept: Any) -> Any:
        """What this version of the code makes of what an other version's `passivate` has kept."""
        raise TypeError(f"{type(self).__name__} is version {self.version} and was asked to go on from version {version}: it needs an `evolve`")


class Actor(_Behaviour[M]):
    """An actor with plain methods."""

    __slots__ = ()

    def init(self, ctx: Context[M]) -> None:
        """Runs before the first message, in the starter's call. An exception here fails the start."""

    def passivate(self, ctx: Context[M]) -> Any:
        """Runs before it sleeps; what it returns is all that is kept. There is no `terminate` while it sleeps."""
        return None

    def activate(self, kept: Any, ctx: Context[M]) -> None:
        """Runs instead of `init` when it wakes. An exception here is a crash."""
        self.init(ctx)

    def handle(self, message: M, ctx: Context[M]) -> None:
        raise NotImplementedError

    def signal(self, signal: Signal, ctx: Context[M]) -> None:
        """A monitor's news, and with `trap_exit` the exits of others."""

    def terminate(self, reason: Reason, ctx: Context[M]) -> None:
        """Runs last, after the children have ended; not after a kill, nor when `init` was not over."""


class AsyncActor(_Behaviour[M]):
    """An actor with coroutines. Without `trap_exit` a shutdown cancels the handler that runs; with it the handler is waited for."""

    __slots__ = ()

    is_async: ClassVar[bool] = True

    async def init(self, ctx: Context[M]) -> None:
        """Runs before the first message. An exception here fails the start."""

    async def passivate(self, ctx: Context[M]) -> Any:
        """Runs before it sleeps; what it returns is all that is kept. There is no `terminate` while it sleeps."""
        return None

    async def activate(self, kept: Any, ctx: Context[M]) -> None:
        """Runs instead of `init` when it wakes. An exception here is a crash."""
        await self.init(ctx)

    async def handle(self, message: M, ctx: Context[M]) -> None:
        raise NotImplementedError

    async def signal(self, signal: Signal, ctx: Context[M]) -> None:
        """A monitor's news, and with `trap_exit` the exits of others."""

    async def terminate(self, reason: Reason, ctx: Context[M]) -> None:
        """Runs last, after the children have ended; not after a kill, nor when `init` was not over."""


AnyActor = Actor[M] | AsyncActor[M]
Start = Callable[[], Actor[M] | AsyncActor[M]]


class Timer:
    """A message that is on its way in time; with `every_s`, again and again."""

    __slots__ = ("_cell", "_due_s", "_every_s", "_handle", "_message")

    def __init__(self, cell: Tied[Any], delay_s: float, message: Any, *, every_s: float | None = None) -> None:
        self._cell = cell
        self._message = message
        self._every_s = every_s
        self._due_s = cell.runtime.loop.time() + delay_s
        self._handle: asyncio.TimerHandle | None = self._at(self._due_s)

    def _at(self, due_s: float) -> asyncio.TimerHandle:
        return self._cell.runtime.loop.call_at(due_s, self._fire, context=self._cell.runtime.context)

    def _fire(self) -> None:
        if self._every_s is None:
            self._handle = None
            self._cell.forget_timer(self)
        else:
            late = max(0.0, self._cell.runtime.loop.time() - self._due_s)
            self._due_s += self._every_s * (1 + late // self._every_s)  # in step with its start, however late the loop is
            self._handle = self._at(self._due_s)
        self._cell.report(self._message)

    def cancel(self) -> bool:
        """False: it was too late, the message has come or waits in the mailbox."""
        if self._handle is None:
            return False
        self._handle.cancel()
        self._handle = None
        self._cell.forget_timer(self)
        return True


class Context(Generic[M]):
    """What an actor may do besides answering: the face of its cell that it alone sees."""

    __slots__ = ("_cell",)

    def __init__(self, cell: Cell[M]) -> None:
        self._cell = cell

    def _here(self) -> Cell[M]:
        """The cell, as long as this actor is in it: a handler that goes on after the end of its actor must not act for the next one."""
        if not self._cell.is_current(self):
            raise ActorDead(f"this incarnation of {self._cell.path} has ended")
        return self._cell

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
        return self._here().spawn(start, id_, shutdown_s=shutdown_s, record=record)

    def respawn(self, child: Ref[N]) -> None:
        """Start a child that has ended again, under the same ref, as its next incarnation."""
        self._here().respawn(child)

    def is_ready(self, child: Ref[Any]) -> bool:
        """Whether a child's start is over."""
        return self._cell.is_child_ready(child)

    def forget(self, child: Ref[Any]) -> None:
        """Drop a child that has ended."""
        self._here().forget_child(child)

    def children(self) -> dict[Ref[Any], Any]:
        """The children in the order of their first start, each with the record that `spawn` was given."""
        return self._cell.child_records()

    def record(self, child: Ref[Any]) -> Any:
        """What `spawn` was given as `record` for this child."""
        return self._cell.child_record(child)

    def shutdown(self, child: Ref[Any], reason: Reason = SHUTDOWN) -> None:
        """Ask a child to end. Its exit comes as a signal; after its `shutdown_s` it is killed."""
        self._here().shutdown_child(child, reason)

    def kill(self, ref: Ref[Any]) -> None:
        """End an actor at once: no `terminate`, no finishing."""
        ref.kill()

    def exit(self, ref: Ref[Any], reason: Reason) -> None:
        """Send an exit signal in this actor's name (`Ref.exit`). To oneself, `normal` is the end too."""
        ref.exit(reason, self._here())

    def stop(self, reason: Reason = NORMAL) -> None:
        """End this actor when the handler returns."""
        if self._cell.is_current(self):
            self._cell.request_stop(reason)

    def passivate(self) -> None:
        """Sleep when the handler returns: only what the actor's `passivate` returns is kept, and the next message or signal wakes it.

        No effect unless it is idle then: nothing waits, no child lives, no task of its own runs, nobody waits for its answer. Timers go on.
        """
        self._here().passivate()

    def change_code(self, ref: Ref[Any]) -> None:
        """Let an actor go on with the code that its start gives now: `passivate`, then the new one's `activate`. Between two messages, none is lost.

        Raises:
            CallError: it has children.
        """
        if not isinstance(ref, type(self._cell)):
            raise CallError(f"{ref.path} is not on this node")
        ref.change_code()

    @property
    def is_stopping(self) -> bool:
        """Whether `stop` was called, here or by somebody who may."""
        return self._cell.is_stopping()

    def defer_ready(self) -> None:
        """In `init`: the start is not over when `init` returns but when `ready` is called."""
        self._here().defer_ready()

    def ready(self) -> None:
        self._here().become_ready()

    def link(self, ref: Ref[Any]) -> None:
        """Whichever ends first sends the other an exit signal; with `noproc` at once when `ref` is not running."""
        self._here().link(ref)

    def unlink(self, ref: Ref[Any]) -> None:
        """After this the link gives no `Exit`, not even one that waits. A child stays linked to its parent."""
        self._here().unlink(ref)

    def monitor(self, ref: Ref[Any]) -> None:
        """Get one `Down` when this incarnation of `ref` ends, or at once when it is not running. Twice is once."""
        self._here().monitor(ref)

    def demonitor(self, ref: Ref[Any]) -> None:
        """After this no `Down` comes, not even one that waits."""
        self._here().demonitor(ref)

    def send_after(self, delay_s: float, message: M) -> Timer:
        """Send a message to oneself later. Ends with this incarnation."""
        cell = self._here()
        return cell.set_timer(Timer(cell, delay_s, message))

    def send_interval(self, every_s: float, message: M) -> Timer:
        """Send a message to oneself every `every_s` seconds. What is missed while the loop is late is left out."""
        cell = self._here()
        return cell.set_timer(Timer(cell, every_s, message, every_s=every_s))

    def callback(self, then: Callable[[N], M]) -> Callable[[N], None]:
        """A function for somebody else to call: this incarnation is told the message that `then` makes of its argument, and no later one is."""
        cell = self._here()

        def call(answer: N) -> None:
            if cell.is_current(self):
                cell.report(then(answer))

        return call

    def run(self, work: Coroutine[Any, Any, N], then: Callable[[N | BaseException], M]) -> asyncio.Task[N]:
        """Let a task of this actor's own do `work`; what becomes of it comes back as the message that `then` makes.

        The task ends with the actor.
        """
        if not self._cell.is_current(self):
            work.close()  # it will not be awaited
        return self._here().run_task(work, then)
