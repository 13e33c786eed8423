"""What executions share of what they have fetched: one request, and again when it has expired."""

from __future__ import annotations

import asyncio
import datetime as dt

import pytest

from noetl.engine.fetched import Fetched, Lasting


class SetClock:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.at = 1000.0

    def now(self) -> dt.datetime:
        return dt.datetime(2026, 1, 1, tzinfo=dt.UTC)

    def monotonic(self) -> float:
        return self.at


class Source:
    """Gives 1, 2, 3, …; waits for `gate` when it has one."""

    def __init__(self, lasts_s: float | None = None) -> None:
        self.lasts_s = lasts_s
        self.given = 0
        self.gate: asyncio.Event | None = None
        self.asked = asyncio.Event()
        self.error: Exception | None = None

    async def fetch(self) -> Lasting[int]:
        self.given += 1
        number = self.given
        self.asked.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        return Lasting(number, self.lasts_s)


@pytest.mark.parametrize(("lasts_s", "still", "again"), [(3600.0, 3569.0, 3571.0), (100.0, 89.0, 91.0), (10.0, 8.9, 9.1)])
async def test_it_is_fetched_again_a_little_before_it_expires(lasts_s: float, still: float, again: float) -> None:
    clock, source = SetClock(), Source(lasts_s)
    fetched = Fetched(clock)
    assert await fetched.get(1, "a", source.fetch) == 1
    clock.at = 1000 + still
    assert await fetched.get(1, "a", source.fetch) == 1
    clock.at = 1000 + again
    assert await fetched.get(1, "a", source.fetch) == 2


async def test_what_does_not_expire_lasts_as_long_as_the_execution_and_each_has_its_own() -> None:
    clock, source = SetClock(), Source()
    fetched = Fetched(clock)
    assert [await fetched.get(execution, "a", source.fetch) for execution in (1, 2, 1)] == [1, 2, 1]
    clock.at = 10.0**9
    assert await fetched.get(1, "a", source.fetch) == 1
    await fetched.end_execution(1)
    assert [await fetched.get(execution, "a", source.fetch) for execution in (1, 2)] == [3, 2]


async def test_who_asks_while_it_is_fetched_gets_the_same() -> None:
    source = Source()
    source.gate = asyncio.Event()
    fetched = Fetched(SetClock())
    asking = [asyncio.create_task(fetched.get(1, "a", source.fetch)) for _ in range(5)]
    await source.asked.wait()
    source.gate.set()
    assert await asyncio.gather(*asking) == [1] * 5
    assert source.given == 1


async def test_an_error_is_told_to_all_who_wait_and_the_next_one_tries_again() -> None:
    source = Source()
    source.gate, source.error = asyncio.Event(), OSError("no answer")
    fetched = Fetched(SetClock())
    asking = [asyncio.create_task(fetched.get(1, "a", source.fetch)) for _ in range(3)]
    await source.asked.wait()
    source.gate.set()
    assert [str(error) for error in await asyncio.gather(*asking, return_exceptions=True)] == ["no answer"] * 3
    assert source.given == 1
    source.error = None
    assert await fetched.get(1, "a", source.fetch) == 2


async def test_when_the_one_who_fetches_is_cancelled_another_one_takes_over() -> None:
    source = Source()
    source.gate = asyncio.Event()
    fetched = Fetched(SetClock())
    first, second = [asyncio.create_task(fetched.get(1, "a", source.fetch)) for _ in range(2)]
    await source.asked.wait()
    source.asked.clear()
    first.cancel()
    await source.asked.wait()
    source.gate.set()
    assert await second == 2
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_one_who_waits_and_is_cancelled_does_not_disturb_the_others() -> None:
    source = Source()
    source.gate = asyncio.Event()
    fetched = Fetched(SetClock())
    first = asyncio.create_task(fetched.get(1, "a", source.fetch))
    await source.asked.wait()
    second = asyncio.create_task(fetched.get(1, "a", source.fetch))
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    source.gate.set()
    assert await first == 1


async def test_an_inner_one_does_not_wait_for_those_who_may_wait_for_it() -> None:
    fetched = Fetched(SetClock())
    source = Source()

    async def a() -> Lasting[int]:
        return Lasting(await fetched.get(1, "b", b, alone=True))

    async def b() -> Lasting[int]:
        inner = await fetched.get(1, "c", source.fetch, alone=True)
        return Lasting(inner)

    assert await asyncio.gather(fetched.get(1, "a", a), fetched.get(1, "b", b)) == [1, 1]
