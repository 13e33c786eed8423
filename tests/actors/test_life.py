"""Starting, stopping, killing; and the tasks that an actor owns."""

from __future__ import annotations

import asyncio
import math
from typing import Any, ClassVar

import pytest

from noetl.actors.actor import KILL, KILLED, NORMAL, SHUTDOWN, Actor, AsyncActor, Context, Down, Reason
from noetl.actors.cell import Cell
from noetl.errors import ActorDead
from noetl.probe import ActorExited, TaskDisowned
from noetl.supervisors.spec import ChildSpec
from noetl.supervisors.static import which_children
from noetl.testing.world import World
from tests.actors.kinds import AsyncDoer, AsyncTrapper, Counter, Doer, Ended, Trapper, failing, for_ever, of, slowly


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


async def test_a_callback_tells_the_incarnation_that_gave_it_and_no_later_one(world: World) -> None:
    class Waiting(Actor[Any]):
        def init(self, ctx: Context[Any]) -> None:
            world.tell_news(ctx.callback(lambda answer: (ctx.incarnation, answer)))

        def handle(self, message: Any, ctx: Context[Any]) -> None:
            if message == "crash":
                raise ValueError(message)
            world.tell_news(message)

    top = await world.supervise(ChildSpec(id="waiting", start=Waiting))
    child = (await which_children(top))["waiting"]
    assert child is not None
    child.tell("crash")
    await world.settle()
    early, late = (item for item in world.news if callable(item))
    early("of the first")
    late("of the second")
    await world.settle()
    assert [item for item in world.news if isinstance(item, tuple)] == [(2, "of the second")]


WAYS: dict[str, tuple[Any, Reason, bool]] = {
    # what is done to it: (action, its exit reason, whether `terminate` runs)
    "it stops": (lambda ref: ref.tell(stopping), NORMAL, True),
    "it stops with a reason": (lambda ref: ref.tell(stopping_for_a_reason), SHUTDOWN, True),
    "it crashes": (lambda ref: ref.tell(crashing), OSError("broken"), True),
    "it is shut down": (lambda ref: ref.shutdown(), SHUTDOWN, True),
    "an exit is sent": (lambda ref: ref.exit(SHUTDOWN), SHUTDOWN, True),
    "it is killed": (lambda ref: ref.kill(), KILLED, False),
    "a kill is sent": (lambda ref: ref.exit(KILL), KILLED, False),
}
BROKEN = WAYS["it crashes"][1]


class AsyncMixed(AsyncDoer):
    """Its messages are those of the plain one."""

    async def handle(self, message: Any, ctx: Context[Any]) -> None:
        message(ctx)


def stopping(ctx: Context[Any]) -> None:
    ctx.stop()


def stopping_for_a_reason(ctx: Context[Any]) -> None:
    ctx.stop(SHUTDOWN)


def crashing(ctx: Context[Any]) -> None:
    assert isinstance(BROKEN, OSError)
    raise BROKEN


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", [Doer, AsyncMixed], ids=["plain", "async"])
async def test_terminate_runs_once_on_every_way_but_a_kill(world: World, kind: Any, way: str) -> None:
    end, reason, terminates = WAYS[way]
    ref = await world.start(lambda: kind(world))
    watcher = await world.start(lambda: Doer(world), "watcher")
    watcher.tell(lambda ctx: ctx.monitor(ref))
    await world.settle()
    end(ref)
    await world.settle()
    assert of(world, Ended) == ([Ended("actor", reason)] if terminates else [])
    assert [down.reason for down in of(world, Down)] == [reason]


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
async def test_terminate_does_not_run_when_the_start_failed_and_its_children_are_gone(world: World, is_async: bool) -> None:
    class Failing(Doer):
        def init(self, ctx: Context[Any]) -> None:
            ctx.spawn(lambda: Doer(world), "child")
            raise OSError("no")

    class AsyncFailing(AsyncDoer):
        async def init(self, ctx: Context[Any]) -> None:
            ctx.spawn(lambda: Doer(world), "child")
            raise OSError("no")

    with pytest.raises(OSError, match="no"):
        await world.start(lambda: (AsyncFailing if is_async else Failing)(world))
    await world.settle()
    assert of(world, Ended) == []
    assert [(item.path, item.reason) for item in of(world, ActorExited) if item.path == "actor/child"] == [("actor/child", KILLED)]
    assert world.runtime.living == 0


