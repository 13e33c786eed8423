"""Supervisors: who is restarted, in which order, how often, and when they give up."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noetl.actors.actor import Actor, AsyncActor, Context, Reason
from noetl.actors.ref import Ref
from noetl.probe import ActorExited, ActorStarted, ChildRestarting, SupervisorGaveUp
from noetl.supervisors.factory import Factory, StartChild
from noetl.supervisors.intensity import Intensity, delay_s
from noetl.supervisors.spec import Backoff, ChildSpec, Restart, Strategy, SupervisorSpec, should_restart
from noetl.supervisors.static import GaveUp, start_tree, which_children
from noetl.testing.world import World

CRASH = OSError("disk gone")


class Worker(Actor[Any]):
    """Stops when told, crashes when told an exception."""

    def handle(self, message: Any, ctx: Context[Any]) -> None:
        if isinstance(message, BaseException):
            raise message
        ctx.stop()


class SlowWorker(AsyncActor[Any]):
    async def init(self, ctx: Context[Any]) -> None:
        await asyncio.sleep(1)

    async def handle(self, message: Any, ctx: Context[Any]) -> None:
        if isinstance(message, BaseException):
            raise message
        ctx.stop()


def spec(id_: str, restart: Restart = "permanent", start: Any = Worker, **rest: Any) -> ChildSpec:
    return ChildSpec(id=id_, start=start, restart=restart, **rest)


async def child(top: Ref[Any], id_: str) -> Ref[Any]:
    found = (await which_children(top))[id_]
    assert found is not None
    return found


def lifecycle(world: World) -> list[str]:
    """Starts and ends so far, such as `+a` and `-a`, without the supervisor's own."""
    return [
        ("+" if isinstance(item, ActorStarted) else "-") + item.path.removeprefix("top/")
        for item in world.news
        if isinstance(item, (ActorStarted, ActorExited)) and item.path != "top"
    ]


@pytest.mark.parametrize(
    ("restart", "message", "comes_back"),
    [
        ("permanent", "stop", True),
        ("permanent", CRASH, True),
        ("transient", "stop", False),
        ("transient", CRASH, True),
        ("temporary", "stop", False),
        ("temporary", CRASH, False),
    ],
)
async def test_restart_kind_against_exit_reason(world: World, restart: Restart, message: Any, comes_back: bool) -> None:
    top = await world.supervise(spec("a", restart))
    ref = await child(top, "a")
    ref.tell(message)
    await world.settle()
    assert ref.is_alive() == comes_back
    assert top.is_alive()
    assert should_restart(restart, abnormal=message is CRASH) == comes_back


@pytest.mark.parametrize(
    ("strategy", "dies", "log"),
    [
        ("one_for_one", "b", ["-b", "+b"]),
        ("one_for_all", "b", ["-b", "-c", "-a", "+a", "+b", "+c"]),
        ("one_for_all", "a", ["-a", "-c", "-b", "+a", "+b", "+c"]),
        ("rest_for_one", "a", ["-a", "-c", "-b", "+a", "+b", "+c"]),
        ("rest_for_one", "b", ["-b", "-c", "+b", "+c"]),
        ("rest_for_one", "c", ["-c", "+c"]),
    ],
)
@pytest.mark.parametrize("kind", [Worker, SlowWorker])
async def test_strategy_against_who_dies(world: World, strategy: Strategy, dies: str, log: list[str], kind: Any) -> None:
    top = await world.supervise(*(spec(name, start=kind) for name in "abc"), strategy=strategy)
    assert lifecycle(world) == ["+a", "+b", "+c"]
    world.news.clear()
    (await child(top, dies)).tell(CRASH)
    await world.pass_time(10)
    assert lifecycle(world) == log


async def test_a_temporary_sibling_that_was_stopped_with_the_group_does_not_come_back(world: World) -> None:
    top = await world.supervise(spec("a"), spec("b", "temporary"), strategy="one_for_all")
    (await child(top, "a")).tell(CRASH)
    await world.settle()
    assert [name for name, ref in (await which_children(top)).items() if ref] == ["a"]


async def test_children_stop_in_reverse_order(world: World) -> None:
    top = await world.supervise(spec("a"), SupervisorSpec("b", (spec("x"), spec("y"))), spec("c"))
    world.news.clear()
    await world.runtime.stop(top)
    assert lifecycle(world) == ["-c", "-b", "-b/y", "-b/x", "-a"]


async def test_a_ref_outlives_the_restarts_of_its_actor(world: World) -> None:
    top = await world.supervise(spec("a"))
    ref = await child(top, "a")
    ref.tell(CRASH)
    await world.settle()
    assert await child(top, "a") is ref
    assert ref.is_alive()


async def test_one_failure_more_than_the_intensity_and_the_supervisor_exits(world: World) -> None:
    top = await world.supervise(spec("a"), intensity=2, period_s=10.0)
    ref = await child(top, "a")
    for _ in range(2):
        ref.tell(CRASH)
        await world.settle()
        assert ref.is_alive()
    ref.tell(CRASH)
    gave_up = await world.next(SupervisorGaveUp)
    assert (gave_up.supervisor, gave_up.child, gave_up.reason) == ("top", "a", CRASH)
    await world.settle()
    assert not top.is_alive()


