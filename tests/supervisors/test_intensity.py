"""How often, and after which wait, something is restarted. Pure."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from noetl.supervisors.intensity import Intensity, Streak, delay_s
from noetl.supervisors.spec import Backoff


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


def test_a_streak_grows_to_its_cap_and_starts_anew_after_a_child_was_up_for_long_enough() -> None:
    streak = Streak(Backoff(initial_s=1.0, factor=3.0, max_s=20.0, jitter=0.0, reset_after_s=60.0))
    now, waits = 0.0, []
    for up_s in (0.0, 1.0, 59.9, 0.0, 60.0, 1.0):
        streak.began(now)
        now += up_s
        waits.append(streak.failed(now, 0.5))
    assert waits == [1.0, 3.0, 9.0, 20.0, 1.0, 3.0]


def test_a_restart_that_fails_does_not_count_as_having_been_up() -> None:
    streak = Streak(Backoff(initial_s=1.0, factor=2.0, jitter=0.0, reset_after_s=60.0))
    streak.began(0.0)
    assert [streak.failed(now, 0.5) for now in (1.0, 100.0, 1000.0)] == [1.0, 2.0, 4.0]
