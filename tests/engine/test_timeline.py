"""The time of one execution, on a clock that the test sets."""

from __future__ import annotations

import datetime as dt

from hypothesis import given
from hypothesis import strategies as st

from noetl.engine.timeline import Timeline
from noetl.testing.clock import START

SECOND = dt.timedelta(seconds=1)
HOUR = dt.timedelta(hours=1)


class SetClock:
    def __init__(self) -> None:
        self.passed_s = 0.0
        self.off = dt.timedelta()

    def now(self) -> dt.datetime:
        return START + dt.timedelta(seconds=self.passed_s) + self.off

    def monotonic(self) -> float:
        return self.passed_s


def test_it_is_the_wall_clocks_as_long_as_that_does_not_jump() -> None:
    clock = SetClock()
    line = Timeline(clock)
    for _ in range(10):
        clock.passed_s += 0.1
        line.reach(line.now())
        assert line.now() == clock.now() == line.on_the_wall(line.now())


def test_behind_a_jump_back_it_goes_on_from_where_it_was() -> None:
    clock = SetClock()
    line = Timeline(clock)
    line.reach(clock.now())
    clock.off = -HOUR
    clock.passed_s = 1.0
    assert line.now() == START + SECOND
    assert line.on_the_wall(START + 5 * SECOND) == clock.now() + 4 * SECOND


def test_what_was_to_come_is_not_moved_by_a_jump_since() -> None:
    clock = SetClock()
    line = Timeline(clock)
    clock.passed_s = 7.0
    line.reach(line.now())
    due = line.now() + 3 * SECOND
    for off in (HOUR, -HOUR):
        clock.off = off
        clock.passed_s += 1.0
        assert line.moment(due) == 10.0


def test_an_execution_of_a_node_that_was_ahead_goes_on_behind_its_last_append() -> None:
    line = Timeline(SetClock())
    line.reach(START + HOUR)
    assert line.now() == START + HOUR


def test_what_was_not_in_memory_has_had_its_time_by_the_wall_clock() -> None:
    clock = SetClock()
    line = Timeline(clock)
    line.reach(START + HOUR)
    due = START + HOUR + 60 * SECOND
    wake_at = line.on_the_wall(due)
    clock.passed_s = 61.0
    again = Timeline(clock)
    again.reach(START + HOUR)
    again.woken(due, wake_at)
    assert again.now() == due + SECOND


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(-1e5, 1e5), st.booleans()), max_size=20))
def test_it_never_goes_back_behind_what_is_in_the_log(steps: list[tuple[float, float, bool]]) -> None:
    clock = SetClock()
    line, logged, since_s = Timeline(clock), START, 0.0
    line.reach(logged)
    for passed_s, off_s, is_turn in steps:
        clock.passed_s += passed_s
        clock.off = dt.timedelta(seconds=off_s)
        assert line.now() >= logged + dt.timedelta(seconds=clock.passed_s - since_s - 0.011)
        assert line.now() >= logged
        if is_turn:
            logged, since_s = line.now(), clock.passed_s
            line.reach(logged)
