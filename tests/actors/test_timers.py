"""Timers."""

from __future__ import annotations

import asyncio
from typing import Any

from noetl.actors.actor import Actor, Context, Timer
from noetl.supervisors.spec import ChildSpec
from noetl.supervisors.static import which_children
from noetl.testing.world import World
from tests.actors.kinds import (
    AsyncDoer,
    Doer,
    of,
    slowly,
)


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


async def test_a_timer_says_whether_it_was_cancelled_in_time(world: World) -> None:
    ref = await world.start(lambda: Doer(world))
    timers: list[Timer] = []
    ref.tell(lambda ctx: timers.append(ctx.send_after(2.0, lambda ctx: world.tell_news("fired"))))
    await world.pass_time(1)
    assert timers[0].cancel()
    assert not timers[0].cancel()
    await world.pass_time(5)
    assert "fired" not in world.news


async def test_a_timer_that_is_cancelled_after_it_fired_says_so_and_its_message_may_still_come(world: World) -> None:
    """As in OTP: what is in the mailbox is not taken out."""
    timers: list[Timer] = []

    async def work(ctx: Context[Any]) -> None:
        timers.append(ctx.send_after(1.0, slowly(lambda ctx: world.tell_news("fired"))))
        await asyncio.sleep(2)
        world.tell_news(("cancelled", timers[0].cancel()))

    (await world.start(lambda: AsyncDoer(world))).tell(work)
    await world.pass_time(5)
    assert [item for item in world.news if isinstance(item, (tuple, str))] == [("cancelled", False), "fired"]


async def test_a_timer_that_fired_but_was_not_handled_ends_with_its_incarnation(world: World) -> None:
    async def work(ctx: Context[Any]) -> None:
        ctx.send_after(1.0, slowly(lambda ctx: world.tell_news("fired")))
        await asyncio.sleep(2)
        raise OSError("broken")

    top = await world.supervise(ChildSpec(id="child", start=lambda: AsyncDoer(world)))
    child = (await which_children(top))["child"]
    assert child is not None
    child.tell(work)
    await world.pass_time(5)
    assert child.is_alive()
    assert "fired" not in world.news


async def test_an_interval_stays_in_step_until_it_is_cancelled(world: World) -> None:
    timers: list[Timer] = []
    ref = await world.start(lambda: Doer(world))
    ref.tell(lambda ctx: timers.append(ctx.send_interval(2.0, lambda ctx: world.tell_news(world.loop.time()))))
    await world.pass_time(7)
    assert of(world, float) == [2.0, 4.0, 6.0]
    assert timers[0].cancel()
    await world.pass_time(7)
    assert len(of(world, float)) == 3


async def test_what_an_interval_misses_while_the_loop_is_late_is_left_out(world: World) -> None:
    ref = await world.start(lambda: Doer(world))

    def hold_the_loop(ctx: Context[Any]) -> None:
        world.loop._virtual.now_s += 5  # type: ignore[attr-defined]

    ref.tell(lambda ctx: ctx.send_interval(2.0, lambda ctx: world.tell_news(world.loop.time())))
    await world.settle()
    ref.tell(hold_the_loop)
    await world.settle()
    await world.pass_time(4.5)
    assert of(world, float) == [5.0, 6.0, 8.0]


async def test_an_interval_ends_with_its_actor(world: World) -> None:
    ref = await world.start(lambda: Doer(world))
    ref.tell(lambda ctx: ctx.send_interval(1.0, lambda ctx: world.tell_news(world.loop.time())))
    await world.pass_time(1.5)
    ref.kill()
    await world.pass_time(5)
    assert of(world, float) == [1.0]