@pytest.mark.parametrize("how", ["shutdown", "kill", "exit"])
async def test_an_async_start_can_be_ended_and_there_is_nothing_to_terminate(world: World, how: str) -> None:
    class Starting(AsyncTrapper):
        trap_exit: ClassVar[bool] = how != "exit"

        async def init(self, ctx: Context[Any]) -> None:
            world.tell_news(ctx.self_ref)
            await for_ever(ctx)

    starting = asyncio.ensure_future(world.runtime.start(lambda: Starting(world), "starting"))
    ref = await world.next(Cell)
    await world.settle()
    {"shutdown": ref.shutdown, "kill": ref.kill, "exit": lambda: ref.exit(SHUTDOWN)}[how]()
    with pytest.raises(RuntimeError, match="starting ended while starting"):
        await starting
    assert of(world, Ended) == []
    assert world.loop.time() == 0


async def test_an_error_in_terminate_becomes_the_exit_reason_and_is_said(world: World) -> None:
    class Failing(Doer):
        def terminate(self, reason: Reason, ctx: Context[Any]) -> None:
            raise OSError("in terminate")

    class AsyncFailing(AsyncDoer):
        async def terminate(self, reason: Reason, ctx: Context[Any]) -> None:
            raise OSError("in terminate")

    for kind in (Failing, AsyncFailing):
        ref = await world.start(lambda kind=kind: kind(world))
        ended = asyncio.ensure_future(world.runtime.ended(ref))
        await asyncio.sleep(0)
        await world.runtime.stop(ref)
        assert str(await ended) == "in terminate"
        assert [str(item.reason) for item in of(world, ActorExited)] == [str(SHUTDOWN), "in terminate"]
        world.news.clear()


async def test_an_async_terminate_is_not_cut_short_by_a_shutdown_but_by_its_time(world: World) -> None:
    class Slow(AsyncDoer):
        seconds = 0.0

        async def terminate(self, reason: Reason, ctx: Context[Any]) -> None:
            await asyncio.sleep(self.seconds)
            world.tell_news(Ended(ctx.path, reason))

    for seconds, expected in ((3.0, [NORMAL]), (10.0, [])):
        Slow.seconds = seconds
        ref = await world.start(lambda: Slow(world))
        ref.tell(slowly(lambda ctx: ctx.stop()))
        await world.settle()
        began = world.loop.time()
        await world.runtime.stop(ref)
        assert world.loop.time() - began == min(seconds, 5.0)
        assert [ended.reason for ended in of(world, Ended)] == expected
        world.news.clear()


class Parent(Doer):
    """Its children have what `specs` says: id -> (start, seconds)."""

    def __init__(self, world: World, **specs: tuple[Any, float]) -> None:
        super().__init__(world)
        self.specs = specs

    def init(self, ctx: Context[Any]) -> None:
        for id_, (kind, shutdown_s) in self.specs.items():
            ctx.spawn(lambda kind=kind: kind(self.world), id_, shutdown_s=shutdown_s)


class Lingering(AsyncDoer):
    async def terminate(self, reason: Reason, ctx: Context[Any]) -> None:
        await asyncio.sleep(100)
        self.world.tell_news(Ended(ctx.path, reason))


@pytest.mark.parametrize(
    ("shutdown_s", "takes_s", "reason"), [(0.0, 0.0, KILLED), (3.0, 3.0, KILLED), (200.0, 100.0, SHUTDOWN), (math.inf, 100.0, SHUTDOWN)]
)
async def test_a_child_has_its_shutdown_time_to_end_none_at_all_or_for_ever(world: World, shutdown_s: float, takes_s: float, reason: Reason) -> None:
    ref = await world.runtime.start(lambda: Parent(world, child=(Lingering, shutdown_s)), "parent", shutdown_s=math.inf)
    await world.settle()
    await world.runtime.stop(ref)
    assert world.loop.time() == takes_s
    assert of(world, ActorExited)[-1].reason is reason
    assert Ended("parent", SHUTDOWN) in world.news
    assert (Ended("parent/child", SHUTDOWN) in world.news) == (reason is SHUTDOWN)


