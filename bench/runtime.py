"""The actor runtime beside a bare loop, asyncio queues and Pykka, in one run on one machine. Medians of several rounds.

python bench/runtime.py [--json]
"""

from __future__ import annotations

import asyncio
import gc
import json
import resource
import statistics
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pykka

from noetl.actors.actor import Actor, Context
from noetl.actors.loop import Runtime
from noetl.actors.ref import Ref, Reply
from noetl.supervisors.factory import Factory, StartChild
from noetl.supervisors.spec import ChildSpec, SupervisorSpec
from noetl.supervisors.static import start_tree

ROUNDS = 9
BURST = 1_000

# -- ours --------------------------------------------------------------------------------------------------------------


class Sink(Actor[Any]):
    """Counts; answers a future."""

    __slots__ = ("count",)

    def init(self, ctx: Context[Any]) -> None:
        self.count = 0

    def handle(self, message: Any, ctx: Context[Any]) -> None:
        self.count += 1
        if message is not None:
            message.set_result(self.count)


class Pong(Actor[Any]):
    __slots__ = ()

    def handle(self, message: Any, ctx: Context[Any]) -> None:
        message.tell(1)


class Ping(Actor[Any]):
    __slots__ = ("_done", "_left", "_other")

    def __init__(self, other: Ref[Any]) -> None:
        self._other = other

    def handle(self, message: Any, ctx: Context[Any]) -> None:
        if message != 1:
            self._left, self._done = message
        elif self._left == 1:
            self._done.set_result(None)
            return
        else:
            self._left -= 1
        self._other.tell(ctx.self_ref)


class Echo(Actor[Any]):
    __slots__ = ()

    def handle(self, message: Any, ctx: Context[Any]) -> None:
        message.send(1)


class Crashing(Actor[Any]):
    """Crashes on `None`; says when it is up again."""

    __slots__ = ("_up",)

    def __init__(self, up: Callable[[], None]) -> None:
        self._up = up

    def init(self, ctx: Context[Any]) -> None:
        self._up()

    def handle(self, message: Any, ctx: Context[Any]) -> None:
        raise ValueError("on purpose")


async def one_way(runtime: Runtime) -> float:
    sink = await runtime.start(Sink, "sink")
    started = time.perf_counter()
    for _ in range(300):
        tell = sink.tell
        for _ in range(BURST - 1):
            tell(None)
        done = runtime.loop.create_future()
        tell(done)
        await done
    rate = 300 * BURST / (time.perf_counter() - started)
    await runtime.stop(sink)
    return rate


async def hops(runtime: Runtime, count: int = 100_000) -> float:
    pong = await runtime.start(Pong, "pong")
    ping = await runtime.start(partial(Ping, pong), "ping")
    done = runtime.loop.create_future()
    started = time.perf_counter()
    ping.tell((count, done))
    await done
    rate = 2 * count / (time.perf_counter() - started)
    await runtime.stop(ping)
    await runtime.stop(pong)
    return rate


def _same(reply: Reply[Any]) -> Reply[Any]:
    return reply


async def asks(runtime: Runtime, count: int = 30_000) -> float:
    echo = await runtime.start(Echo, "echo")
    started = time.perf_counter()
    for _ in range(count):
        await echo.ask(_same, 5.0)
    rate = count / (time.perf_counter() - started)
    await runtime.stop(echo)
    return rate


async def spawns(runtime: Runtime, count: int = 10_000) -> float:
    """Spawn under a supervisor, one ask, stop."""
    factory: Ref[Any] = await runtime.start(Factory, "factory")
    started = time.perf_counter()
    for number in range(count):
        child: Ref[Any] = await factory.ask(lambda reply, number=number: StartChild(number, Echo, reply), 5.0)  # type: ignore[misc]
        await child.ask(_same, 5.0)
        child.shutdown()  # type: ignore[attr-defined]
    rate = count / (time.perf_counter() - started)
    await runtime.stop(factory)
    return rate


