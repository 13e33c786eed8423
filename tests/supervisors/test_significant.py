"""Significant children, and what their end means."""

from __future__ import annotations

from typing import Any

import pytest

from noetl.actors.actor import NORMAL, SHUTDOWN
from noetl.probe import ActorExited
from noetl.supervisors.spec import AutoShutdown, Backoff, Restart, SupervisorSpec
from noetl.supervisors.static import (
    terminate_child,
)
from noetl.testing.world import World
from tests.supervisors.children import CRASH, child, end, running, spec


def group(auto_shutdown: AutoShutdown, restart: Restart = "transient") -> dict[str, Any]:
    return {"auto_shutdown": auto_shutdown, "intensity": 5, "children": restart}


@pytest.mark.parametrize("reason", [NORMAL, CRASH, "kill"], ids=["normal", "error", "kill"])
@pytest.mark.parametrize("restart", ["transient", "temporary"])
@pytest.mark.parametrize("auto_shutdown", ["any_significant", "all_significant"])
@pytest.mark.parametrize("ended", [1, 2])
async def test_auto_shutdown_against_how_many_significant_children_ended_and_how(
    world: World, auto_shutdown: AutoShutdown, restart: Restart, reason: Any, ended: int
) -> None:
    children = (spec("a", restart, significant=True), spec("b", restart, significant=True), spec("c"))
    top = await world.supervise(*children, auto_shutdown=auto_shutdown)
    refs = [await child(top, name) for name in "ab"[:ended]]
    for ref in refs:
        end(ref, reason)
    await world.settle()
    comes_back = restart == "transient" and reason is not NORMAL
    assert top.is_alive() == (comes_back or (auto_shutdown == "all_significant" and ended == 1))
    if not top.is_alive():
        assert [item.reason for item in world.news if isinstance(item, ActorExited) and item.path == "top"] == [SHUTDOWN]


async def test_the_end_of_a_child_that_is_not_significant_ends_nobody(world: World) -> None:
    top = await world.supervise(spec("a", "transient", significant=True), spec("b", "transient"), auto_shutdown="any_significant")
    (await child(top, "b")).tell(NORMAL)
    await world.settle()
    assert top.is_alive()


async def test_the_supervisors_own_ending_of_a_significant_child_does_not_count(world: World) -> None:
    top = await world.supervise(
        spec("a", "temporary", significant=True),
        spec("b"),
        spec("c", "transient", significant=True),
        auto_shutdown="any_significant",
        strategy="one_for_all",
    )
    await terminate_child(top, "c")
    (await child(top, "b")).tell(CRASH)
    await world.settle()
    assert top.is_alive()
    assert await running(top) == ["b", "c"]


async def test_a_significant_supervisor_hands_its_end_on_to_the_next_level(world: World) -> None:
    inner = SupervisorSpec(
        "inner", (spec("a", "transient", significant=True),), auto_shutdown="any_significant", restart="transient", significant=True
    )
    top = await world.supervise(inner, spec("b"), auto_shutdown="all_significant")
    (await child(await child(top, "inner"), "a")).tell(NORMAL)
    await world.settle()
    assert not top.is_alive()


async def test_an_auto_shutdown_of_a_permanent_supervisor_is_a_restart_with_all_its_children(world: World) -> None:
    top = await world.supervise(SupervisorSpec("inner", (spec("a", "transient", significant=True), spec("b")), auto_shutdown="any_significant"))
    (await child(await child(top, "inner"), "a")).tell(NORMAL)
    await world.settle()
    assert await running(await child(top, "inner")) == ["a", "b"]


async def test_a_significant_child_that_waits_for_its_restart_is_not_gone(world: World) -> None:
    waiting = spec("b", "transient", significant=True, backoff=Backoff(initial_s=5.0, jitter=0.0))
    top = await world.supervise(spec("a", "transient", significant=True), waiting, auto_shutdown="all_significant")
    (await child(top, "b")).tell(CRASH)
    await world.settle()
    (await child(top, "a")).tell(NORMAL)
    await world.pass_time(6)
    assert await running(top) == ["b"]