async def test_a_parent_that_is_killed_while_its_children_end_ends_once_and_takes_them_along(world: World) -> None:
    ref = await world.runtime.start(lambda: Parent(world, child=(Lingering, math.inf)), "parent", shutdown_s=3.0)
    watcher = await world.start(lambda: Doer(world), "watcher")
    watcher.tell(lambda ctx: ctx.monitor(ref))
    await world.settle()
    await world.runtime.stop(ref)
    await world.settle()
    assert world.loop.time() == 3.0
    assert of(world, Ended) == []
    assert [down.reason for down in of(world, Down)] == [KILLED]
    assert [(item.path, item.reason) for item in of(world, ActorExited)] == [
        ("parent", SHUTDOWN),
        ("parent/child", SHUTDOWN),
        ("parent", KILLED),
        ("parent/child", KILLED),
    ]
    assert world.runtime.living == 1


async def test_a_thousand_children_that_are_killed_one_after_the_other_end_in_reverse_order(world: World) -> None:
    class Ordered(Parent):
        stop_in_order: ClassVar[bool] = True

    ref = await world.start(lambda: Ordered(world, **{str(number): (Doer, 0.0) for number in range(1000)}), "parent")
    await world.runtime.stop(ref)
    exited = [int(item.path.rpartition("/")[2]) for item in of(world, ActorExited) if "/" in item.path]
    assert exited == list(range(999, -1, -1))


async def test_a_child_that_is_started_while_its_parent_ends_does_not_outlive_it(world: World) -> None:
    class Late(Doer):
        def terminate(self, reason: Reason, ctx: Context[Any]) -> None:
            ctx.spawn(lambda: Doer(world), "child")

    await world.runtime.stop(await world.start(lambda: Late(world)))
    assert world.runtime.living == 0


async def swallowing(ctx: Context[Any]) -> None:
    """A handler that can't be cancelled, and then acts for an actor that is gone."""
    try:
        await for_ever(ctx)
    except asyncio.CancelledError:
        await asyncio.sleep(10)
    ctx.stop()
    ctx.send_after(0.0, slowly(lambda ctx: None))


async def test_a_killed_handler_that_goes_on_is_reported_and_what_it_does_has_no_effect_on_the_next_incarnation(world: World) -> None:
    top = await world.supervise(ChildSpec(id="child", start=lambda: AsyncDoer(world)))
    child = (await which_children(top))["child"]
    assert isinstance(child, Cell)
    child.tell(swallowing)
    await world.settle()
    child.kill()
    await world.settle()
    assert (child.is_alive(), child.incarnation) == (True, 2)
    assert await world.next(TaskDisowned) == TaskDisowned("top/child")
    assert world.loop.time() == 1.0
    await world.pass_time(20)
    assert child.incarnation == 2
    assert child.is_alive()
    [failed] = of(world, TaskDisowned)
    assert isinstance(failed.outcome, ActorDead)


async def test_a_task_of_its_own_that_goes_on_after_the_end_is_reported_and_its_result_dropped(world: World) -> None:
    async def stubborn() -> str:
        try:
            await for_ever(None)
        except asyncio.CancelledError:
            await asyncio.sleep(10)
        return "result"

    ref = await world.start(lambda: Doer(world))
    ref.tell(lambda ctx: ctx.run(stubborn(), lambda outcome: lambda ctx: world.tell_news(outcome)))
    await world.settle()
    ref.kill()
    assert await world.next(TaskDisowned) == TaskDisowned("actor")
    await world.pass_time(20)
    assert "result" not in world.news