async def test_failures_that_are_far_apart_never_exhaust_the_intensity(world: World) -> None:
    top = await world.supervise(spec("a"), intensity=1, period_s=10.0)
    ref = await child(top, "a")
    for _ in range(20):
        ref.tell(CRASH)
        await world.pass_time(10.1)
        assert ref.is_alive()


async def test_giving_up_escalates_through_the_levels(world: World) -> None:
    inner = SupervisorSpec("inner", (spec("a"),), intensity=1)
    top = await world.supervise(inner, intensity=1, period_s=100.0)
    for _ in range(2):
        assert top.is_alive()
        for _ in range(2):
            (await which_children(await child(top, "inner")))["a"].tell(CRASH)  # type: ignore[union-attr]
            await world.settle()
    assert [(item.supervisor, item.child) for item in world.news if isinstance(item, SupervisorGaveUp)] == [
        ("top/inner", "a"),
        ("top/inner", "a"),
        ("top", "inner"),
    ]
    assert not top.is_alive()


async def test_a_backoff_delays_the_restart_grows_and_does_not_count_against_the_intensity(world: World) -> None:
    backoff = Backoff(initial_s=1.0, factor=2.0, max_s=5.0, jitter=0.0, reset_after_s=60.0)
    top = await world.supervise(spec("a", backoff=backoff), spec("b"), intensity=0)
    ref = await child(top, "a")
    for expected in (1.0, 2.0, 4.0, 5.0, 5.0):
        ref.tell(CRASH)
        assert (await world.next(ChildRestarting)).delay_s == expected
        await world.pass_time(expected - 0.01)
        assert not ref.is_alive()
        await world.pass_time(0.02)
        assert ref.is_alive()
    await world.pass_time(60.0)
    ref.tell(CRASH)
    assert (await world.next(ChildRestarting)).delay_s == 1.0


class Moody(Actor[Any]):
    """Its start fails as long as its mood is bad."""

    bad_starts: ClassVar[int] = 0

    def init(self, ctx: Context[Any]) -> None:
        if type(self).bad_starts:
            type(self).bad_starts -= 1
            raise CRASH

    def handle(self, message: Any, ctx: Context[Any]) -> None:
        raise message


async def test_a_restart_that_fails_is_tried_again_within_the_intensity(world: World) -> None:
    class Mine(Moody):
        pass

    top = await world.supervise(spec("a", start=Mine), intensity=3)
    ref = await child(top, "a")
    Mine.bad_starts = 2
    ref.tell(CRASH)
    await world.settle()
    assert ref.is_alive()
    Mine.bad_starts = 4
    ref.tell(CRASH)
    await world.settle()
    assert not top.is_alive()


async def test_a_tree_whose_child_does_not_start_is_not_started_and_leaves_nothing_running(world: World) -> None:
    class Broken(Moody):
        bad_starts: ClassVar[int] = 1

    with pytest.raises(GaveUp, match="gave up on 'b'"):
        await start_tree(world.runtime, SupervisorSpec("top", (spec("a"), spec("b", start=Broken))))
    await world.settle()
    assert lifecycle(world) == ["+a", "-a"]


async def test_a_shutdown_gets_in_between_restarts_that_fail(world: World) -> None:
    class Mine(Moody):
        pass

    top = await world.supervise(spec("a", start=Mine), intensity=10**9)
    ref = await child(top, "a")
    Mine.bad_starts = 10**9
    ref.tell(CRASH)
    await asyncio.sleep(0)
    await world.runtime.stop(top)
    assert not top.is_alive()


async def test_a_killed_supervisor_takes_its_children_along(world: World) -> None:
    top = await world.supervise(SupervisorSpec("inner", (spec("a"),)))
    inner = await child(top, "inner")
    before = (await which_children(inner))["a"]
    inner.kill()
    await world.settle()
    assert inner.is_alive()
    assert (await which_children(inner))["a"] is not before
    assert before is not None
    assert not before.is_alive()


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


@given(st.lists(st.floats(0.0, 5.0), max_size=30), st.integers(0, 5), st.floats(0.5, 20.0))
def test_intensity_refuses_exactly_when_a_window_holds_more_restarts_than_allowed(gaps: list[float], intensity: int, period_s: float) -> None:
    counted = Intensity(intensity, period_s)
    times: list[float] = []
    now = 0.0
    for gap in gaps:
        now += gap
        times.append(now)
        in_window = sum(1 for time in times if time > now - period_s)
        assert counted.restart_allowed(now) == (in_window <= intensity)


@given(st.integers(1, 10_000), st.floats(0.0, 1.0, exclude_max=True))
def test_a_backoff_stays_within_its_bound_and_jitter(failures: int, chance: float) -> None:
    backoff = Backoff(initial_s=0.5, factor=3.0, max_s=20.0, jitter=0.1)
    assert 0.45 <= delay_s(backoff, failures, chance) <= 22.0
