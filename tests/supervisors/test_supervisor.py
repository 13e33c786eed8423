"""Supervisors: who is restarted, in which order, how often, and when they give up."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any, ClassVar, get_args

import pytest

from noetl.actors.actor import KILLED, NOPROC, NORMAL, SHUTDOWN, Actor, Context
from noetl.actors.cell import Cell
from noetl.probe import ChildRestarting, SupervisorGaveUp
from noetl.supervisors.factory import Factory
from noetl.supervisors.spec import Backoff, Restart, Strategy, SupervisorSpec
from noetl.supervisors.static import (
    GaveUp,
    start_child,
    start_tree,
    terminate_child,
    which_children,
)
from noetl.testing.world import World
from tests.supervisors.children import CRASH, SlowWorker, Worker, child, end, lifecycle, running, spec

REASONS: dict[str, Any] = {"normal": NORMAL, "shutdown": SHUTDOWN, "kill": "kill", "killed": KILLED, "noproc": NOPROC, "error": CRASH}
COMES_BACK: dict[str, set[str]] = {"permanent": set(REASONS), "transient": {"kill", "killed", "noproc", "error"}, "temporary": set()}


@pytest.mark.parametrize("reason", REASONS)
@pytest.mark.parametrize("restart", get_args(Restart))
@pytest.mark.parametrize("kind", ["worker", "supervisor"])
async def test_restart_kind_against_exit_reason(world: World, kind: str, restart: Restart, reason: str) -> None:
    top = await world.supervise(spec("a", restart) if kind == "worker" else SupervisorSpec("a", (), restart=restart))
    ref = await child(top, "a")
    if kind == "worker":
        end(ref, REASONS[reason])
    elif reason == "kill":
        ref.kill()
    else:
        assert isinstance(ref, Cell)
        ref.request_stop(REASONS[reason])
    await world.settle()
    comes_back = reason in COMES_BACK[restart]
    assert ref.is_alive() == comes_back
    assert await running(top) == (["a"] if comes_back else [])
    assert list(await which_children(top)) == ([] if restart == "temporary" else ["a"])


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


NAMES = "abc"
CASES = [
    (strategy, dies, frozenset(others))
    for strategy in get_args(Strategy)
    for dies in NAMES
    for count in range(3)
    for others in itertools.combinations([name for name in NAMES if name != dies], count)
]


@pytest.mark.parametrize(("strategy", "dies", "others"), CASES, ids=lambda value: "".join(sorted(value)) if isinstance(value, frozenset) else value)
async def test_strategy_against_who_dies_and_who_else_runs(world: World, strategy: Strategy, dies: str, others: frozenset[str]) -> None:
    """As in OTP a group restart also starts those of the group that did not run."""
    top = await world.supervise(*(spec(name) for name in NAMES), strategy=strategy)
    for name in NAMES:
        if name != dies and name not in others:
            await terminate_child(top, name)
    world.news.clear()
    (await child(top, dies)).tell(CRASH)
    await world.settle()
    tied = {"one_for_one": dies, "one_for_all": NAMES, "rest_for_one": NAMES[NAMES.index(dies) :]}[strategy]
    ended = [f"-{name}" for name in reversed(tied) if name in others]
    assert lifecycle(world) == [f"-{dies}", *ended, *(f"+{name}" for name in tied)]
    assert await running(top) == sorted({dies, *others, *tied})


async def test_a_supervisor_with_intensity_0_gives_up_at_the_first_failure(world: World) -> None:
    top = await world.supervise(spec("a"), spec("b"), intensity=0)
    (await child(top, "a")).tell(CRASH)
    await world.settle()
    assert not top.is_alive()
    assert world.runtime.living == 0


async def test_a_group_restart_counts_once_against_the_intensity(world: World) -> None:
    top = await world.supervise(*(spec(name) for name in NAMES), strategy="one_for_all", intensity=1)
    (await child(top, "a")).tell(CRASH)
    await world.settle()
    assert top.is_alive()


async def test_a_supervisor_that_is_restarted_starts_all_its_children_again_with_a_new_count(world: World) -> None:
    children = (spec("a"), spec("b", "transient"), spec("c", "temporary"), SupervisorSpec("deeper", (spec("x"),)))
    top = await world.supervise(SupervisorSpec("inner", children, intensity=1, period_s=1000.0), intensity=10, period_s=1000.0)
    inner = await child(top, "inner")
    for name in "bc":
        (await child(inner, name)).tell(NORMAL)
    for _ in range(2):
        (await child(inner, "a")).tell(CRASH)
        await world.settle()
    assert inner.is_alive()
    assert await running(inner) == ["a", "b", "c", "deeper"]
    (await child(inner, "a")).tell(CRASH)
    await world.settle()
    assert len([item for item in world.news if isinstance(item, SupervisorGaveUp)]) == 1


async def test_three_levels_escalate_one_after_the_other(world: World) -> None:
    deepest = SupervisorSpec("three", (spec("a"),), intensity=1, period_s=1000.0)
    middle = SupervisorSpec("two", (deepest,), intensity=1, period_s=1000.0)
    top = await world.supervise(middle, intensity=1, period_s=1000.0)
    crashes = 0
    while top.is_alive():
        (await child(await child(await child(top, "two"), "three"), "a")).tell(CRASH)
        crashes += 1
        await world.settle()
    assert crashes == 8, "(1 + 1) at each of three levels"


@pytest.mark.parametrize("sender", ["nobody", "a child"])
async def test_an_exit_that_somebody_sends_to_a_supervisor_is_ignored(world: World, sender: str) -> None:
    top = await world.supervise(spec("a"), intensity=0)
    factory = await start_child(top, spec("factory", start=lambda: Factory(intensity=0)))
    for supervisor in (top, factory):
        supervisor.exit(CRASH, await child(top, "a") if sender == "a child" else None)
        await world.settle()
        assert supervisor.is_alive()
    assert await running(top) == ["a", "factory"]