async def test_a_handler_that_ends_when_it_is_killed_is_not_reported(world: World) -> None:
    ref = await world.start(lambda: AsyncDoer(world))
    ref.tell(for_ever)
    await world.settle()
    ref.kill()
    await world.pass_time(5)
    assert of(world, TaskDisowned) == []


async def test_a_plain_actor_that_lets_a_cancellation_out_crashes_and_nobody_else_stands_still(world: World) -> None:
    ref, other = await world.start(lambda: Doer(world)), await world.start(Counter, "other")
    ref.tell(failing(asyncio.CancelledError()))
    await world.settle()
    assert not ref.is_alive()
    assert await other.ask(lambda reply: reply, 1.0) == 0


async def test_an_actor_that_stops_in_its_start_has_started_and_handles_nothing(world: World) -> None:
    class Brief(Doer):
        def init(self, ctx: Context[Any]) -> None:
            ctx.stop()

    ref = await world.start(lambda: Brief(world))
    ref.tell(failing(OSError("handled")))
    await world.settle()
    assert of(world, Ended) == [Ended("actor", NORMAL)]


async def test_messages_that_waited_when_it_ended_are_not_for_the_next_incarnation(world: World) -> None:
    top = await world.supervise(ChildSpec(id="child", start=lambda: Doer(world)))
    child = (await which_children(top))["child"]
    assert child is not None
    child.tell(failing(OSError("broken")))
    child.tell(lambda ctx: world.tell_news("handled"))
    await world.settle()
    assert child.is_alive()
    assert "handled" not in world.news


async def test_a_forgotten_child_can_not_be_started_again_and_nobody_forgets_for_others(world: World) -> None:
    parent, other = await world.start(lambda: Trapper(world), "parent"), await world.start(lambda: Trapper(world), "other")
    children: list[Any] = []
    parent.tell(lambda ctx: children.append(ctx.spawn(lambda: Doer(world), "child")))
    await world.settle()
    children[0].kill()
    other.tell(lambda ctx: ctx.forget(children[0]))
    parent.tell(lambda ctx: ctx.respawn(children[0]))
    await world.settle()
    assert children[0].is_alive()
    children[0].kill()
    parent.tell(lambda ctx: ctx.forget(children[0]))
    parent.tell(lambda ctx: ctx.respawn(children[0]))
    await world.settle()
    assert not parent.is_alive()
    assert isinstance(of(world, ActorExited)[-1].reason, ActorDead)


async def test_a_killed_handler_that_goes_on_takes_no_messages_of_the_next_incarnation(world: World) -> None:
    async def swallowing_quietly(ctx: Context[Any]) -> None:
        try:
            await for_ever(ctx)
        except asyncio.CancelledError:
            await asyncio.sleep(10)

    async def slowly_saying(ctx: Context[Any]) -> None:
        await asyncio.sleep(20)
        world.tell_news(("handled", world.loop.time()))

    top = await world.supervise(ChildSpec(id="child", start=lambda: AsyncDoer(world)))
    child = (await which_children(top))["child"]
    assert child is not None
    child.tell(swallowing_quietly)
    await world.settle()
    child.kill()
    await world.settle()
    child.tell(slowly_saying)
    child.tell(slowly_saying)
    await world.pass_time(50)
    assert of(world, tuple)[-2:] == [("handled", 20.0), ("handled", 40.0)]


async def test_a_child_without_shutdown_time_is_killed_before_it_does_anything_more(world: World) -> None:
    ref = await world.start(lambda: Parent(world, child=(Doer, 0.0)), "parent")
    await world.runtime.stop(ref)
    assert of(world, Ended) == [Ended("parent", SHUTDOWN)]


async def test_an_actor_that_kills_itself_in_its_start_ends_once(world: World) -> None:
    class Suicidal(Doer):
        def init(self, ctx: Context[Any]) -> None:
            ctx.kill(ctx.self_ref)
            raise OSError("after the end")

    with pytest.raises(OSError, match="after the end"):
        await world.start(lambda: Suicidal(world))
    assert world.runtime.living == 0
    assert [item.reason for item in of(world, ActorExited)] == [KILLED]
