"""Passivation, and what another version of the code makes of what was kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from noetl.actors.actor import KILLED, NORMAL, SHUTDOWN, Actor, AsyncActor, Context, Down, Exit, Reason, Signal
from noetl.actors.cell import Cell
from noetl.actors.ref import Ref, Reply
from noetl.errors import CallError
from noetl.probe import ActorActivated, ActorExited, ActorPassivated, ActorStarted
from noetl.supervisors.spec import ChildSpec
from noetl.supervisors.static import which_children
from noetl.testing.world import World
from tests.actors.kinds import Doer, Ended, of


class Sleeper(Actor[Any]):
    """Adds what it is told, and keeps the sum while it sleeps. Functions are done."""

    def __init__(self, world: World) -> None:
        self.world = world

    def init(self, ctx: Context[Any]) -> None:
        self.sum = 0

    def passivate(self, ctx: Context[Any]) -> Any:
        return self.sum

    def activate(self, kept: Any, ctx: Context[Any]) -> None:
        self.sum = kept

    def handle(self, message: Any, ctx: Context[Any]) -> None:
        if isinstance(message, Reply):
            message.send(self.sum)
        elif callable(message):
            message(ctx)
        else:
            self.sum += message

    def signal(self, signal: Signal, ctx: Context[Any]) -> None:
        self.world.tell_news(signal)

    def terminate(self, reason: Reason, ctx: Context[Any]) -> None:
        self.world.tell_news(Ended(ctx.path, reason))


class AsyncSleeper(AsyncActor[Any]):
    def __init__(self, world: World) -> None:
        self.world = world

    async def init(self, ctx: Context[Any]) -> None:
        self.sum = 0

    async def passivate(self, ctx: Context[Any]) -> Any:
        await asyncio.sleep(0)
        return self.sum

    async def activate(self, kept: Any, ctx: Context[Any]) -> None:
        await asyncio.sleep(0)
        self.sum = kept

    async def handle(self, message: Any, ctx: Context[Any]) -> None:
        await asyncio.sleep(0)
        if isinstance(message, Reply):
            message.send(self.sum)
        elif callable(message):
            message(ctx)
        else:
            self.sum += message

    async def signal(self, signal: Signal, ctx: Context[Any]) -> None:
        self.world.tell_news(signal)

    async def terminate(self, reason: Reason, ctx: Context[Any]) -> None:
        self.world.tell_news(Ended(ctx.path, reason))


both_sleepers = pytest.mark.parametrize("kind", [Sleeper, AsyncSleeper])


def go_to_sleep(ctx: Context[Any]) -> None:
    ctx.passivate()


def asleep(ref: Ref[Any]) -> bool:
    assert isinstance(ref, Cell)
    return ref.is_asleep()


async def sleeping(world: World, kind: Callable[[World], Any], trap_exit: bool = False) -> Ref[Any]:
    made: Any = type("Made", (kind,), {"trap_exit": trap_exit})  # type: ignore[arg-type]
    ref = await world.start(lambda: made(world))
    ref.tell(20)
    ref.tell(go_to_sleep)
    await world.settle()
    assert asleep(ref)
    return ref


@both_sleepers
async def test_a_passivated_actor_is_alive_and_its_next_message_wakes_it_with_what_it_kept(world: World, kind: Any) -> None:
    ref = await sleeping(world, kind)
    assert ref.is_alive()
    assert isinstance(ref, Cell)
    assert ref.actor is None
    ref.tell(22)
    assert await ref.ask(lambda reply: reply, 1.0) == 42
    assert not asleep(ref)
    assert [len(of(world, happened)) for happened in (ActorStarted, ActorPassivated, ActorActivated)] == [1, 1, 1]
    assert ref.incarnation == 1


async def test_an_actor_that_keeps_nothing_starts_anew_when_it_wakes(world: World) -> None:
    class Forgetful(Sleeper):
        passivate = Actor.passivate
        activate = Actor.activate

    ref = await sleeping(world, Forgetful)
    assert await ref.ask(lambda reply: reply, 1.0) == 0


@both_sleepers
async def test_the_messages_of_a_burst_to_a_sleeper_are_handled_in_their_order(world: World, kind: Any) -> None:
    ref = await sleeping(world, kind)
    for number in range(200):
        ref.tell(lambda ctx, number=number: world.tell_news(number))
    await world.pass_time(1)
    assert of(world, int) == list(range(200))


@both_sleepers
async def test_an_actor_for_which_something_waits_does_not_sleep(world: World, kind: Any) -> None:
    ref = await world.start(lambda: kind(world))
    ref.tell(go_to_sleep)
    ref.tell(1)
    await world.settle()
    assert not asleep(ref)


async def test_an_actor_with_a_child_a_task_or_an_unanswered_ask_does_not_sleep(world: World) -> None:
    replies: list[Reply[Any]] = []

    async def work() -> None:
        await asyncio.sleep(5)

    async def refuses(begin: Any) -> bool:
        ref = await world.start(lambda: Sleeper(world))
        ref.tell(begin)
        ref.tell(go_to_sleep)
        await world.settle()
        return not asleep(ref)

    class Keeping(Sleeper):
        def handle(self, message: Any, ctx: Context[Any]) -> None:
            replies.append(message)
            ctx.passivate()

    assert await refuses(lambda ctx: ctx.spawn(lambda: Sleeper(world), "child"))
    assert await refuses(lambda ctx: ctx.run(work(), lambda outcome: 0))
    assert not await refuses(lambda ctx: None)
    keeping = await world.start(lambda: Keeping(world))
    asked = asyncio.ensure_future(keeping.ask(lambda reply: reply, 9.0))
    await world.settle()
    assert not asleep(keeping)
    replies[0].send("answer")
    assert await asked == "answer"


@both_sleepers
async def test_a_timer_wakes_a_sleeper(world: World, kind: Any) -> None:
    ref = await world.start(lambda: kind(world))
    ref.tell(lambda ctx: ctx.send_after(5.0, 7))
    ref.tell(go_to_sleep)
    await world.pass_time(1)
    assert asleep(ref)
    await world.pass_time(5)
    assert not asleep(ref)
    assert await ref.ask(lambda reply: reply, 1.0) == 7


@both_sleepers
async def test_ties_outlast_the_sleep(world: World, kind: Any) -> None:
    watched, partner = await world.start(lambda: Doer(world), "watched"), await world.start(lambda: Doer(world), "partner")
    ref = await world.start(lambda: kind(world), "sleeper")
    ref.tell(lambda ctx: ctx.monitor(watched))
    partner.tell(lambda ctx: ctx.link(ref))
    ref.tell(go_to_sleep)
    await world.settle()
    assert asleep(ref)
    watched.kill()
    await world.settle()
    assert not asleep(ref)
    assert [down.ref for down in of(world, Down)] == [watched]
    ref.tell(go_to_sleep)
    await world.settle()
    ref.kill()
    await world.settle()
    assert not partner.is_alive()


@pytest.mark.parametrize("trap_exit", [False, True])
@both_sleepers
async def test_an_exit_wakes_a_sleeper_which_then_ends_or_traps_it(world: World, kind: Any, trap_exit: bool) -> None:
    ref = await sleeping(world, kind, trap_exit)
    ref.exit(SHUTDOWN)
    await world.settle()
    assert ref.is_alive() == trap_exit
    assert len(of(world, Exit)) == trap_exit
    assert of(world, Ended) == ([] if trap_exit else [Ended("actor", SHUTDOWN)])


@both_sleepers
async def test_a_sleeper_is_shut_down_or_killed_without_waking(world: World, kind: Any) -> None:
    for end, reason in ((Cell.shutdown, SHUTDOWN), (Cell.kill, KILLED)):
        ref = await sleeping(world, kind)
        world.news.clear()
        assert isinstance(ref, Cell)
        end(ref)
        assert not ref.is_alive()
        assert [item.reason for item in of(world, ActorExited)] == [reason]
        assert of(world, Ended) == of(world, ActorActivated) == []


@both_sleepers
async def test_a_wake_that_fails_is_a_crash_and_the_next_incarnation_starts_anew(world: World, kind: Any) -> None:
    class Failing(Sleeper):
        def activate(self, kept: Any, ctx: Context[Any]) -> None:
            raise OSError("can't wake")

    class AsyncFailing(AsyncSleeper):
        async def activate(self, kept: Any, ctx: Context[Any]) -> None:
            raise OSError("can't wake")

    top = await world.supervise(ChildSpec(id="a", start=lambda: (Failing if kind is Sleeper else AsyncFailing)(world)))
    ref = (await which_children(top))["a"]
    assert ref is not None
    ref.tell(20)
    ref.tell(go_to_sleep)
    await world.settle()
    ref.tell(22)
    await world.settle()
    assert [str(item.reason) for item in of(world, ActorExited)] == ["can't wake"]
    assert of(world, Ended) == []
    assert await ref.ask(lambda reply: reply, 1.0) == 0


@both_sleepers
async def test_an_actor_that_is_idle_for_long_enough_sleeps_by_itself(world: World, kind: Any) -> None:
    class Idling(kind):  # type: ignore[misc]
        idle_after_s: ClassVar[float | None] = 10.0

    ref = await world.start(lambda: Idling(world))
    for _ in range(5):
        ref.tell(1)
        await world.pass_time(9.0)
        assert not asleep(ref)
    await world.pass_time(11.0)
    assert asleep(ref)
    assert await ref.ask(lambda reply: reply, 1.0) == 5
    await world.pass_time(21.0)
    assert asleep(ref)


async def test_an_actor_that_is_busy_with_one_message_for_long_is_not_idle(world: World) -> None:
    class Idling(AsyncSleeper):
        idle_after_s: ClassVar[float | None] = 1.0

        async def handle(self, message: Any, ctx: Context[Any]) -> None:
            await asyncio.sleep(100)
            world.tell_news("done")

    ref = await world.start(lambda: Idling(world))
    ref.tell(1)
    await world.pass_time(100.5)
    assert "done" in world.news
    assert len(of(world, ActorPassivated)) == 0


async def test_a_sleeper_with_nothing_but_its_state_has_no_ties(world: World) -> None:
    ref = await sleeping(world, Sleeper)
    assert isinstance(ref, Cell)
    assert ref._ties is None


async def test_a_message_that_comes_while_it_falls_asleep_wakes_it(world: World) -> None:
    class Late(Sleeper):
        def passivate(self, ctx: Context[Any]) -> Any:
            ctx.self_ref.tell(2)
            return self.sum

    ref = await world.start(lambda: Late(world))
    ref.tell(40)
    ref.tell(go_to_sleep)
    await world.settle()
    assert len(of(world, ActorActivated)) == 1
    assert await ref.ask(lambda reply: reply, 1.0) == 42


@both_sleepers
async def test_an_actor_that_stops_while_it_falls_asleep_ends(world: World, kind: Any) -> None:
    class Stopping(Sleeper):
        def passivate(self, ctx: Context[Any]) -> Any:
            ctx.stop()

    class AsyncStopping(AsyncSleeper):
        async def passivate(self, ctx: Context[Any]) -> Any:
            ctx.stop()

    ref = await world.start(lambda: (Stopping if kind is Sleeper else AsyncStopping)(world))
    ref.tell(go_to_sleep)
    await world.settle()
    assert of(world, Ended) == [Ended("actor", NORMAL)]


# -- code change ------------------------------------------------------------------------------------------------------


class Upgraded:
    """Version 2 keeps a list instead of a sum."""

    version: ClassVar[int] = 2

    def evolve(self, version: int, kept: Any) -> Any:
        return [("from version", version), kept]


class NewSleeper(Upgraded, Sleeper):
    pass


class NewAsyncSleeper(Upgraded, AsyncSleeper):
    pass


upgrades = pytest.mark.parametrize(("old", "new"), [(Sleeper, NewSleeper), (AsyncSleeper, NewAsyncSleeper), (Sleeper, NewAsyncSleeper)])


@upgrades
async def test_what_an_older_version_kept_is_evolved_when_it_wakes(world: World, old: Any, new: Any) -> None:
    kinds = [old]
    ref = await world.start(lambda: kinds[-1](world))
    ref.tell(20)
    ref.tell(go_to_sleep)
    await world.settle()
    kinds.append(new)
    assert await ref.ask(lambda reply: reply, 1.0) == [("from version", 1), 20]


@upgrades
async def test_a_change_of_code_happens_between_two_messages_and_loses_none(world: World, old: Any, new: Any) -> None:
    kinds = [old]
    ref = await world.start(lambda: kinds[-1](world))
    changer = await world.start(lambda: Doer(world), "changer")
    ref.tell(20)
    await world.settle()
    kinds.append(new)
    asked = asyncio.ensure_future(ref.ask(lambda reply: reply, 1.0))
    changer.tell(lambda ctx: ctx.change_code(ref))
    assert await asked in (20, [("from version", 1), 20])
    assert await ref.ask(lambda reply: reply, 1.0) == [("from version", 1), 20]
    assert len(of(world, ActorStarted)) == 2
    assert of(world, Ended) == []


async def test_the_same_version_takes_up_what_was_kept_as_it_is(world: World) -> None:
    ref = await world.start(lambda: Sleeper(world))
    ref.tell(20)
    await world.settle()
    assert isinstance(ref, Cell)
    ref.change_code()
    assert await ref.ask(lambda reply: reply, 1.0) == 20


async def test_a_version_without_an_evolve_says_what_it_needs(world: World) -> None:
    class Newer(Sleeper):
        version: ClassVar[int] = 3

    kinds: list[Any] = [Sleeper]
    ref = await world.start(lambda: kinds[-1](world))
    ref.tell(go_to_sleep)
    await world.settle()
    kinds.append(Newer)
    ref.tell(1)
    reason = (await world.next(ActorExited)).reason
    assert str(reason) == "Newer is version 3 and was asked to go on from version 1: it needs an `evolve`"


async def test_the_code_of_an_actor_with_children_is_not_changed(world: World) -> None:
    ref = await world.start(lambda: Sleeper(world))
    ref.tell(lambda ctx: ctx.spawn(lambda: Sleeper(world), "child"))
    await world.settle()
    assert isinstance(ref, Cell)
    with pytest.raises(CallError, match="actor has children"):
        ref.change_code()
