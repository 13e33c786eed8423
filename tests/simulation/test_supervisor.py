"""Supervisors under chance, and a broken one that is found."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from noetl.actors.actor import Actor, AsyncActor, Context, Exit, Reason, Signal
from noetl.errors import ActorDead
from noetl.supervisors.spec import ChildSpec, Strategy, SupervisorSpec
from noetl.supervisors.static import Supervisor, which_children
from noetl.testing.simulation import Chaos, Simulation, simulate

SEEDS = int(os.environ.get("NOETL_TEST_SEEDS", "100"))
CHILDREN = "abcd"


class Diary:
    """Which children run; it looks at each start and end."""

    def __init__(self, strategy: Strategy) -> None:
        self.strategy = strategy
        self.running: set[str] = set()

    def started(self, name: str) -> None:
        assert name not in self.running, f"{name} runs twice"
        if self.strategy != "one_for_one":
            assert self.running == set(CHILDREN[: CHILDREN.index(name)]), f"{name} starts beside {sorted(self.running)}"
        self.running.add(name)

    def ended(self, name: str) -> None:
        self.running.discard(name)


class Plain(Actor[Any]):
    def __init__(self, name: str, diary: Diary) -> None:
        self._name = name
        self._diary = diary

    def init(self, ctx: Context[Any]) -> None:
        self._diary.started(self._name)

    def handle(self, message: Any, ctx: Context[Any]) -> None: ...

    def terminate(self, reason: Reason, ctx: Context[Any]) -> None:
        self._diary.ended(self._name)


class Slow(AsyncActor[Any]):
    """Takes its time to start and to end."""

    def __init__(self, name: str, diary: Diary) -> None:
        self._name = name
        self._diary = diary

    async def init(self, ctx: Context[Any]) -> None:
        await asyncio.sleep(0.02)
        self._diary.started(self._name)

    async def handle(self, message: Any, ctx: Context[Any]) -> None: ...

    async def terminate(self, reason: Reason, ctx: Context[Any]) -> None:
        await asyncio.sleep(0.03)
        self._diary.ended(self._name)


class Forgetful(Supervisor):
    """Broken: who dies while others are being ended is forgotten."""

    def signal(self, signal: Signal, ctx: Context[Any]) -> None:
        if isinstance(signal, Exit) and self._ending and all(child.ref is not signal.ref for child in self._ending):
            return
        super().signal(signal, ctx)


async def upkeep(simulation: Simulation, strategy: Strategy, supervisor: Callable[[SupervisorSpec], Supervisor]) -> None:
    """Whoever crashes: the children start in order, none runs twice, and in the end all run."""
    diary = Diary(strategy)
    children = tuple(ChildSpec(id=name, start=partial(Slow if name in "bd" else Plain, name, diary)) for name in CHILDREN)
    spec = SupervisorSpec(id="top", children=children, strategy=strategy, intensity=100)
    top = await simulation.runtime.start(partial(supervisor, spec), "top")
    for _ in range(12):
        await asyncio.sleep(simulation.random.random() * 0.05)
        for name, child in (await which_children(top)).items():
            if child is not None and simulation.random.random() < 0.5:
                child.report(f"for {name}")
    await asyncio.sleep(10)
    assert diary.running == set(CHILDREN)
    assert all(child is not None for child in (await which_children(top)).values())
    await simulation.runtime.stop(top)
    assert diary.running == set()


def play(seed: int, strategy: Strategy, supervisor: Callable[[SupervisorSpec], Supervisor]) -> Simulation:
    async def scenario(simulation: Simulation) -> Simulation:
        await upkeep(simulation, strategy, supervisor)
        return simulation

    return simulate(scenario, seed, Chaos(late=0.2, crashes=6, crash=0.15, victims=lambda path: path.startswith("top/")))


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
def test_under_every_seed_a_supervisor_keeps_its_children_running_in_order(strategy: Strategy) -> None:
    crashes = sum(len(play(seed, strategy, Supervisor).crashed) for seed in range(SEEDS))
    assert crashes > SEEDS


def test_a_broken_supervisor_is_found_and_its_seed_fails_again_in_the_same_way() -> None:
    seed, failure = next(found for found in map(_failure, range(100)) if found[1])
    assert f"simulated with seed {seed}" in failure
    assert _failure(seed) == (seed, failure)


def _failure(seed: int) -> tuple[int, str]:
    try:
        play(seed, "rest_for_one", Forgetful)
    except (AssertionError, ActorDead) as error:
        return seed, f"{error} {error.__notes__}"
    return seed, ""
