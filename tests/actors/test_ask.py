"""Asks: deadlines, late replies, circles."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from noetl.actors.actor import Actor, AsyncActor, Context
from noetl.actors.cell import Cell
from noetl.actors.ref import Ref, Reply
from noetl.errors import ActorDead, AskCycle, AskTimeout, MailboxFull
from noetl.probe import TaskDisowned
from noetl.testing.world import World
from tests.actors.kinds import (
    Bounded,
    Counter,
    both_kinds,
    failing,
    of,
)


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


class Relay(AsyncActor[Any]):
    """Asks all others that it knows, at once, before it answers with what they said. An error is an answer too."""

    others: tuple[Ref[Any], ...] = ()

    async def handle(self, message: Any, ctx: Context[Any]) -> None:
        asked = [ref.ask(lambda reply: reply, 100.0) for ref in self.others]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        message.send([answer.cycle if isinstance(answer, AskCycle) else answer for answer in answers])


async def relays(world: World, count: int) -> list[tuple[Relay, Ref[Any]]]:
    made = [Relay() for _ in range(count)]
    return [(relay, await world.start(lambda relay=relay: relay, str(number))) for number, relay in enumerate(made)]


def innermost(answer: Any) -> Any:
    return innermost(answer[0]) if isinstance(answer, list) else answer


@pytest.mark.parametrize("length", [1, 2, 3, 7])
async def test_a_circle_of_any_length_is_found_at_once_and_named(world: World, length: int) -> None:
    circle = await relays(world, length)
    for number, (relay, _) in enumerate(circle):
        relay.others = (circle[(number + 1) % length][1],)
    answer = await circle[0][1].ask(lambda reply: reply, 50.0)
    assert innermost(answer) == (str(length - 1), *(str(number) for number in range(length)))
    assert world.loop.time() == 0


async def test_a_circle_through_one_of_several_asks_at_once_is_found(world: World) -> None:
    (a, ra), (b, rb), (_, rc) = await relays(world, 3)
    a.others, b.others = (rc, rb, rc), (ra,)
    assert await ra.ask(lambda reply: reply, 50.0) == [[], [("1", "0", "1")], []]
    assert world.loop.time() == 0


async def test_asks_that_meet_without_a_circle_are_answered(world: World) -> None:
    (a, ra), (b, rb), (c, rc), (_, rd) = await relays(world, 4)
    a.others, b.others, c.others = (rb, rc), (rd,), (rd,)
    assert await ra.ask(lambda reply: reply, 50.0) == [[[]], [[]]]


async def test_who_has_answered_may_ask_the_asker_before_that_one_goes_on(world: World) -> None:
    class Backwards(AsyncActor[Any]):
        async def handle(self, message: Any, ctx: Context[Any]) -> None:
            message.send("first")
            a.others = ()
            world.tell_news(("second", await ra.ask(lambda reply: reply, 50.0)))

    (a, ra), *_ = await relays(world, 1)
    back = await world.start(Backwards, "back")
    a.others = (back,)
    assert await ra.ask(lambda reply: reply, 50.0) == ["first"]
    assert await world.next(tuple) == ("second", [])


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
async def test_an_ask_by_a_task_of_its_own_leaves_the_actor_free_to_answer(world: World, is_async: bool) -> None:
    """Its handler does not wait, so there is no circle: neither with itself nor with the one that it asks."""
    (other, other_ref), *_ = await relays(world, 1)

    def begin(message: Any, ctx: Context[Any]) -> None:
        if isinstance(message, Reply):
            message.send("free")
        elif isinstance(message, Ref):
            ctx.run(message.ask(lambda reply: reply, 50.0), lambda answer: ("answer", answer))
        else:
            world.tell_news(message)

    class Plain(Actor[Any]):
        def handle(self, message: Any, ctx: Context[Any]) -> None:
            begin(message, ctx)

    class Async(AsyncActor[Any]):
        async def handle(self, message: Any, ctx: Context[Any]) -> None:
            begin(message, ctx)

    ref = await world.start(Async if is_async else Plain)
    other.others = (ref,)
    ref.tell(other_ref)
    ref.tell(ref)
    assert [await world.next(tuple), await world.next(tuple)] == [("answer", "free"), ("answer", ["free"])]


async def test_a_plain_actor_that_an_async_one_has_woken_asks_in_its_own_name(world: World) -> None:
    """The run queue was started from within the handler of the async actor, which must not make it the asker."""

    class Plain(Actor[Any]):
        def handle(self, message: Any, ctx: Context[Any]) -> None:
            if isinstance(message, Ref):
                ctx.run(message.ask(lambda reply: reply, 50.0), lambda answer: answer)
            else:
                world.tell_news(("answer", message))

    class Waking(AsyncActor[Any]):
        async def handle(self, message: Any, ctx: Context[Any]) -> None:
            if isinstance(message, Reply):
                message.send("woken")
            else:
                await asyncio.sleep(1)  # the run queue is empty now
                plain.tell(ctx.self_ref)

    plain = await world.start(Plain, "plain")
    (await world.start(Waking, "waking")).tell("go")
    assert await world.next(tuple) == ("answer", "woken")


async def test_an_ask_of_an_actor_that_is_not_running_fails_at_once(world: World) -> None:
    ref = await world.start(Counter)
    ref.kill()
    with pytest.raises(ActorDead, match="actor is not running"):
        await ref.ask(lambda reply: reply, 50.0)
    assert world.loop.time() == 0


@pytest.mark.parametrize("end", ["kill", "crash", "stop"])
async def test_an_ask_fails_when_the_asked_ends_without_an_answer_however_it_ends(world: World, end: str) -> None:
    class Keeping(Actor[Any]):
        def handle(self, message: Any, ctx: Context[Any]) -> None:
            ctx.send_after(1.0, "now")
            if message == "now":
                {"kill": ctx.self_ref.kill, "stop": ctx.stop, "crash": lambda: failing(OSError())(ctx)}[end]()

    ref = await world.start(Keeping)
    with pytest.raises(ActorDead, match="actor ended before it answered"):
        await ref.ask(lambda reply: reply, 50.0)
    assert world.loop.time() == 1.0


async def test_an_asker_that_dies_while_it_waits_is_waited_for_no_more(world: World) -> None:
    replies: list[Reply[Any]] = []

    class Keeping(Actor[Any]):
        def handle(self, message: Any, ctx: Context[Any]) -> None:
            replies.append(message)

    keeping = await world.start(Keeping, "keeping")
    (asker, asker_ref), (_, third) = await relays(world, 2)
    asker.others = (keeping, third)
    asker_ref.report(Reply(world.loop.create_future()))
    await world.settle()
    asker_ref.kill()
    await world.settle()
    replies[0].send("too late")
    await world.settle()
    assert of(world, TaskDisowned) == []
    assert isinstance(keeping, Cell)
    assert keeping._ties is None


async def test_an_ask_in_a_full_mailbox_fails_at_once(world: World) -> None:
    ref = await world.start(lambda: Bounded([]))
    for number in range(3):
        ref.tell(number)
    with pytest.raises(MailboxFull):
        await ref.ask(lambda reply: reply, 50.0)
