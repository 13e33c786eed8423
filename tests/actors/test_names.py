"""Names and groups."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from noetl.actors.actor import Actor, Context, Signal
from noetl.errors import ActorDead, CallError
from noetl.supervisors.spec import ChildSpec
from noetl.supervisors.static import which_children
from noetl.testing.world import Recorder, World
from tests.actors.kinds import (
    Counter,
    Trapper,
)


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


async def test_a_name_belongs_to_one_and_its_holder_may_say_it_twice(world: World) -> None:
    first, second = await world.start(Counter, "first"), await world.start(Counter, "second")
    registry = world.runtime.registry
    for _ in range(2):
        registry.register("it", first)
    with pytest.raises(CallError, match="the name 'it' belongs to first"):
        registry.register("it", second)
    registry.unregister("it")
    registry.register("it", second)
    assert registry.whereis("it") is second
    with pytest.raises(ActorDead, match="no actor is called 'nobody'"):
        registry.whereis("nobody")


async def test_who_is_not_running_gets_no_name_and_joins_no_group(world: World) -> None:
    ref = await world.start(Counter)
    ref.kill()
    with pytest.raises(ActorDead):
        world.runtime.registry.register("it", ref)
    with pytest.raises(ActorDead):
        world.runtime.registry.join("group", ref)


@pytest.mark.parametrize("is_root", [True, False])
async def test_the_names_of_an_actor_that_is_gone_for_good_are_free(world: World, is_root: bool) -> None:
    ref = await world.start(lambda: Trapper(world))
    registry = world.runtime.registry
    if is_root:
        registry.register("it", ref)
        registry.join("group", ref)
        ref.kill()
    else:

        def work(ctx: Context[Any]) -> None:
            child = ctx.spawn(Counter, "child")
            registry.register("it", child)
            registry.join("group", child)
            child.kill()
            ctx.forget(child)

        ref.tell(work)
        await world.settle()
    assert registry.find("it") is None
    assert list(registry.members("group")) == []
    registry.register("it", await world.start(Counter, "next"))


async def test_a_start_that_fails_leaves_no_name(world: World) -> None:
    class Failing(Actor[Any]):
        def init(self, ctx: Context[Any]) -> None:
            ctx.registry.register("it", ctx.self_ref)
            raise OSError("no")

    with pytest.raises(OSError, match="no"):
        await world.start(Failing)
    assert world.runtime.registry.find("it") is None
    parent = await world.start(lambda: Trapper(world))

    def work(ctx: Context[Any]) -> None:
        with pytest.raises(OSError, match="no"):
            ctx.spawn(Failing, "child")
        world.tell_news(ctx.registry.find("it") or "free")

    parent.tell(work)
    assert await world.next(str) == "free"


async def test_a_group_has_each_member_once_in_the_order_of_joining_until_it_leaves(world: World) -> None:
    registry = world.runtime.registry
    refs = [await world.start(Counter, str(number)) for number in range(3)]
    for ref in (*refs, refs[0]):
        registry.join("group", ref)
    assert list(registry.members("group")) == refs
    registry.leave("group", refs[1])
    registry.leave("group", refs[1])
    assert list(registry.members("group")) == [refs[0], refs[2]]
    assert list(registry.members("no such group")) == []


async def test_a_member_that_restarts_is_in_its_group_again_without_joining(world: World) -> None:
    top = await world.supervise(ChildSpec(id="a", start=Counter))
    ref = (await which_children(top))["a"]
    assert ref is not None
    world.runtime.registry.join("group", ref)
    ref.kill()
    assert list(world.runtime.registry.members("group")) == []
    await world.settle()
    assert list(world.runtime.registry.members("group")) == [ref]
