"""Who holds the event loop is named; who never lets go ends the process."""

from __future__ import annotations

import asyncio
import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from noetl.actors.actor import Actor, AsyncActor, Context
from noetl.actors.loop import Runtime
from noetl.actors.watchdog import HUNG_STATUS, Holder, Watchdog, watch
from noetl.probe import LoopBlocked
from noetl.testing.clock import VirtualLoop
from noetl.testing.world import World

THRESHOLD_S = 0.02


def hold_until(event: threading.Event) -> None:
    """Hold the loop until the watchdog has seen it."""
    assert event.wait(20)


class Holding(Actor[Any]):
    def init(self, ctx: Context[Any]) -> None:
        self.handled = asyncio.Event()

    def handle(self, message: Any, ctx: Context[Any]) -> None:
        hold_until(message)
        self.handled.set()


class HoldingLater(AsyncActor[Any]):
    async def handle(self, message: Any, ctx: Context[Any]) -> None:
        await asyncio.sleep(0)
        hold_until(message)


class HoldingAtItsStart(Actor[Any]):
    def __init__(self, event: threading.Event) -> None:
        self._event = event

    def init(self, ctx: Context[Any]) -> None:
        hold_until(self._event)


class Seen:
    """What a watchdog has said."""

    def __init__(self) -> None:
        self.noticed = threading.Event()
        self.over = asyncio.Event()
        self.holders: list[tuple[str, Holder, float]] = []

    def blocked(self, holder: Holder, seconds: float) -> None:
        self.holders.append(("blocked", holder, seconds))
        self.noticed.set()

    def freed(self, holder: Holder, seconds: float) -> None:
        self.holders.append(("freed", holder, seconds))
        self.over.set()


@contextmanager
def watched() -> Iterator[Seen]:
    seen = Seen()
    with closing(Watchdog(asyncio.get_running_loop(), threshold_s=THRESHOLD_S, blocked=seen.blocked, freed=seen.freed)) as watchdog:
        watchdog.start()
        yield seen


@pytest.mark.parametrize("kind", [Holding, HoldingLater])
async def test_who_holds_the_loop_is_named_with_message_and_stack_and_told_again_when_it_is_over(kind: Callable[[], Any]) -> None:
    runtime = Runtime()
    ref = await runtime.start(kind, "holding")
    with watched() as seen:
        ref.tell(seen.noticed)
        await seen.over.wait()
    (first, holder, at_first), (last, again, in_all) = seen.holders
    assert (first, holder.path, holder.message) == ("blocked", "holding", "Event")
    assert "in hold_until" in holder.stack
    assert str(holder) == "holding (handling Event)"
    assert (last, again) == ("freed", holder)
    assert in_all >= at_first >= THRESHOLD_S
    await runtime.stop(ref)


async def test_a_start_that_holds_the_loop_is_named() -> None:
    runtime = Runtime()
    with watched() as seen:
        ref = await runtime.start(lambda: HoldingAtItsStart(seen.noticed), "starting")
    assert (seen.holders[0][1].path, seen.holders[0][1].message) == ("starting", None)
    await runtime.stop(ref)


async def test_what_is_no_actor_is_told_by_its_stack() -> None:
    with watched() as seen:
        asyncio.get_running_loop().call_soon(hold_until, seen.noticed)
        await seen.over.wait()
    assert (seen.holders[0][1].path, str(seen.holders[0][1])) == (None, "what is no actor")
    assert "in hold_until" in seen.holders[0][1].stack


async def test_a_loop_that_turns_is_left_alone_and_its_lag_is_known() -> None:
    runtime = Runtime()
    assert runtime.snapshot().lag_s is None
    with closing(watch(runtime, threshold_s=0.002)):
        while runtime.lag_s is None:
            await asyncio.sleep(0.001)
        assert runtime.snapshot().lag_s == runtime.lag_s >= 0


