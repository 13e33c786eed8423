"""The inside of an actor: its turns, and its life from start to end.

A cell is the role; its `actor` is the incarnation. An idle cell has no task and no queue (`noetl.mailbox.mailbox`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, TypeVar

from noetl.actors.actor import (
    KILLED,
    NORMAL,
    SHUTDOWN,
    AnyActor,
    AsyncActor,
    Context,
    Exit,
    Ready,
    Reason,
    Signal,
    Start,
    is_abnormal,
)
from noetl.actors.ref import Ref
from noetl.actors.ties import Tied, current_cell
from noetl.errors import ActorDead
from noetl.probe import ActorExited, ActorStarted, TaskDisowned

if TYPE_CHECKING:
    from noetl.actors.loop import Runtime

M = TypeVar("M")
N = TypeVar("N")
R = TypeVar("R")

BUDGET: Final = 64
"""Messages that one actor may handle before the next has its turn."""

_INIT, _RUNNING, _STOPPING, _DEAD = range(4)


class _Shutdown:
    """The parent wants us to end."""

    __slots__ = ("reason",)

    def __init__(self, reason: Reason) -> None:
        self.reason = reason


class _Crash:
    """A test wants us to fail as if the handler had."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


def _no_more() -> AnyActor[Any]:
    raise ActorDead("a forgotten child can't be started again")


