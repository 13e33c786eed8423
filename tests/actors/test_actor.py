"""What a single actor does: messages, asks, timers, mailboxes, ends."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import pytest

from noetl.actors.actor import KILLED, NOPROC, NORMAL, SHUTDOWN, Actor, AsyncActor, Context, Down, Exit, Overflow, Reason, Signal
from noetl.actors.cell import BUDGET
from noetl.actors.ref import Ref, Reply
from noetl.errors import ActorDead, AskCycle, AskTimeout, MailboxFull
from noetl.probe import ActorExited, TaskDisowned
from noetl.testing.world import Recorder, World


class Counter(Actor[Any]):
    """Adds what it is told; a Reply gets the sum."""

    def init(self, ctx: Context[Any]) -> None:
        self.sum = 0

    def handle(self, message: Any, ctx: Context[Any]) -> None:
        if isinstance(message, Reply):
            message.send(self.sum)
        elif isinstance(message, BaseException):
            raise message
        elif message == "stop":
            ctx.stop()
        else:
            self.sum += message


class AsyncCounter(AsyncActor[Any]):
    async def init(self, ctx: Context[Any]) -> None:
        await asyncio.sleep(0)
        self.sum = 0

    async def handle(self, message: Any, ctx: Context[Any]) -> None:
        await asyncio.sleep(0)
        if isinstance(message, Reply):
            message.send(self.sum)
        elif isinstance(message, BaseException):
            raise message
        elif message == "stop":
            ctx.stop()
        else:
            self.sum += message


both_kinds = pytest.mark.parametrize("kind", [Counter, AsyncCounter])


@both_kinds
async def test_messages_are_handled_one_by_one_in_the_order_of_sending(world: World, kind: Any) -> None:
    ref = await world.start(kind)
    for number in range(1000):
        ref.tell(number)
    assert await ref.ask(lambda reply: reply, 1.0) == sum(range(1000))


@both_kinds
async def test_an_actor_that_stopped_refuses_messages_and_fails_asks(world: World, kind: Any) -> None:
    ref = await world.start(kind)
    ref.tell("stop")
    with pytest.raises(ActorDead):
        await ref.ask(lambda reply: reply, 1.0)
    assert not ref.is_alive()
    with pytest.raises(ActorDead):
        ref.tell(1)
    ref.report(1)  # an outcome for somebody who is gone is dropped


@both_kinds
async def test_a_crash_is_the_exit_reason_and_names_the_message(world: World, kind: Any) -> None:
    ref = await world.start(kind)
    error = OSError("disk gone")
    ref.tell(error)
    exited = await world.next(ActorExited)
    assert (exited.path, exited.reason, exited.message) == ("actor", error, error)


@both_kinds
async def test_an_ask_fails_when_the_actor_crashes_before_it_answers(world: World, kind: Any) -> None:
    ref = await world.start(kind)
    ref.tell(OSError("disk gone"))
    with pytest.raises(ActorDead):
        await ref.ask(lambda reply: reply, 60.0)


async def test_an_ask_that_is_not_answered_ends_at_its_deadline_and_the_late_reply_is_dropped(world: World) -> None:
    replies: list[Reply[Any]] = []

    class Forgetful(Actor[Reply[Any]]):
        def handle(self, message: Reply[Any], ctx: Context[Any]) -> None:
            replies.append(message)

    ref = await world.start(Forgetful)
    started = world.loop.time()
    with pytest.raises(AskTimeout, match=r"actor did not answer within 2 s"):
        await ref.ask(lambda reply: reply, 2.0)
    assert world.loop.time() - started == 2.0
    replies[0].send("late")


async def test_actors_that_ask_each_other_in_a_circle_are_told_at_once(world: World) -> None:
    class Asker(AsyncActor[Any]):
        other: Ref[Any]

        async def handle(self, message: Any, ctx: Context[Any]) -> None:
            try:
                message.send(await self.other.ask(lambda reply: reply, 1000.0))
            except AskCycle as error:
                message.send(error.cycle)

    first, second = Asker(), Asker()
    a = await world.start(lambda: first, "a")
    b = await world.start(lambda: second, "b")
    first.other, second.other = b, a
    assert await a.ask(lambda reply: reply, 1.0) == ("b", "a", "b")
    assert world.loop.time() == 0


class Bounded(Actor[Any]):
    capacity: ClassVar[int] = 3

    def __init__(self, seen: list[Any]) -> None:
        self.seen = seen

    def handle(self, message: Any, ctx: Context[Any]) -> None:
        self.seen.append(message)


class Dropping(Bounded):
    overflow: ClassVar[Overflow] = "drop_oldest"


async def test_a_full_mailbox_rejects_the_sender(world: World) -> None:
    seen: list[Any] = []
    ref = await world.start(lambda: Bounded(seen))
    for number in range(3):
        ref.tell(number)
    with pytest.raises(MailboxFull):
        ref.tell(3)
    await world.settle()
    assert seen == [0, 1, 2]


async def test_an_outcome_is_never_refused(world: World) -> None:
    seen: list[Any] = []
    ref = await world.start(lambda: Bounded(seen))
    for number in range(10):
        ref.report(number)
    await world.settle()
    assert seen == list(range(10))


async def test_a_mailbox_that_drops_keeps_the_newest(world: World) -> None:
    seen: list[Any] = []
    ref = await world.start(lambda: Dropping(seen))
    for number in range(5):
        ref.tell(number)
    await world.settle()
    assert seen == [2, 3, 4]


async def test_a_sender_that_is_no_actor_can_wait_for_room(world: World) -> None:
    seen: list[Any] = []
    ref = await world.start(lambda: Bounded(seen))
    for number in range(10):
        await ref.send(number)
    await world.settle()
    assert seen == list(range(10))


async def test_a_timer_is_a_message_in_time_and_can_be_cancelled(world: World) -> None:
    class Sleeper(Actor[str]):
        def init(self, ctx: Context[str]) -> None:
            ctx.send_after(5.0, "five")
            ctx.send_after(2.0, "never").cancel()
            ctx.send_after(1.0, "one")

        def handle(self, message: str, ctx: Context[str]) -> None:
            world.tell_news((message, world.loop.time()))

    await world.start(Sleeper)
    await world.pass_time(10)
    assert list(world.news)[1:] == [("one", 1.0), ("five", 5.0)]


async def test_timers_end_with_the_incarnation_that_set_them(world: World) -> None:
    class Sleeper(Actor[str]):
        def init(self, ctx: Context[str]) -> None:
            ctx.send_after(5.0, "late")

        def handle(self, message: str, ctx: Context[str]) -> None:
            world.tell_news(message)
            ctx.stop()

    ref = await world.start(Sleeper)
    ref.tell("now")
    await world.pass_time(10)
    assert "late" not in world.news


async def test_a_busy_actor_lets_others_have_their_turn(world: World) -> None:
    order: list[str] = []

    class Named(Actor[str]):
        capacity: ClassVar[int] = 10 * BUDGET

        def handle(self, message: str, ctx: Context[str]) -> None:
            order.append(message)

    busy, other = await world.start(Named, "busy"), await world.start(Named, "other")
    for _ in range(5 * BUDGET):
        busy.tell("busy")
    other.tell("other")
    await world.settle()
    assert order.index("other") == BUDGET


async def test_the_exit_of_a_linked_actor_ends_its_partner_unless_the_partner_traps_exits(world: World) -> None:
    class Linked(Actor[Any]):
        def handle(self, message: Any, ctx: Context[Any]) -> None:
            ctx.link(message)

        def signal(self, signal: Signal, ctx: Context[Any]) -> None:
            assert isinstance(signal, Exit)
            world.tell_news(("trapped", signal.reason))

    class Trapping(Linked):
        trap_exit: ClassVar[bool] = True

    target = await world.start(Counter, "target")
    plain, trapping = await world.start(Linked, "plain"), await world.start(Trapping, "trapping")
    plain.tell(target)
    trapping.tell(target)
    await world.settle()
    error = OSError("gone")
    target.tell(error)
    await world.settle()
    assert not plain.is_alive()
    assert trapping.is_alive()
    assert ("trapped", error) in world.news


async def test_a_normal_exit_leaves_linked_actors_alone(world: World) -> None:
    class Linked(Actor[Any]):
        def handle(self, message: Any, ctx: Context[Any]) -> None:
            ctx.link(message)

    target, partner = await world.start(Counter, "target"), await world.start(Linked, "partner")
    partner.tell(target)
    await world.settle()
    target.tell("stop")
    await world.settle()
    assert not target.is_alive()
    assert partner.is_alive()


class Watcher(Actor[Any]):
    def __init__(self, world: World) -> None:
        self._world = world

    def handle(self, message: Any, ctx: Context[Any]) -> None:
        ctx.monitor(message)

    def signal(self, signal: Signal, ctx: Context[Any]) -> None:
        self._world.tell_news(signal)


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (lambda ref: ref.tell("stop"), NORMAL),
        (lambda ref: ref.shutdown(), SHUTDOWN),
        (lambda ref: ref.kill(), KILLED),
        (lambda ref: ref.tell(_BROKEN), None),
    ],
    ids=["normal", "shutdown", "killed", "crash"],
)
@both_kinds
async def test_a_monitor_fires_once_with_the_reason(world: World, kind: Any, end: Any, reason: Reason | None) -> None:
    target = await world.start(kind, "target")
    watcher = await world.start(lambda: Watcher(world), "watcher")
    watcher.tell(target)
    await world.settle()
    end(target)
    down = await world.next(Down)
    assert down.ref is target
    assert down.reason is (_BROKEN if reason is None else reason)
    await world.pass_time(100)
    assert not [item for item in world.news if isinstance(item, Down)]


_BROKEN = OSError("broken")


async def test_a_monitor_of_a_dead_actor_fires_at_once(world: World) -> None:
    target = await world.start(Counter, "target")
    target.kill()
    watcher = await world.start(lambda: Watcher(world), "watcher")
    watcher.tell(target)
    assert (await world.next(Down)).reason is NOPROC


async def test_signals_overtake_messages(world: World) -> None:
    order: list[str] = []

    class Ordered(Actor[Any]):
        def handle(self, message: Any, ctx: Context[Any]) -> None:
            if isinstance(message, str):
                order.append(message)
            else:
                ctx.monitor(message)

        def signal(self, signal: Signal, ctx: Context[Any]) -> None:
            order.append("down")

    target, watcher = await world.start(Counter, "target"), await world.start(Ordered, "watcher")
    watcher.tell(target)
    await world.settle()
    for _ in range(3):
        watcher.tell("message")
    target.kill()
    await world.settle()
    assert order == ["down", "message", "message", "message"]


async def test_children_end_before_their_parent_and_terminate_runs_last(world: World) -> None:
    class Child(Actor[Any]):
        def terminate(self, reason: Reason, ctx: Context[Any]) -> None:
            world.tell_news(f"end of {ctx.path}")

    class Parent(Child):
        def init(self, ctx: Context[Any]) -> None:
            ctx.spawn(Child, "one")
            ctx.spawn(Child, "two")

        def handle(self, message: Any, ctx: Context[Any]) -> None:
            ctx.stop()

    parent = await world.start(Parent, "parent")
    parent.tell("stop")
    await world.settle()
    assert [item for item in world.news if isinstance(item, str)] == ["end of parent/one", "end of parent/two", "end of parent"]


async def test_a_child_that_does_not_end_in_time_is_killed_and_what_its_task_does_then_is_reported(world: World) -> None:
    class Stubborn(AsyncActor[Any]):
        async def handle(self, message: Any, ctx: Context[Any]) -> None:
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                await asyncio.sleep(1000)
                raise OSError("much too late") from None

    class Parent(Actor[Any]):
        def init(self, ctx: Context[Any]) -> None:
            ctx.spawn(Stubborn, "child", shutdown_s=3.0).tell("go")

        def handle(self, message: Any, ctx: Context[Any]) -> None:
            ctx.stop()

    parent = await world.start(Parent, "parent")
    await world.settle()
    parent.tell("stop")
    await world.pass_time(2.9)
    assert [item for item in world.news if isinstance(item, ActorExited) and item.path == "parent/child" and item.reason is KILLED] == []
    await world.pass_time(0.2)
    assert [item.path for item in world.news if isinstance(item, ActorExited) and item.reason is KILLED] == ["parent/child"]
    assert not parent.is_alive()


async def test_a_shutdown_cancels_the_handler_of_an_async_actor_and_then_terminates_it(world: World) -> None:
    class Worker(AsyncActor[Any]):
        async def handle(self, message: Any, ctx: Context[Any]) -> None:
            try:
                await asyncio.sleep(1000)
            finally:
                world.tell_news("cancelled")

        async def terminate(self, reason: Reason, ctx: Context[Any]) -> None:
            world.tell_news(("terminated", reason))

    ref = await world.start(Worker)
    ref.tell("go")
    await world.settle()
    await world.runtime.stop(ref)
    assert world.loop.time() == 0
    assert [item for item in world.news if isinstance(item, (str, tuple))] == ["cancelled", ("terminated", SHUTDOWN)]


async def test_a_shutdown_ends_an_async_actor_whose_handler_or_init_has_not_begun(world: World) -> None:
    class Idle(AsyncActor[Any]):
        async def handle(self, message: Any, ctx: Context[Any]) -> None:
            await asyncio.sleep(1000)

    class Parent(Actor[Any]):
        def init(self, ctx: Context[Any]) -> None:
            self.started = ctx.spawn(Idle, "started")

        def handle(self, message: Any, ctx: Context[Any]) -> None:
            ctx.spawn(Idle, "starting")
            self.started.tell("go")
            ctx.stop()

    parent = await world.start(Parent, "parent")
    await world.settle()
    parent.tell("stop")
    await world.settle()
    assert not parent.is_alive()
    assert world.loop.time() == 0


async def test_a_shutdown_waits_for_the_handler_of_an_async_actor_that_traps_exits(world: World) -> None:
    class Careful(AsyncActor[Any]):
        trap_exit: ClassVar[bool] = True

        async def handle(self, message: Any, ctx: Context[Any]) -> None:
            await asyncio.sleep(3)
            world.tell_news("finished")

    ref = await world.start(Careful)
    ref.tell("go")
    await world.settle()
    await world.runtime.stop(ref)
    assert "finished" in world.news


async def test_an_actor_that_kills_itself_handles_nothing_more(world: World) -> None:
    seen: list[Any] = []

    class Suicidal(Actor[Any]):
        def handle(self, message: Any, ctx: Context[Any]) -> None:
            seen.append(message)
            ctx.kill(ctx.self_ref)

    ref = await world.start(Suicidal)
    ref.tell(1)
    ref.tell(2)
    await world.settle()
    assert seen == [1]


async def test_the_error_of_a_killed_actors_handler_is_not_lost(world: World) -> None:
    class Doomed(Actor[Any]):
        def handle(self, message: Any, ctx: Context[Any]) -> None:
            ctx.kill(ctx.self_ref)
            raise OSError("after death")

    ref = await world.start(Doomed)
    ref.tell(1)
    assert str((await world.next(TaskDisowned)).outcome) == "after death"


async def test_a_start_that_fails_is_raised_to_the_starter(world: World) -> None:
    class Broken(Actor[Any]):
        def init(self, ctx: Context[Any]) -> None:
            raise OSError("no")

    class AsyncBroken(AsyncActor[Any]):
        async def init(self, ctx: Context[Any]) -> None:
            await asyncio.sleep(1)
            raise OSError("no")

    for kind in (Broken, AsyncBroken):
        with pytest.raises(OSError, match="no"):
            await world.runtime.start(kind, "broken")


async def test_messages_that_come_while_init_runs_wait_for_its_end(world: World) -> None:
    class Slow(AsyncActor[Any]):
        async def init(self, ctx: Context[Any]) -> None:
            ctx.self_ref.tell("early")
            await asyncio.sleep(5)
            world.tell_news("ready")

        async def handle(self, message: Any, ctx: Context[Any]) -> None:
            world.tell_news(message)

    await world.start(Slow)
    await world.settle()
    assert [item for item in world.news if isinstance(item, str)] == ["ready", "early"]


async def test_the_work_of_an_actors_own_task_comes_back_as_a_message(world: World) -> None:
    async def work(result: Any) -> Any:
        await asyncio.sleep(1)
        if isinstance(result, Exception):
            raise result
        return result

    class Boss(Actor[Any]):
        def init(self, ctx: Context[Any]) -> None:
            ctx.run(work("good"), lambda outcome: ("done", outcome))
            ctx.run(work(OSError("bad")), lambda outcome: ("done", str(outcome)))

        def handle(self, message: Any, ctx: Context[Any]) -> None:
            world.tell_news(message)

    await world.start(Boss)
    await world.pass_time(2)
    assert [item for item in world.news if isinstance(item, tuple)] == [("done", "good"), ("done", "bad")]


async def test_a_name_stays_with_a_ref_that_restarts_and_is_free_when_its_parent_ends(world: World) -> None:
    class Named(Actor[Any]):
        def init(self, ctx: Context[Any]) -> None:
            ctx.registry.register("it", ctx.self_ref)

        def handle(self, message: Any, ctx: Context[Any]) -> None:
            raise message

    class Parent(Actor[Any]):
        trap_exit: ClassVar[bool] = True

        def init(self, ctx: Context[Any]) -> None:
            ctx.spawn(Named, "child")

        def handle(self, message: Any, ctx: Context[Any]) -> None:
            ctx.stop()

        def signal(self, signal: Signal, ctx: Context[Any]) -> None:
            ctx.respawn(signal.ref)

    registry = world.runtime.registry
    parent = await world.start(Parent, "parent")
    child = registry.whereis("it")
    child.tell(OSError("crash"))
    await world.settle()
    assert registry.whereis("it") is child
    assert child.is_alive()
    parent.tell("stop")
    await world.settle()
    assert registry.find("it") is None
    await world.start(Named, "another")
    assert registry.whereis("it").path == "another"


async def test_a_broadcast_reaches_the_members_that_are_running(world: World) -> None:
    refs = [await world.start(lambda: Recorder(world), f"member-{number}") for number in range(3)]
    for ref in refs:
        world.runtime.registry.join("group", ref)
    refs[1].kill()
    assert world.runtime.registry.broadcast("group", "hello") == 2
    await world.settle()
    assert list(world.news).count("hello") == 2