async def test_the_runtimes_watchdog_writes_to_the_log_at_once_and_tells_the_probe_when_it_can(caplog: pytest.LogCaptureFixture) -> None:
    runtime, told = Runtime(), asyncio.Event()
    news: list[LoopBlocked] = []
    noticed = threading.Event()

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            noticed.set()

    def hear(happening: Any) -> None:
        if isinstance(happening, LoopBlocked):
            news.append(happening)
            told.set()

    runtime.probe.subscribe(hear)
    handler = Handler()
    logging.getLogger("noetl.actors").addHandler(handler)
    ref = await runtime.start(Holding, "holding")
    with closing(watch(runtime, threshold_s=THRESHOLD_S)):
        ref.tell(noticed)
        await told.wait()
    logging.getLogger("noetl.actors").removeHandler(handler)
    assert (news[0].path, news[0].message) == ("holding", "Event")
    first, last = (record.getMessage() for record in caplog.records if record.name == "noetl.actors")
    assert first.startswith("the event loop has been held for 0.0")
    assert "by holding (handling Event)\n  File " in first
    assert last.startswith("the event loop was held for ")
    await runtime.stop(ref)


async def test_processor_time_counts_for_a_guard_of_tests_and_waiting_does_not() -> None:
    seen = Seen()
    loop = asyncio.get_running_loop()
    runtime = Runtime()

    class Working(Actor[Any]):
        def handle(self, message: Any, ctx: Context[Any]) -> None:
            if message == "wait":
                time.sleep(5 * THRESHOLD_S)  # what a machine that is busy with others looks like
            else:
                until = time.thread_time() + 20
                while not seen.noticed.is_set() and time.thread_time() < until:
                    pass

    ref = await runtime.start(Working, "working")
    with closing(Watchdog(loop, threshold_s=THRESHOLD_S, cpu_only=True, blocked=seen.blocked, freed=seen.freed)) as watchdog:
        watchdog.start()
        ref.tell("wait")
        await asyncio.sleep(0)
        assert seen.holders == []
        ref.tell("work")
        await seen.over.wait()
    assert seen.holders[0][1].path == "working"
    await runtime.stop(ref)


def test_a_test_whose_actor_holds_the_loop_fails_with_the_report() -> None:
    class Computing(Actor[Any]):
        def handle(self, message: Any, ctx: Context[Any]) -> None:
            until = time.thread_time() + 20
            while not world._blocked and time.thread_time() < until:
                pass

    async def use() -> None:
        nonlocal world
        world = World()
        (await world.start(Computing, "computing")).tell(1)
        await world.settle()
        await world.close()

    world: World = None  # type: ignore[assignment]
    with asyncio.Runner(loop_factory=VirtualLoop) as runner, pytest.raises(AssertionError, match=r"held for 1\.\d s by computing \(handling int\)"):
        runner.run(use())


HUNG = """
import asyncio, sys, time
from contextlib import closing
from noetl.actors.actor import Actor
from noetl.actors.loop import Runtime
from noetl.actors.watchdog import watch

class Hanging(Actor):
    def handle(self, message, ctx):
        print("in", flush=True)
        while True:
            time.sleep(0.001)

async def main():
    runtime = Runtime()
    with closing(watch(runtime, threshold_s=0.02, hang_s=float(sys.argv[1]))):
        (await runtime.start(Hanging, "hanging")).tell(1)
        await asyncio.sleep(1000)

asyncio.run(main())
"""


def test_a_loop_that_is_held_for_too_long_ends_the_process_with_a_status_of_its_own() -> None:
    ended = subprocess.run([sys.executable, "-c", HUNG, "0.1"], capture_output=True, text=True, timeout=50, check=False)
    assert (ended.returncode, ended.stdout) == (HUNG_STATUS, "in\n")
    assert "by hanging (handling int): this process ends\n  File " in ended.stderr


def test_time_in_which_the_process_stood_still_does_not_count() -> None:
    process = subprocess.Popen([sys.executable, "-c", HUNG, "1.0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "in\n"
        process.send_signal(signal.SIGSTOP)
        time.sleep(1.2)  # longer than it may hang
        process.send_signal(signal.SIGCONT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.2)
        assert process.wait(20) == HUNG_STATUS