async def restarts(runtime: Runtime, count: int = 3_000) -> list[float]:
    """Microseconds from the message that crashes an actor to the end of its next `init`."""
    times: list[float] = []
    up = asyncio.Event()
    began = 0.0

    def note() -> None:
        times.append((time.perf_counter() - began) * 1e6)
        up.set()

    spec = SupervisorSpec(id="top", children=(ChildSpec(id="child", start=partial(Crashing, note)),), intensity=10**9)
    top = await start_tree(runtime, spec)
    child = runtime_child(top)
    times.clear()
    for _ in range(count):
        up.clear()
        began = time.perf_counter()
        child.tell(None)
        await up.wait()
    await runtime.stop(top)
    return times


def runtime_child(top: Any) -> Ref[Any]:
    (child,) = top.child_records()
    ref: Ref[Any] = child
    return ref


class Stamp(Actor[Any]):
    """Notes how late it is handled."""

    __slots__ = ("_late",)

    def __init__(self, late: list[float]) -> None:
        self._late = late

    def handle(self, message: float, ctx: Context[Any]) -> None:
        self._late.append((time.perf_counter() - message) * 1e6)


class Hot(Actor[Any]):
    """Is never done: it answers each message with one to itself."""

    __slots__ = ("on",)
    capacity = 10**9

    def init(self, ctx: Context[Any]) -> None:
        self.on = True

    def handle(self, message: Any, ctx: Context[Any]) -> None:
        if message is None:
            ctx.self_ref.report(None)


async def crowd(runtime: Runtime, count: int = 100_000, looks: int = 3_000) -> list[float]:
    """Microseconds from tell to handle of others, while one actor of a crowd is hot with a queue of 10,000."""
    late: list[float] = []
    factory: Ref[Any] = await runtime.start(Factory, "crowd")
    refs = [await factory.ask(lambda reply, number=number: StartChild(number, partial(Stamp, late), reply), 60.0) for number in range(count)]  # type: ignore[misc]
    hot = await runtime.start(Hot, "hot")
    for _ in range(10_000):
        hot.report(None)
    for number in range(looks):
        refs[number * 31 % count].tell(time.perf_counter())
        await asyncio.sleep(0)
    while len(late) < looks:
        await asyncio.sleep(0)
    hot.kill()
    await runtime.stop(factory)
    return late


def idle_bytes(count: int = 200_000) -> float:
    """Resident bytes that each idle, named, supervised actor adds."""

    async def measure() -> float:
        runtime = Runtime()
        factory: Ref[Any] = await runtime.start(Factory, "many")
        gc.collect()
        before = _resident()
        for number in range(count):
            ref: Ref[Any] = await factory.ask(lambda reply, number=number: StartChild(number, Echo, reply), 60.0)  # type: ignore[misc]
            runtime.registry.register(f"actor/{number}", ref)
        gc.collect()
        added = (_resident() - before) / count
        await runtime.stop(factory)
        return added

    return _on_uvloop(measure)


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()


# -- the others --------------------------------------------------------------------------------------------------------


class Bare:
    """(a) An actor without features: a deque, and `call_soon` when something is put into the empty one."""

    def __init__(self, loop: asyncio.AbstractEventLoop, handle: Callable[[Any], None]) -> None:
        self._loop = loop
        self._handle = handle
        self._waiting: deque[Any] = deque()
        self._armed = False

    def tell(self, message: Any) -> None:
        self._waiting.append(message)
        if not self._armed:
            self._armed = True
            self._loop.call_soon(self._run)

    def _run(self) -> None:
        waiting, handle = self._waiting, self._handle
        while waiting:
            handle(waiting.popleft())
        self._armed = False


