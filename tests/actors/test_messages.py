"""How an actor gets its messages, and what a crash makes of them."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import Any, ClassVar

import pytest

from noetl.actors.actor import Actor, AsyncActor, Context, Signal
from noetl.actors.cell import BUDGET
from noetl.errors import ActorDead
from noetl.probe import ActorExited
from noetl.testing.world import World
from tests.actors.kinds import AsyncDoer, Counter, Doer, both_kinds


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


async def test_a_plain_actor_does_not_see_the_context_of_who_has_woken_it(world: World) -> None:
    request: ContextVar[str] = ContextVar("request", default="none")
    plain = await world.start(lambda: Doer(world), "plain")

    async def wake(ctx: Context[Any]) -> None:
        await asyncio.sleep(1)  # the run queue is empty now
        request.set("somebody's")
        plain.tell(lambda ctx: world.tell_news(request.get()))

    (await world.start(lambda: AsyncDoer(world), "waking")).tell(wake)
    assert await world.next(str) == "none"
