"""The inside of an actor: its turns, and its life from start to end.

A cell is the role; its `actor` is the incarnation. An idle cell has no task and no queue (`noetl.mailbox.mailbox`).
"""

from __future__ import annotations

import asyncio
import time
from math import inf
from typing import Any, Final, TypeVar

from noetl.actors.actor import (
    KILL,
    KILLED,
    NORMAL,
    SHUTDOWN,
    Actor,
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
from noetl.actors.family import DEAD, INIT, RUNNING, STOPPING
from noetl.actors.orders import Crash, Order, SentExit, Shutdown, Sleep
from noetl.actors.ref import Ref
from noetl.actors.sleep import Sleeper
from noetl.actors.ties import current_cell
from noetl.mailbox.mailbox import unwrapped, unwrapping
from noetl.probe import ActorActivated, ActorCrashed, ActorExited, ActorStarted, ExitHandled, TaskDisowned

M = TypeVar("M")
N = TypeVar("N")
R = TypeVar("R")

BUDGET: Final = 64
"""Messages that one actor may handle before the next has its turn."""
_TURN: Final = range(BUDGET)


class Cell(Sleeper[M]):
    """See the module. Everything here runs on the runtime's loop."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{self.path}>"

    # -- being reached ------------------------------------------------------------------------------------------------

    def is_alive(self) -> bool:
        return self.accepting

    def is_current(self, context: Context[M]) -> bool:
        """Whether it is the context of the actor that is in the cell now."""
        return self._context is context

    def is_schedulable(self) -> bool:
        return self._state == RUNNING

    def is_ready(self) -> bool:
        """Whether its start is over: `init` has returned, and `ready` was called if that was deferred."""
        return self._state == RUNNING and not self._is_deferred()

    def kill(self) -> None:
        if self._state == DEAD:
            return
        task, self._task = self._task, None
        if task is not None:
            self.disown(task)
        self._die(KILLED)

    def exit(self, reason: Reason, sender: Ref[Any] | None = None) -> None:
        if reason is KILL:
            self.kill()
        else:
            self.hear(SentExit(self, sender, reason))

    def crash(self, error: BaseException) -> None:
        """Fail as if the next handler had raised `error`. For tests."""
        self.hear(Crash(error))

    def shutdown(self, reason: Reason = SHUTDOWN) -> None:
        """Ask for an orderly end; killed after its shutdown time, at once when that is 0."""
        if self._state == DEAD:
            return
        if self._shutdown_s == 0:
            self.kill()
            return
        if self._shutdown_s != inf and (self._children or isinstance(self.actor, AsyncActor)):
            ties = self._tie()  # (a plain actor alone ends in its next turn: there is nothing to wait for)
            if ties.kill_timer is None:
                ties.kill_timer = self.runtime.loop.call_later(self._shutdown_s, self.kill)
        self.hear(Shutdown(reason))

    # -- running ------------------------------------------------------------------------------------------------------

    def hear(self, signal: Signal | Order) -> None:
        """Put a system message before all user messages."""
        if self._state >= STOPPING:
            return
        if isinstance(signal, Shutdown) and self.is_asleep():
            self._begin_stop(signal.reason)  # its `passivate` was its last word
        elif self._task is not None and isinstance(signal, (Shutdown, Exit)) and self._interrupts(signal):
            self._reason = self._reason or signal.reason
            self._interrupt(self._task)
        else:
            self.signal_first(signal)

    def _interrupt(self, task: asyncio.Task[None]) -> None:
        """Cancel the coroutine that runs; once, so that it can clean up."""
        ties = self._tie()
        if not ties.interrupted:
            ties.interrupted = True
            task.add_done_callback(self._never_ran)
            task.cancel()

    def _interrupts(self, signal: Shutdown | Exit) -> bool:
        """Whether a coroutine that runs is cancelled for it: without `trap_exit` for all that ends the actor; a start also for a shutdown."""
        if isinstance(signal, Shutdown):
            return self._state == INIT or not self._traps()
        return self._is_the_end(signal)

    def _is_the_end(self, signal: Exit) -> bool:
        """Without `trap_exit` an exit is the end, unless its reason is `normal` and it is somebody else's, or a child was shut down."""
        if self._traps():
            return False
        if signal.reason is NORMAL:
            return isinstance(signal, SentExit) and signal.is_own
        return signal.reason is not SHUTDOWN or isinstance(signal, SentExit) or not self.is_related(signal.ref)

    def _traps(self) -> bool:
        return self.actor is not None and self.actor.trap_exit

    def turn(self) -> int:
        """Handle what waits, at most `BUDGET` messages; how many it were. Called by the runtime, which counts them."""
        messages, actor, context = self.messages, self.actor, self._context
        if self._state != RUNNING or self._task is not None or messages is None or actor is None or context is None:
            if messages is not None and self.is_asleep():
                self._awake()
            return 0  # or ended, or driven by its task, since it was scheduled
        if isinstance(actor, AsyncActor):
            self._task = self.runtime.loop.create_task(self._drive(actor, context))
            return 0
        handle = actor.handle if self.overflow == "reject" else unwrapping(actor.handle)
        message: Any = None
        done = 0
        try:
            for done in _TURN:
                if self._reason is not None:
                    self._begin_stop(self._reason, unwrapped(message))
                    return done
                if self.signals:
                    message = self.signals.popleft()
                    self._take_signal(message, actor, context)
                    if self.actor is not actor:
                        return done + 1
                elif messages:
                    message = messages.popleft()
                    handle(message, context)
                else:
                    self.rest(messages)
                    return done
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  an actor's crash is its supervisor's business
            if self.actor is actor:
                self._begin_stop(error, unwrapped(message))
            else:
                self.runtime.probe.emit(TaskDisowned(self.path, error))
            return done + 1
        if self.room is not None:
            self.let_in()
        self.runtime.schedule(self)
        return BUDGET

    def _take_signal(self, message: Signal | Order, actor: Actor[M], context: Context[M]) -> None:
        if (signal := self._own_part(message)) is not None:
            actor.signal(signal, context)
            self._told(signal)
        elif isinstance(message, Sleep) and self._may_sleep(message):
            self._fall_asleep(actor, actor.passivate(context), message)

    async def _drive(self, actor: AsyncActor[M], context: Context[M]) -> None:
        """The task of an async actor: from its first waiting message until none is left."""
        current_cell.set(self)
        message: Any = None
        try:
            if self._state == INIT:
                await (actor.init(context) if self._kept is None else actor.activate(self._kept.state_for(actor), context))
                if self.actor is actor:
                    self._init_done()
            turns = 0
            while self._reason is None and self.actor is actor:
                messages = self.messages
                if self.signals:
                    message = self.signals.popleft()
                    if (signal := self._own_part(message)) is not None:
                        await actor.signal(signal, context)
                        self._told(signal)
                    elif isinstance(message, Sleep) and self._may_sleep(message):
                        self._fall_asleep(actor, await actor.passivate(context), message)
                elif messages:
                    message = unwrapped(messages.popleft())
                    await actor.handle(message, context)
                else:
                    self._task = None
                    if messages is not None:
                        self.rest(messages)
                    return
                turns += 1
                self._count_one()
                if turns % BUDGET == 0:
                    self.fall_behind(time.perf_counter())
                    self.let_in()
                    await asyncio.sleep(0)
            reason: Reason = self._reason or NORMAL
        except asyncio.CancelledError as error:
            reason = self._reason or error
        except Exception as error:  # noqa: BLE001  an actor's crash is its supervisor's business
            reason = error
        if self.actor is actor and self._state < STOPPING:
            self._task = None
            self._begin_stop(reason, message)
        elif isinstance(reason, Exception):
            self.runtime.probe.emit(TaskDisowned(self.path, reason))

    def _told(self, signal: Signal) -> None:
        """The actor has done about a signal what it does."""
        if ExitHandled in self.runtime.probe.wanted and isinstance(signal, Exit) and is_abnormal(signal.reason):
            self.runtime.probe.emit(ExitHandled(self.path, signal.ref.path))

    def _count_one(self) -> None:
        self.reductions += 1
        self.runtime.reductions += 1

    def _own_part(self, message: Signal | Order) -> Signal | None:
        """What the cell does about a system message; what is left for the actor's `signal`."""
        if isinstance(message, Order):
            if isinstance(message, Shutdown):
                self._reason = self._reason or message.reason
            elif isinstance(message, Crash):
                raise message.error
            return None
        if isinstance(message, Exit) and not self._traps():
            if self._is_the_end(message):
                self._reason = self._reason or message.reason
            else:
                self.forget_child(message.ref)
            return None
        return message

    # -- living and dying ---------------------------------------------------------------------------------------------

    def launch(self) -> None:
        actor = self._start()
        self.incarnation += 1
        self.runtime.living += 1
        try:
            self._enter(actor)
        except (Exception, asyncio.CancelledError) as error:
            if self.incarnation == 1:
                self.runtime.note_exit(self, error)
            else:
                self._note_crash(error)
            if self._state != DEAD:
                self._end(error)  # the starter gets the exception: nobody else has to be told
            if self.incarnation == 1:
                self.retire()
            raise

    def _enter(self, actor: AnyActor[M]) -> None:
        """Let an actor into the cell: `init`, or `activate` when one slept here. Raises what a plain actor's raises."""
        self.actor = actor
        self._context = context = Context(self)
        self._state = INIT
        self.accepting, self.capacity, self.overflow = True, actor.capacity, actor.overflow
        if isinstance(actor, AsyncActor):
            if self._kept is not None or type(actor).init is not AsyncActor.init:
                self._task = self.runtime.loop.create_task(self._drive(actor, context), context=self.runtime.context.copy())
                return  # else there is nothing to wait for
        elif self._kept is not None:
            actor.activate(self._kept.state_for(actor), context)
        else:
            actor.init(context)
        self._init_done()

    def _init_done(self) -> None:
        if self._state != INIT or self.actor is None:
            return
        self._state = RUNNING
        if self._kept is not None:
            self._kept = None
            if ActorActivated in self.runtime.probe.wanted:
                self.runtime.probe.emit(ActorActivated(self.path, self.incarnation))
        elif not self._is_deferred():
            self._announce(late=self._task is not None)
        if self.actor.idle_after_s is not None:
            self._watch_idleness(self.actor, self.actor.idle_after_s, -1)
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
        if self._state == RUNNING:
            self._announce(late=True)

    def _announce(self, *, late: bool) -> None:
        """Say that the start is over. Not late: the starter sees it when the call returns."""
        if ActorStarted in self.runtime.probe.wanted:
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
            if self._state == RUNNING and self.messages is None:
                self.wake()

    def _begin_stop(self, reason: Reason, message: Any = None) -> None:
        """Stop the children, then terminate, then die. One whose start is not over has nothing to terminate."""
        has_begun = self._state != INIT
        self._state = STOPPING
        self.accepting = False
        self._reason = reason
        if is_abnormal(reason):
            self._note_crash(reason, message)
        if ActorExited in self.runtime.probe.wanted:
            self.runtime.probe.emit(ActorExited(self.path, self.incarnation, reason, message if is_abnormal(reason) else None))
        if has_begun:
            self.stop_children()
        else:
            self._die(reason)

    def _note_crash(self, reason: Reason, message: Any = None) -> None:
        self.runtime.note_exit(self, reason)
        if ActorCrashed in self.runtime.probe.wanted:
            parent = self.parent
            is_late = parent is not None and parent.is_ending()
            about = (self.path, self.incarnation, self.actor, message, reason, None if parent is None else parent.path)
            self.runtime.probe.emit(ActorCrashed(*about, is_late))

    def is_ending(self) -> bool:
        return self._state == STOPPING

    def make_child(self, start: Start[N], id_: str | int, shutdown_s: float) -> Cell[N]:
        return Cell(self.runtime, start, id_, self, shutdown_s)

    def stops_in_order(self) -> bool:
        return self.actor is not None and self.actor.stop_in_order

    def child_ended(self, child: Cell[Any], reason: Reason) -> None:
        if self._state == STOPPING:
            self.one_less_to_end()
        else:
            self.hear(Exit(child, reason))

    def children_ended(self) -> None:
        actor, context, reason = self.actor, self._context, self._reason or NORMAL
        if self._state != STOPPING:
            return
        if isinstance(actor, AsyncActor) and context is not None and type(actor).terminate is not AsyncActor.terminate:
            self._task = self.runtime.loop.create_task(self._terminate(actor, context, reason), context=self.runtime.context.copy())
            return
        if isinstance(actor, Actor) and context is not None:
            try:
                actor.terminate(reason, context)
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  becomes the exit reason
                reason = error
        if self._state == STOPPING:
            self._die(reason)

    async def _terminate(self, actor: AsyncActor[M], context: Context[M], reason: Reason) -> None:
        current_cell.set(self)
        try:
            await actor.terminate(reason, context)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  becomes the exit reason
            reason = error
        if self.actor is actor:
            self._task = None
            self._die(reason)
        elif isinstance(reason, Exception):
            self.runtime.probe.emit(TaskDisowned(self.path, reason))

    def _die(self, reason: Reason) -> None:
        if reason is not self._reason:  # its end is not the one that it began
            self.runtime.note_exit(self, reason)
            if ActorExited in self.runtime.probe.wanted:
                self.runtime.probe.emit(ActorExited(self.path, self.incarnation, reason))
        self._end(reason)
        if self.parent is not None:
            self.parent.child_ended(self, reason)
        else:
            self.retire()
            self.runtime.root_ended(self, reason)

    def _end(self, reason: Reason) -> None:
        """Become nothing but a role."""
        ties = self._ties
        self._state = DEAD
        self.runtime.living -= 1
        self.close()
        self.drop_children()
        self.actor = self._context = self._task = self._kept = self._reason = self._ties = None
        if ties is not None:
            self._untie(ties, reason)
        self._disappoint()

    def _never_ran(self, task: asyncio.Task[None]) -> None:
        """A task that is cancelled before its first step runs none of its code: what its code would have done is done here."""
        if self._task is task and self._state < STOPPING:
            self._task = None
            self._begin_stop(self._reason or SHUTDOWN)