class Cell(Tied[M]):
    """See the module. Everything here runs on the runtime's loop."""

    __slots__ = (
        "_children",
        "_context",
        "_reason",
        "_shutdown_s",
        "_start",
        "_state",
        "_task",
        "actor",
        "id",
        "parent",
    )

    def __init__(self, runtime: Runtime, start: Start[M], id_: str | int, parent: Cell[Any] | None, shutdown_s: float) -> None:
        super().__init__(runtime)
        self.id = id_
        self.parent = parent
        self.actor: AnyActor[M] | None = None
        self._start = start
        self._shutdown_s = shutdown_s
        self._state = _DEAD
        self._context: Context[M] | None = None
        self._reason: Reason | None = None
        self._task: asyncio.Task[None] | None = None
        self._children: dict[Cell[Any], Any] | None = None

    def __repr__(self) -> str:
        return f"<{self.path}>"

    # -- being reached ------------------------------------------------------------------------------------------------

    @property
    def path(self) -> str:
        return str(self.id) if self.parent is None else f"{self.parent.path}/{self.id}"

    def is_alive(self) -> bool:
        return self.accepting

    def is_dead(self) -> bool:
        return self._state == _DEAD

    def is_schedulable(self) -> bool:
        return self._state == _RUNNING

    def is_ready(self) -> bool:
        """Whether its start is over: `init` has returned, and `ready` was called if that was deferred."""
        return self._state == _RUNNING and not self._is_deferred()

    def kill(self) -> None:
        if self._state == _DEAD:
            return
        self._kill_children()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            task.add_done_callback(self._disowned)
        self._die(KILLED)

    def _kill_children(self) -> None:
        for child in tuple(self._children or ()):
            child.kill()

    def crash(self, error: BaseException) -> None:
        """Fail as if the next handler had raised `error`. For tests."""
        self.hear(_Crash(error))

    def shutdown(self, reason: Reason = SHUTDOWN) -> None:
        """Ask for an orderly end; killed after `shutdown_s`."""
        if self._state == _DEAD:
            return
        ties = self._tie()
        if ties.kill_timer is None and self._shutdown_s != float("inf"):
            ties.kill_timer = self.runtime.loop.call_later(self._shutdown_s, self.kill)
        self.hear(_Shutdown(reason))

    # -- running ------------------------------------------------------------------------------------------------------

    def hear(self, signal: Signal | _Shutdown | _Crash) -> None:
        """Put a system message before all user messages."""
        if self._state == _DEAD:
            return
        if self._task is not None and self._interrupts(signal):
            self._reason = self._reason or signal.reason  # type: ignore[union-attr]  # _interrupts lets only those with a reason through
            self._task.add_done_callback(self._never_ran)
            self._task.cancel()
            return
        self.signal_first(signal)

    def _interrupts(self, signal: Signal | _Shutdown | _Crash) -> bool:
        """Whether a running coroutine is cancelled for it: without `trap_exit` a shutdown and an abnormal exit are; a start always is."""
        if isinstance(signal, _Shutdown):
            return self._state == _INIT or not self._traps()
        return isinstance(signal, Exit) and self._state == _RUNNING and not self._traps() and is_abnormal(signal.reason)

    def _traps(self) -> bool:
        return self.actor is not None and self.actor.trap_exit

    def turn(self) -> None:
        """Handle what waits, at most `BUDGET` messages. Called by the runtime."""
        messages, actor, context = self.messages, self.actor, self._context
        if messages is None or actor is None or context is None or self._task is not None or self._state != _RUNNING:
            return  # ended, or driven by its task, since it was scheduled
        if isinstance(actor, AsyncActor):
            self._task = self.runtime.loop.create_task(self._drive(actor, context, self.incarnation))
            return
        handle = actor.handle
        message: Any = None
        try:
            for _ in range(BUDGET):
                if self._reason is not None:
                    self._begin_stop(self._reason)
                    return
                if self.signals:
                    message = self.signals.popleft()
                    if (signal := self._own_part(message)) is not None:
                        actor.signal(signal, context)
                elif messages:
                    message = messages.popleft()
                    handle(message, context)
                else:
                    self.rest(messages)
                    return
        except Exception as error:  # noqa: BLE001  an actor's crash is its supervisor's business
            if self.actor is actor:
                self._begin_stop(error, message)
            else:
                self.runtime.probe.emit(TaskDisowned(self.path, error))
            return
        if self.room is not None:
            self.let_in()
        self.runtime.schedule(self)

    async def _drive(self, actor: AsyncActor[M], context: Context[M], incarnation: int) -> None:
        """The task of an async actor: from its first waiting message until none is left."""
        current_cell.set(self)
        message: Any = None
        try:
            if self._state == _INIT:
                await actor.init(context)
                if self.incarnation == incarnation:
                    self._init_done()
            turns = 0
            while self._reason is None and self.incarnation == incarnation:
                messages = self.messages
                if self.signals:
                    message = self.signals.popleft()
                    if (signal := self._own_part(message)) is not None:
                        await actor.signal(signal, context)
                elif messages:
                    message = messages.popleft()
                    await actor.handle(message, context)
                else:
                    self._task = None
                    if messages is not None:
                        self.rest(messages)
                    return
                turns += 1
                if turns % BUDGET == 0:
                    self.let_in()
                    await asyncio.sleep(0)
            reason: Reason = self._reason or NORMAL
        except asyncio.CancelledError as error:
            reason = self._reason or error
        except Exception as error:  # noqa: BLE001  an actor's crash is its supervisor's business
            reason = error
        if self.incarnation == incarnation and self._state < _STOPPING:
            self._task = None
            self._begin_stop(reason, message)
        elif isinstance(reason, Exception):
            self.runtime.probe.emit(TaskDisowned(self.path, reason))

    def _own_part(self, message: Signal | _Shutdown | _Crash) -> Signal | None:
        """What the cell does about a system message; what is left for the actor's `signal`."""
        if isinstance(message, _Shutdown):
            self._reason = self._reason or message.reason
            return None
        if isinstance(message, _Crash):
            raise message.error
        if isinstance(message, Exit) and not self._traps():
            if is_abnormal(message.reason):
                self._reason = self._reason or message.reason
            elif self._children is not None and message.ref in self._children:
                self.forget_child(message.ref)
            return None
        return message

    # -- living and dying ---------------------------------------------------------------------------------------------

    def launch(self) -> None:
        """Start the next incarnation. Raises what a plain actor's `init` raises."""
        actor = self._start()
        self.actor = actor
        self._context = context = Context(self)
        self._state = _INIT
        self.accepting, self.capacity, self.overflow = True, actor.capacity, actor.overflow
        self.incarnation += 1
        if isinstance(actor, AsyncActor):
            if type(actor).init is AsyncActor.init:  # nothing to wait for
                self._init_done()
            else:
                self._task = self.runtime.loop.create_task(self._drive(actor, context, self.incarnation))
            return
        try:
            actor.init(context)
        except Exception as error:
            self._kill_children()
            self._end(error)  # the starter gets the exception: nobody else has to be told
            raise
        self._init_done()

    def _init_done(self) -> None:
        if self._state != _INIT:
            return
        self._state = _RUNNING
        if not self._is_deferred():
            self._announce(late=self._task is not None)
        if self._task is None and self.messages is not None:
            self.runtime.schedule(self)
        elif self._task is None and self._reason is not None:
            self.wake()

    def defer_ready(self) -> None:
        self._tie().deferred = True

    def _is_deferred(self) -> bool:
        return self._ties is not None and self._ties.deferred

    def become_ready(self) -> None:
        """The deferred end of the start. Within `init` it takes the deferral back."""
        if self._ties is None or not self._ties.deferred:
            return
        self._ties.deferred = False
        if self._state == _RUNNING:
            self._announce(late=True)

    def _announce(self, *, late: bool) -> None:
        """Say that the start is over. Not late: the starter sees it when the call returns."""
        if self.runtime.probe.wanted:
            self.runtime.probe.emit(ActorStarted(self.path, self.incarnation))
        if self.parent is None:
            self.runtime.root_ready(self)
        elif late:
            self.parent.hear(Ready(self))

    def is_stopping(self) -> bool:
        return self._reason is not None

    def request_stop(self, reason: Reason) -> None:
        if self._reason is None:
            self._reason = reason
            if self._state == _RUNNING and self.messages is None:
                self.wake()

    def _begin_stop(self, reason: Reason, message: Any = None) -> None:
        """Stop the children, then terminate, then die."""
        self._state = _STOPPING
        self.accepting = False
        self._reason = reason
        if self.runtime.probe.wanted:
            self.runtime.probe.emit(ActorExited(self.path, self.incarnation, reason, message if is_abnormal(reason) else None))
        self._stop_children()

    def _stop_children(self) -> None:
        living = [child for child in self._children or () if child._state != _DEAD]
        if not living:
            self._finish_stop()
        elif self.actor is not None and getattr(self.actor, "stop_in_order", False):
            living[-1].shutdown()
        else:
            self._tie().pending = len(living)
            for child in living:
                child.shutdown()

    def _child_ended(self, child: Cell[Any], reason: Reason) -> None:
        if self._state == _DEAD:
            return
        if self._state != _STOPPING:
            self.hear(Exit(child, reason))
        elif getattr(self.actor, "stop_in_order", False):
            self._stop_children()
        elif self._ties is not None:
            self._ties.pending -= 1
            if self._ties.pending == 0:
                self._finish_stop()

    def _finish_stop(self) -> None:
        actor, context, reason = self.actor, self._context, self._reason or NORMAL
        if actor is None or context is None:
            return
        if isinstance(actor, AsyncActor):
            if type(actor).terminate is AsyncActor.terminate:
                self._die(reason)
            else:
                self._task = self.runtime.loop.create_task(self._terminate(actor, context, reason))
            return
        try:
            actor.terminate(reason, context)
        except Exception as error:  # noqa: BLE001  becomes the exit reason
            reason = error
        self._die(reason)

    async def _terminate(self, actor: AsyncActor[M], context: Context[M], reason: Reason) -> None:
        incarnation = self.incarnation
        try:
            await actor.terminate(reason, context)
        except asyncio.CancelledError as error:
            reason = error
        except Exception as error:  # noqa: BLE001  becomes the exit reason
            reason = error
        if self.incarnation == incarnation and self._state == _STOPPING:
            self._task = None
            self._die(reason)

    def _die(self, reason: Reason) -> None:
        if reason is KILLED and self.runtime.probe.wanted:
            self.runtime.probe.emit(ActorExited(self.path, self.incarnation, reason))
        self._end(reason)
        if self.parent is not None:
            self.parent._child_ended(self, reason)
        else:
            self.runtime.root_ended(self, reason)

    def _end(self, reason: Reason) -> None:
        """Become nothing but a role."""
        ties = self._ties
        self._state = _DEAD
        self.close()
        for child in self._children or ():
            child._retire()
        self.actor = self._context = self._task = None
        self._children = self._reason = self._ties = None
        if ties is not None:
            self._untie(ties, reason)

    def _retire(self) -> None:
        """Nobody can start it again under this ref. What its start holds, often the parent that holds this ref, is let go."""
        self._start = _no_more
        self.runtime.registry.drop(self)

    def _never_ran(self, task: asyncio.Task[None]) -> None:
        """A task that is cancelled before its first step runs none of its code: what its code would have done is done here."""
        if self._task is task and self._state < _STOPPING:
            self._task = None
            self._begin_stop(self._reason or SHUTDOWN)

    def _disowned(self, task: asyncio.Task[None]) -> None:
        """A killed handler has ended after all."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.runtime.probe.emit(TaskDisowned(self.path, error))

    # -- children ---------------------------------------------------------------------------------------------------------

    def spawn(self, start: Start[N], id_: str | int, *, shutdown_s: float, record: Any = None) -> Cell[N]:
        child: Cell[N] = Cell(self.runtime, start, id_, self, shutdown_s)
        child.launch()
        if self._children is None:
            self._children = {}
        self._children[child] = record
        return child

    def respawn(self, child: Ref[Any]) -> None:
        if not isinstance(child, Cell) or self._children is None or child not in self._children:
            raise ActorDead(f"{child.path} is no child of {self.path}")
        if child._state == _DEAD:
            child.launch()

    def is_child_ready(self, child: Ref[Any]) -> bool:
        return isinstance(child, Cell) and child.is_ready()

    def forget_child(self, child: Ref[Any]) -> None:
        if self._children is not None and isinstance(child, Cell) and child._state == _DEAD:
            self._children.pop(child, None)
            child._retire()

    def child_records(self) -> dict[Ref[Any], Any]:
        return {child: record for child, record in (self._children or {}).items()}  # noqa: C416  a dict of refs, not of cells

    def child_record(self, child: Ref[Any]) -> Any:
        return self._children.get(child) if self._children is not None and isinstance(child, Cell) else None

    def shutdown_child(self, child: Ref[Any], reason: Reason) -> None:
        if isinstance(child, Cell):
            child.shutdown(reason)
