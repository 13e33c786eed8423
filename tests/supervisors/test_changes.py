"""Children that are added, ended and deleted while the supervisor runs."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import pytest

from noetl.actors.actor import NORMAL, AsyncActor, Context, Reason
from noetl.errors import CallError
from noetl.supervisors.spec import Backoff, Restart, SupervisorSpec
from noetl.supervisors.static import (
    ChildCount,
    count_children,
    delete_child,
    restart_child,
    start_child,
    terminate_child,
    which_children,
)
from noetl.testing.world import World
from tests.supervisors.children import CRASH, SlowWorker, Worker, child, lifecycle, running, spec


async def test_a_child_can_be_added_and_is_supervised_as_the_last_one(world: World) -> None:
    top = await world.supervise(spec("a"), strategy="rest_for_one")
    added = await start_child(top, spec("b"))
    assert added.path == "top/b"
    assert await running(top) == ["a", "b"]
    world.news.clear()
    (await child(top, "a")).tell(CRASH)
    await world.settle()
    assert lifecycle(world) == ["-a", "-b", "+a", "+b"]
    assert added.is_alive()


async def test_an_added_child_that_starts_slowly_is_handed_out_when_it_is_ready(world: World) -> None:
    top = await world.supervise()
    added = await start_child(top, spec("slow", start=SlowWorker))
    assert world.loop.time() == 1.0
    assert added.is_alive()


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
async def test_an_added_child_that_does_not_start_is_forgotten_and_nobody_else_is_harmed(world: World, is_async: bool) -> None:
    class AsyncBroken(AsyncActor[Any]):
        async def init(self, ctx: Context[Any]) -> None:
            raise CRASH

    def broken() -> Any:
        if is_async:
            return AsyncBroken()
        raise CRASH

    top = await world.supervise(spec("a"), intensity=0)
    for _ in range(2):
        with pytest.raises(OSError, match="disk gone"):
            await start_child(top, spec("b", start=broken))
    assert list(await which_children(top)) == ["a"]


async def test_two_children_of_one_id_and_a_significant_one_under_never_are_refused(world: World) -> None:
    top = await world.supervise(spec("a"))
    with pytest.raises(CallError, match="there is a child 'a' already"):
        await start_child(top, spec("a"))
    with pytest.raises(ValueError, match="significant of child 'b'"):
        await start_child(top, spec("b", "transient", significant=True))


@pytest.mark.parametrize(("restart", "stays"), [("permanent", ["a", "b"]), ("transient", ["a", "b"]), ("temporary", ["b"])])
async def test_a_terminated_child_is_not_restarted_and_stays_known_unless_it_is_temporary(world: World, restart: Restart, stays: list[str]) -> None:
    top = await world.supervise(spec("a", restart), spec("b"), intensity=0)
    ref = await child(top, "a")
    await terminate_child(top, "a")
    assert not ref.is_alive()
    await world.settle()
    assert list(await which_children(top)) == stays
    assert await running(top) == ["b"]
    if restart != "temporary":
        await terminate_child(top, "a")
        assert await restart_child(top, "a") is ref
        assert ref.is_alive()


async def test_a_terminated_child_has_its_shutdown_time(world: World) -> None:
    class Slow(AsyncActor[Any]):
        async def terminate(self, reason: Reason, ctx: Context[Any]) -> None:
            await asyncio.sleep(100)

    top = await world.supervise(spec("a", start=Slow, shutdown_s=3.0))
    await terminate_child(top, "a", timeout_s=10.0)
    assert world.loop.time() == 3.0


async def test_a_child_is_deleted_only_when_it_does_not_run(world: World) -> None:
    top = await world.supervise(spec("a"), spec("b", "transient"))
    world.runtime.registry.register("it", await child(top, "b"))
    for change in (restart_child, delete_child):
        with pytest.raises(CallError, match="the child 'a' runs, or is about to"):
            await change(top, "a")
        with pytest.raises(CallError, match="there is no child 'x'"):
            await change(top, "x")
    with pytest.raises(CallError, match="there is no child 'x'"):
        await terminate_child(top, "x")
    (await child(top, "b")).tell(NORMAL)
    await world.settle()
    await delete_child(top, "b")
    assert list(await which_children(top)) == ["a"]
    assert world.runtime.registry.find("it") is None


async def test_a_child_that_waits_for_its_backoff_can_be_terminated_and_its_restart_does_not_come(world: World) -> None:
    top = await world.supervise(spec("a", backoff=Backoff(initial_s=5.0, jitter=0.0, reset_after_s=0.0)))
    ref = await child(top, "a")
    ref.tell(CRASH)
    await world.settle()
    with pytest.raises(CallError, match="is about to"):
        await restart_child(top, "a")
    await terminate_child(top, "a")
    await world.pass_time(10)
    assert not ref.is_alive()
    await restart_child(top, "a")
    ref.tell(CRASH)
    await world.pass_time(1)
    await terminate_child(top, "a")
    await restart_child(top, "a")
    ref.tell(CRASH)
    await world.pass_time(4.5)
    assert not ref.is_alive(), "the wait of an earlier crash must not end that of a later one"
    await world.pass_time(1)
    assert ref.is_alive()


async def test_a_restart_that_was_asked_for_and_fails_is_told_and_costs_no_intensity(world: World) -> None:
    class Moody(Worker):
        bad: ClassVar[bool] = False

        def init(self, ctx: Context[Any]) -> None:
            if Moody.bad:
                raise CRASH

    top = await world.supervise(spec("a", start=Moody), intensity=0)
    await terminate_child(top, "a")
    Moody.bad = True
    with pytest.raises(OSError, match="disk gone"):
        await restart_child(top, "a")
    Moody.bad = False
    assert (await restart_child(top, "a")).is_alive()


async def test_children_are_counted(world: World) -> None:
    top = await world.supervise(spec("a"), spec("b", "transient"), SupervisorSpec("c", ()))
    (await child(top, "b")).tell(NORMAL)
    await world.settle()
    assert await count_children(top) == ChildCount(specs=3, active=2, supervisors=1, workers=2)


async def test_children_that_were_added_are_gone_when_the_supervisor_is_restarted(world: World) -> None:
    top = await world.supervise(SupervisorSpec("inner", (spec("a"), spec("b", "temporary"))))
    inner = await child(top, "inner")
    await start_child(inner, spec("c"))
    await terminate_child(inner, "b")
    inner.kill()
    await world.settle()
    assert await running(inner) == ["a", "b"]


async def test_who_asked_for_a_temporary_child_that_ends_with_its_group_while_it_starts_is_told(world: World) -> None:
    class Never(AsyncActor[Any]):
        async def init(self, ctx: Context[Any]) -> None:
            await asyncio.sleep(2)
            raise CRASH

    top = await world.supervise(spec("a"), strategy="one_for_all")
    starting = asyncio.ensure_future(start_child(top, spec("b", "temporary", start=Never)))
    await world.pass_time(1)
    (await child(top, "a")).tell(CRASH)
    with pytest.raises(CallError, match="the child 'b' was ended with its group"):
        await starting
    assert await running(top) == ["a"]