async def bare_one_way() -> float:
    loop = asyncio.get_running_loop()

    def count(message: Any) -> None:
        if message is not None:
            message.set_result(None)

    sink = Bare(loop, count)
    started = time.perf_counter()
    for _ in range(300):
        tell = sink.tell
        for _ in range(BURST - 1):
            tell(None)
        done = loop.create_future()
        tell(done)
        await done
    return 300 * BURST / (time.perf_counter() - started)


async def bare_hops(count: int = 100_000) -> float:
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    left = count

    def at_ping(_: Any) -> None:
        nonlocal left
        left -= 1
        if left:
            pong.tell(ping)
        else:
            done.set_result(None)

    ping = Bare(loop, at_ping)
    pong = Bare(loop, lambda sender: sender.tell(1))
    started = time.perf_counter()
    pong.tell(ping)
    await done
    return 2 * count / (time.perf_counter() - started)


async def bare_asks(count: int = 30_000) -> float:
    loop = asyncio.get_running_loop()
    echo = Bare(loop, lambda future: future.set_result(1))
    started = time.perf_counter()
    for _ in range(count):
        future = loop.create_future()
        echo.tell(future)
        await future
    return count / (time.perf_counter() - started)


async def queue_one_way() -> float:
    """(b) `asyncio.Queue`, one task per actor."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[Any] = asyncio.Queue()

    async def sink() -> None:
        while True:
            message = await queue.get()
            if message is not None:
                message.set_result(None)

    task = asyncio.create_task(sink())
    started = time.perf_counter()
    for _ in range(100):
        for _ in range(BURST - 1):
            queue.put_nowait(None)
        done = loop.create_future()
        queue.put_nowait(done)
        await done
    rate = 100 * BURST / (time.perf_counter() - started)
    task.cancel()
    return rate


class PykkaEcho(pykka.ThreadingActor):
    """(c)"""

    def on_receive(self, message: Any) -> Any:
        return message


def pykka_asks(count: int = 3_000) -> float:
    ref = PykkaEcho.start()
    started = time.perf_counter()
    for _ in range(count):
        ref.ask(1)
    rate = count / (time.perf_counter() - started)
    ref.stop()
    return rate


# -- measuring ---------------------------------------------------------------------------------------------------------


def _on_uvloop(work: Callable[[], Awaitable[Any]]) -> Any:
    import uvloop

    async def main() -> Any:
        return await work()

    return uvloop.run(main())


def rate(work: Callable[[], Awaitable[float]]) -> float:
    return statistics.median(_on_uvloop(work) for _ in range(ROUNDS))


def ours(work: Callable[[Runtime], Awaitable[Any]]) -> Callable[[], Awaitable[Any]]:
    async def measure() -> Any:
        return await work(Runtime())

    return measure


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[int(share * (len(values) - 1))]


def main() -> None:
    gc.freeze()
    gc.set_threshold(100_000, 20, 10)  # as a node does
    figures = {
        "bytes_per_idle_actor": idle_bytes(),
        "one_way_per_s": rate(ours(one_way)),
        "bare_one_way_per_s": rate(bare_one_way),
        "queue_one_way_per_s": rate(queue_one_way),
        "hops_per_s": rate(ours(hops)),
        "bare_hops_per_s": rate(bare_hops),
        "asks_per_s": rate(ours(asks)),
        "bare_asks_per_s": rate(bare_asks),
        "pykka_asks_per_s": statistics.median(pykka_asks() for _ in range(3)),
        "spawns_per_s": rate(ours(spawns)),
    }
    crashes = _on_uvloop(ours(restarts))
    figures["restart_us_p50"], figures["restart_us_p99"] = percentile(crashes, 0.5), percentile(crashes, 0.99)
    late = _on_uvloop(ours(crowd))
    figures["late_beside_a_hot_actor_us_p50"], figures["late_beside_a_hot_actor_us_p99"] = percentile(late, 0.5), percentile(late, 0.99)
    if "--json" in sys.argv:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:34} {value:14,.1f}")


if __name__ == "__main__":
    main()
