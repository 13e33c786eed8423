"""Timers against a list of due times: each message comes once, when it is due, unless it was cancelled or its actor has ended."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from noetl.actors.actor import Context, Timer
from noetl.supervisors.spec import ChildSpec
from noetl.supervisors.static import which_children
from tests.actors.kinds import Doer, of
from tests.machine import STEPS, WorldMachine

delays = st.integers(1, 12).map(lambda quarters: quarters / 4)
"""Exact in binary, so that sums are."""


class TimersModel(WorldMachine):
    """`pending` is number -> (due, period or None)."""

    @initialize()
    def start(self) -> None:
        top = self.wait(self.world.supervise(ChildSpec(id="a", start=lambda: Doer(self.world)), intensity=10**6))
        ref = self.wait(which_children(top))["a"]
        assert ref is not None
        self.ref = ref
        self.now = self.loop.time()
        self.timers: list[Timer] = []
        self.pending: dict[int, tuple[float, float | None]] = {}
        self.fired: list[tuple[float, int]] = []

    def _say(self, number: int) -> Any:
        return lambda ctx: self.world.tell_news((self.loop.time(), number))

    @rule(delay=delays, is_interval=st.booleans())
    def set(self, delay: float, is_interval: bool) -> None:
        number = len(self.timers)

        def work(ctx: Context[Any]) -> None:
            set_ = ctx.send_interval if is_interval else ctx.send_after
            self.timers.append(set_(delay, self._say(number)))

        self.ref.tell(work)
        self.settle()
        self.pending[number] = (self.now + delay, delay if is_interval else None)

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        if self.timers:
            number = data.draw(st.integers(0, len(self.timers) - 1))
            assert self.timers[number].cancel() == (self.pending.pop(number, None) is not None)

    @rule(seconds=st.integers(1, 20).map(lambda quarters: quarters / 4 + 1 / 16))
    def pass_time(self, seconds: float) -> None:
        self.wait(self.world.pass_time(seconds))
        self.now += seconds
        for number, (due, every) in list(self.pending.items()):
            while due <= self.now:
                self.fired.append((due, number))
                if every is None:
                    del self.pending[number]
                    break
                due += every
                self.pending[number] = (due, every)

    @rule()
    def start_again(self) -> None:
        self.ref.kill()
        self.settle()
        self.pending.clear()

    @invariant()
    def the_same_came_at_the_same_times(self) -> None:
        if hasattr(self, "fired"):
            assert sorted(of(self.world, tuple)) == sorted(self.fired)
            assert of(self.world, tuple) == sorted(of(self.world, tuple), key=lambda item: item[0])


TimersModel.TestCase.settings = STEPS
TestTimers = TimersModel.TestCase
