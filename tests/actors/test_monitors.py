"""Monitors."""

from __future__ import annotations

from typing import Any

import pytest

from noetl.actors.actor import KILLED, NOPROC, NORMAL, SHUTDOWN, Context, Down, Reason
from noetl.supervisors.spec import ChildSpec
from noetl.supervisors.static import which_children
from noetl.testing.world import World
from tests.actors.kinds import (
    Counter,
    Doer,
    Watcher,
    both_kinds,
    failing,
    of,
)


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (lambda ref: ref.tell("stop"), NORMAL),
        (lambda ref: ref.shutdown(), SHUTDOWN),
        (lambda ref: ref.kill(), KILLED),
        (lambda ref: ref.tell(_BROKEN), None),
    ],
    ids=["normal", "shutdown", "killed", "crash"],
)
@both_kinds
async def test_a_monitor_fires_once_with_the_reason(world: World, kind: Any, end: Any, reason: Reason | None) -> None:
    target = await world.start(kind, "target")
    watcher = await world.start(lambda: Watcher(world), "watcher")
    watcher.tell(target)
    await world.settle()
    end(target)
    down = await world.next(Down)
    assert down.ref is target
    assert down.reason is (_BROKEN if reason is None else reason)
    await world.pass_time(100)
    assert not [item for item in world.news if isinstance(item, Down)]


_BROKEN = OSError("broken")


async def test_a_monitor_of_a_dead_actor_fires_at_once(world: World) -> None:
    target = await world.start(Counter, "target")
    target.kill()
    watcher = await world.start(lambda: Watcher(world), "watcher")
    watcher.tell(target)
    assert (await world.next(Down)).reason is NOPROC


async def test_a_monitor_tells_the_end_of_this_incarnation_and_the_next_must_be_monitored_again(world: World) -> None:
    top = await world.supervise(ChildSpec(id="target", start=lambda: Doer(world)))
    target = (await which_children(top))["target"]
    assert target is not None
    watcher = await world.start(lambda: Doer(world), "watcher")
    for expected in (1, 1, 2):
        if expected > 1 or not of(world, Down):
            watcher.tell(lambda ctx: ctx.monitor(target))
        await world.settle()
        target.kill()
        await world.settle()
        assert target.is_alive()
        assert len(of(world, Down)) == expected


async def test_monitoring_twice_is_monitoring_once(world: World) -> None:
    target, watcher = await world.start(lambda: Doer(world), "target"), await world.start(lambda: Doer(world), "watcher")
    for _ in range(2):
        watcher.tell(lambda ctx: ctx.monitor(target))
    await world.settle()
    target.kill()
    await world.settle()
    assert len(of(world, Down)) == 1


async def test_after_demonitor_no_down_comes_not_even_one_that_waits(world: World) -> None:
    target, watcher = await world.start(lambda: Doer(world), "target"), await world.start(lambda: Doer(world), "watcher")

    def work(ctx: Context[Any]) -> None:
        ctx.monitor(target)
        target.kill()
        ctx.demonitor(target)

    watcher.tell(work)
    await world.settle()
    assert of(world, Down) == []


async def test_a_monitor_never_ends_its_watcher_and_is_no_matter_of_the_watched(world: World) -> None:
    target, watcher = await world.start(lambda: Doer(world), "target"), await world.start(lambda: Doer(world), "watcher")
    watcher.tell(lambda ctx: ctx.monitor(target))
    await world.settle()
    watcher.kill()
    await world.settle()
    assert target.is_alive()
    other = await world.start(lambda: Doer(world), "other")
    other.tell(lambda ctx: ctx.monitor(target))
    await world.settle()
    target.tell(failing(OSError("broken")))
    await world.settle()
    assert other.is_alive()


async def test_what_an_incarnation_monitored_is_not_told_to_the_next(world: World) -> None:
    top = await world.supervise(ChildSpec(id="watcher", start=lambda: Doer(world)))
    watcher, target = (await which_children(top))["watcher"], await world.start(lambda: Doer(world), "target")
    assert watcher is not None
    watcher.tell(lambda ctx: ctx.monitor(target))
    await world.settle()
    watcher.kill()
    await world.settle()
    assert watcher.is_alive()
    target.kill()
    await world.settle()
    assert of(world, Down) == []
