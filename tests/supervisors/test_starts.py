"""Children whose start fails, or takes long."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import pytest

from noetl.actors.actor import Actor, AsyncActor, Context
from noetl.probe import ChildRestarting
from noetl.supervisors.spec import Backoff, SupervisorSpec
from noetl.supervisors.static import (
    GaveUp,
    start_tree,
)
from noetl.testing.world import World
from tests.supervisors.children import CRASH, SlowWorker, child, lifecycle, running, spec


class Failing(Actor[Any]):
    def init(self, ctx: Context[Any]) -> None:
        raise CRASH


class AsyncFailing(AsyncActor[Any]):
    async def init(self, ctx: Context[Any]) -> None:
        await asyncio.sleep(1)
        raise CRASH


class Moody(AsyncActor[Any]):
    """Its start fails as long as its mood is bad."""

    bad_starts: ClassVar[int] = 0

    async def init(self, ctx: Context[Any]) -> None:
        await asyncio.sleep(1)
        if type(self).bad_starts:
            type(self).bad_starts -= 1
            raise CRASH

    async def handle(self, message: Any, ctx: Context[Any]) -> None:
        raise message


@pytest.mark.parametrize("broken", [Failing, AsyncFailing])
@pytest.mark.parametrize("depth", [0, 1, 2])
async def test_a_start_that_fails_stops_what_was_started_in_reverse_order(world: World, broken: Any, depth: int) -> None:
    inner: Any = spec("broken", start=broken)
    for level in range(depth):
        inner = SupervisorSpec(f"level-{level}", (spec("x"), inner))
    with pytest.raises(GaveUp):
        await start_tree(world.runtime, SupervisorSpec("top", (spec("a"), spec("b", start=SlowWorker), inner, spec("never"))))
    await world.settle()
    log = lifecycle(world)
    started = [item[1:] for item in log if item.startswith("+") and "level" not in item]
    ended = [item[1:] for item in log if item.startswith("-") and "level" not in item and item != "-broken"]
    assert started == ["a", "b"]
    assert ended[-2:] == ["b", "a"]
    assert world.runtime.living == 0


@pytest.mark.parametrize(("bad_starts", "survives"), [(2, True), (3, False)])
async def test_a_restart_whose_async_start_fails_is_tried_again_within_the_intensity(world: World, bad_starts: int, survives: bool) -> None:
    class Mine(Moody):
        pass

    top = await world.supervise(spec("a", start=Mine), intensity=3, period_s=100.0)
    Mine.bad_starts = bad_starts
    (await child(top, "a")).tell(CRASH)
    await world.pass_time(20)
    assert top.is_alive() == survives


async def test_a_restart_that_fails_grows_the_backoff(world: World) -> None:
    class Mine(Moody):
        pass

    top = await world.supervise(spec("a", start=Mine, backoff=Backoff(1.0, 2.0, 30.0, 0.0)), intensity=0)
    Mine.bad_starts = 3
    (await child(top, "a")).tell(CRASH)
    await world.pass_time(60)
    assert [item.delay_s for item in world.news if isinstance(item, ChildRestarting)] == [1.0, 2.0, 4.0, 8.0]
    assert await running(top) == ["a"]


async def test_a_sibling_that_was_starting_when_the_group_had_to_end_and_fails_does_not_stop_the_restart(world: World) -> None:
    class Mine(Moody):
        pass

    top = await world.supervise(spec("a"), spec("b", start=Mine), strategy="one_for_all", intensity=10, period_s=100.0)
    a = await child(top, "a")
    a.tell(CRASH)
    await world.pass_time(0.5)
    Mine.bad_starts = 1
    a.tell(CRASH)  # while b starts, and b is about to fail
    await world.pass_time(20)
    assert await running(top) == ["a", "b"]


async def test_a_shutdown_ends_a_tree_whose_child_is_still_starting(world: World) -> None:
    class Never(AsyncActor[Any]):
        async def init(self, ctx: Context[Any]) -> None:
            await asyncio.sleep(10**9)

    starting = asyncio.ensure_future(start_tree(world.runtime, SupervisorSpec("top", (spec("a"), spec("b", start=Never)))))
    await world.settle()
    [top] = world.runtime.roots
    await world.runtime.stop(top)
    with pytest.raises(RuntimeError, match="top ended while starting"):
        await starting
    assert world.loop.time() == 0
    assert world.runtime.living == 0


async def test_a_restart_that_is_held_by_a_backoff_can_be_overtaken_by_a_shutdown(world: World) -> None:
    top = await world.supervise(spec("a", backoff=Backoff(initial_s=1000.0, max_s=1000.0)), spec("b"))
    (await child(top, "a")).tell(CRASH)
    await world.settle()
    await world.runtime.stop(top)
    assert world.loop.time() == 0
    await world.pass_time(2000)
    assert world.runtime.living == 0
