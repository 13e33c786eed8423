"""The supervisor of children that come and go."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar, get_args

import pytest

from noetl.actors.actor import Actor, AsyncActor, Context, Reason
from noetl.actors.ref import Ref
from noetl.errors import CallError
from noetl.probe import SupervisorGaveUp
from noetl.supervisors.factory import CountChildren, Factory, StartChild, StopChild, WhichChildren
from noetl.supervisors.spec import Backoff, Restart
from noetl.testing.world import World
from tests.supervisors.children import CRASH, SlowWorker, Worker, child, lifecycle, spec


async def test_a_factory_starts_children_on_demand_once_per_id(world: World) -> None:
    top = await world.supervise(spec("factory", start=Factory))
    factory = await child(top, "factory")
    first = await factory.ask(lambda reply: StartChild("x", Worker, reply), 1.0)
    assert await factory.ask(lambda reply: StartChild("x", Worker, reply), 1.0) is first
    assert first.path == "top/factory/x"
    with pytest.raises(OSError, match="disk gone"):
        await factory.ask(lambda reply: StartChild("y", _raise, reply), 1.0)


def _raise() -> Actor[Any]:
    raise CRASH


async def test_a_temporary_child_of_a_factory_is_forgotten_when_it_ends(world: World) -> None:
    top = await world.supervise(spec("factory", start=Factory))
    factory = await child(top, "factory")
    first = await factory.ask(lambda reply: StartChild("x", Worker, reply), 1.0)
    first.tell(CRASH)
    await world.settle()
    again = await factory.ask(lambda reply: StartChild("x", Worker, reply), 1.0)
    assert again is not first


async def test_a_transient_child_of_a_factory_is_restarted_and_its_siblings_are_left_alone(world: World) -> None:
    top = await world.supervise(spec("factory", start=lambda: Factory(restart="transient", intensity=1)), intensity=0)
    factory = await child(top, "factory")
    first = await factory.ask(lambda reply: StartChild("x", Worker, reply), 1.0)
    await factory.ask(lambda reply: StartChild("y", Worker, reply), 1.0)
    world.news.clear()
    first.tell(CRASH)
    await world.settle()
    assert first.is_alive()
    assert lifecycle(world) == ["-factory/x", "+factory/x"]


async def test_a_factory_stops_its_children_in_parallel(world: World) -> None:
    class Slow(AsyncActor[Any]):
        async def terminate(self, reason: Reason, ctx: Context[Any]) -> None:
            await asyncio.sleep(3)

    top = await world.supervise(spec("factory", start=Factory))
    factory = await child(top, "factory")
    for number in range(10):
        await factory.ask(lambda reply, number=number: StartChild(number, Slow, reply), 1.0)  # type: ignore[misc]
    await world.settle()
    await world.runtime.stop(top)
    assert world.loop.time() == 3.0


async def factory_of(world: World, **options: Any) -> Ref[Any]:
    return await world.start(lambda: Factory(**options), "top")


async def begin(factory: Ref[Any], id_: Any, kind: Any = Worker) -> Ref[Any]:
    ref: Ref[Any] = await factory.ask(lambda reply: StartChild(id_, kind, reply), 5.0)
    return ref


@pytest.mark.parametrize("restart", get_args(Restart))
async def test_a_child_that_is_stopped_is_forgotten_whatever_its_kind(world: World, restart: Restart) -> None:
    factory = await factory_of(world, restart=restart, intensity=0)
    ref = await begin(factory, "x")
    world.runtime.registry.register("it", ref)
    for _ in range(2):  # one that is not there is stopped already
        await factory.ask(lambda reply: StopChild("x", reply), 5.0)
        assert not ref.is_alive()
    assert world.runtime.registry.find("it") is None
    assert await factory.ask(WhichChildren, 5.0) == {}
    assert await begin(factory, "x") is not ref


async def test_an_async_child_is_handed_out_when_it_is_ready_to_all_who_asked(world: World) -> None:
    factory = await factory_of(world)
    first, second = await asyncio.gather(begin(factory, "x", SlowWorker), begin(factory, "x", SlowWorker))
    assert first is second
    assert world.loop.time() == 1.0


@pytest.mark.parametrize("restart", get_args(Restart))
async def test_an_async_child_that_does_not_start_is_told_to_who_asked_and_forgotten(world: World, restart: Restart) -> None:
    class Broken(AsyncActor[Any]):
        async def init(self, ctx: Context[Any]) -> None:
            raise CRASH

    factory = await factory_of(world, restart=restart, intensity=0)
    with pytest.raises(OSError, match="disk gone"):
        await begin(factory, "x", Broken)
    assert await factory.ask(CountChildren, 5.0) == (0, 0)


async def test_a_child_that_is_stopped_while_it_starts_is_an_error_of_its_start(world: World) -> None:
    factory = await factory_of(world)
    starting = asyncio.ensure_future(begin(factory, "x", SlowWorker))
    await asyncio.sleep(0.5)
    await factory.ask(lambda reply: StopChild("x", reply), 5.0)
    with pytest.raises(CallError, match="top/x ended while starting: shutdown"):
        await starting


async def test_a_factory_gives_up_when_its_children_fail_more_often_than_allowed_together(world: World) -> None:
    factory = await factory_of(world, restart="permanent", intensity=2, period_s=10.0)
    refs = [await begin(factory, number) for number in range(3)]
    for ref in refs:
        ref.tell(CRASH)
    await world.settle()
    assert not factory.is_alive()
    assert [item.child for item in world.news if isinstance(item, SupervisorGaveUp)] == ["2"]
    assert world.runtime.living == 0


async def test_a_factory_with_a_backoff_waits_before_each_restart_and_spends_no_intensity(world: World) -> None:
    factory = await factory_of(world, restart="permanent", intensity=0, backoff=Backoff(1.0, 2.0, 30.0, 0.0))
    ref = await begin(factory, "x")
    for wait_s in (1.0, 2.0, 4.0):
        ref.tell(CRASH)
        await world.settle()
        assert await factory.ask(CountChildren, 5.0) == (1, 0)
        await world.pass_time(wait_s - 0.1)
        assert not ref.is_alive()
        await world.pass_time(0.2)
        assert ref.is_alive()


async def test_a_child_that_is_stopped_while_it_waits_for_its_restart_does_not_come_back(world: World) -> None:
    factory = await factory_of(world, restart="permanent", backoff=Backoff(1.0, 2.0, 30.0, 0.0))
    ref = await begin(factory, "x")
    ref.tell(CRASH)
    await world.settle()
    await factory.ask(lambda reply: StopChild("x", reply), 5.0)
    again = await begin(factory, "x")
    await world.pass_time(10)
    assert not ref.is_alive()
    assert again.is_alive()


async def test_a_restart_that_fails_is_tried_again_within_the_intensity(world: World) -> None:
    class Moody(Worker):
        bad_starts: ClassVar[int] = 0

        def init(self, ctx: Context[Any]) -> None:
            if Moody.bad_starts:
                Moody.bad_starts -= 1
                raise CRASH

    factory = await factory_of(world, restart="permanent", intensity=3)
    ref = await begin(factory, "x", Moody)
    Moody.bad_starts = 2
    ref.tell(CRASH)
    await world.settle()
    assert ref.is_alive()
