"""Between one node and the store: a wire that can be cut."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from noetl.errors import StoreAway
from noetl.store.log import Append, Done, Log
from noetl.testing.simulation import Simulation
from tests.simulation.node import LateLog


class Wire:
    def __init__(self) -> None:
        self.is_cut = False
        self._healed: list[Callable[[], None]] = []

    def cut(self) -> None:
        self.is_cut = True

    def heal(self) -> None:
        self.is_cut = False
        for healed in self._healed:
            healed()

    def on_heal(self, told: Callable[[], None]) -> None:
        self._healed.append(told)

    def check(self) -> None:
        if self.is_cut:
            raise StoreAway("the store can't be reached")


class Wired:
    """A part of the store, at the end of a wire."""

    def __init__(self, inner: Any, wire: Wire) -> None:
        self._inner = inner
        self._wire = wire

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not inspect.iscoroutinefunction(found):
            return found

        async def call(*args: Any, **named: Any) -> Any:
            self._wire.check()
            return await found(*args, **named)

        return call


class WiredLog(LateLog):
    """What was handed over while the wire is cut is kept, and goes on its way when it is healed."""

    def __init__(self, log: Log, simulation: Simulation, wire: Wire) -> None:
        far: Any = Wired(log, wire)
        super().__init__(far, simulation)
        self._wire = wire
        self._held: list[tuple[Append, Done]] = []
        wire.on_heal(self._go_on)

    def _commit(self, append: Append, done: Done) -> None:
        if self._wire.is_cut or self._held:
            self._held.append((append, done))
        else:
            super()._commit(append, done)

    def _go_on(self) -> None:
        held, self._held = self._held, []
        for append, done in held:
            super()._commit(append, done)

    async def settle(self) -> None:
        """Raises `StoreAway`: nobody knows what becomes of what is held."""
        self._wire.check()
        await super().settle()
