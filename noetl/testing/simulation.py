"""Simulation: a runtime on virtual time whose every choice comes from a seed, so that a run that fails can be had again exactly.

    def test_no_order_of_events_breaks_it():
        for seed in range(100):
            simulate(scenario, seed, Chaos(crashes=2, victims=lambda path: path.endswith("/worker")))

The seed chooses which of the ready actors has the next turn, whose turn comes late, and who crashes when. Messages from one actor to another keep
their order, as they do everywhere. The jitter of restarts and retries is drawn from the seed, too.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from noetl.actors.cell import Cell
from noetl.actors.loop import Runtime
from noetl.testing.clock import LoopClock, VirtualLoop

T = TypeVar("T")


class Chaos(Struct, frozen=True):
    """How rough it is. `victims` says of an actor's path whether the actor may crash."""

    late: float = 0.1
    """Chance that an actor that has got a message has its turn later, by up to `late_s`."""
    late_s: float = 0.05
    crashes: int = 0
    """How many actors crash at most."""
    crash: float = 0.02
    """Chance that a victim crashes instead of having its turn."""
    victims: Callable[[str], bool] = lambda path: True


class InjectedCrash(Exception):
    """A crash that the simulation made."""


class Simulation:
    """What a scenario is given. `turns` is the path of each actor that had a turn, in order: the trace to compare."""

    def __init__(self, seed: int, chaos: Chaos) -> None:
        self.seed = seed
        self.chaos = chaos
        self.random = random.Random(seed)  # noqa: S311  reproducible is the point
        self.loop = asyncio.get_running_loop()
        self.clock = LoopClock(self.loop)
        self.turns: list[str] = []
        self.crashed: list[str] = []
        self.runtime = SimulatedRuntime(self)

    async def quiet(self) -> None:
        """Let what is under way come to its end, for 10 s; from then on nobody crashes any more."""
        await asyncio.sleep(10.0)
        self.chaos = msgspec.structs.replace(self.chaos, crashes=0)


class SimulatedRuntime(Runtime):
    """Gives one turn at a time, in an order that the seed chooses."""

    def __init__(self, simulation: Simulation) -> None:
        super().__init__(simulation.clock)
        self._simulation = simulation

    def schedule(self, cell: Cell[Any]) -> None:
        simulation = self._simulation
        if simulation.random.random() < simulation.chaos.late:
            self.loop.call_later(simulation.random.random() * simulation.chaos.late_s, super().schedule, cell)
        else:
            super().schedule(cell)

    def _next_cell(self) -> Cell[Any]:
        ready = self._ready
        ready.rotate(-self._simulation.random.randrange(len(ready)))
        cell = ready.popleft()
        self._simulation.turns.append(cell.path)
        self._perhaps_crash(cell)
        return cell

    def _perhaps_crash(self, cell: Cell[Any]) -> None:
        simulation = self._simulation
        chaos = simulation.chaos
        if len(simulation.crashed) < chaos.crashes and chaos.victims(cell.path) and simulation.random.random() < chaos.crash:
            simulation.crashed.append(cell.path)
            cell.crash(InjectedCrash(f"crash {len(simulation.crashed)} of {cell.path}"))

    def _pump(self) -> None:
        """One turn for each turn of the loop: how long a turn takes on the real clock changes nothing."""
        if self._ready:
            cell = self._next_cell()
            handled = cell.turn()
            cell.reductions += handled
            self.reductions += handled
        if self._ready:
            self.loop.call_soon(self._pump, context=self.context)
        else:
            self._armed = False


def simulate(scenario: Callable[[Simulation], Awaitable[T]], seed: int, chaos: Chaos | None = None) -> T:
    """Play a scenario once. What it raises carries the seed in a note."""

    async def play() -> T:
        return await scenario(Simulation(seed, chaos or Chaos()))

    random.seed(seed)
    try:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            return runner.run(play())
    except BaseException as error:
        error.add_note(f"simulated with seed {seed}")
        raise
