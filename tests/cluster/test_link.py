"""A node's connection to a real NATS server that is killed, paused, wiped; with what listens and pulls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from noetl.actors.loop import Runtime
from noetl.clock import SystemClock
from noetl.cluster.link import BusConnected, BusLost, link_spec
from noetl.errors import AskTimeout
from noetl.mailbox.transport import BusUnavailable, Delivery
from noetl.mailbox.transports.jetstream import NatsBus
from noetl.probe import Happening, Probe
from noetl.settings import NatsSettings
from noetl.supervisors.spec import SupervisorSpec
from noetl.supervisors.static import start_tree
from tests.cluster.proxy import Proxy
from tests.nats import Nats


class Linked:
    """A node of nothing but its link, and what it says."""

    def __init__(self, bus: NatsBus, probe: Probe) -> None:
        self.bus = bus
        self._heard: list[Happening] = []
        self._news = asyncio.Event()
        probe.subscribe(self._hear)

    def _hear(self, happening: Happening) -> None:
        if isinstance(happening, (BusConnected, BusLost)):
            self._heard.append(happening)
            self._news.set()

    async def until(self, kind: type[Happening]) -> Happening:
        """The next of that kind that was not waited for yet."""
        while True:
            while self._heard:
                if isinstance(found := self._heard.pop(0), kind):
                    return found
            self._news.clear()
            await self._news.wait()


@asynccontextmanager
async def linked(url: str, node: str = "one") -> AsyncIterator[Linked]:
    probe = Probe()
    runtime = Runtime(SystemClock(), probe)
    settings = NatsSettings(urls=(url,), silence_s=0.6, connect_timeout_s=1.0)
    bus = NatsBus(settings, node)
    found = Linked(bus, probe)
    root = await start_tree(runtime, SupervisorSpec(id=node, children=(link_spec(bus, settings),)))
    try:
        yield found
    finally:
        await runtime.stop(root)


@pytest.fixture
def nats() -> Iterator[Nats]:
    with Nats() as server:
        yield server


def echo(delivery: Delivery) -> None:
    delivery.reply(delivery.body)


async def answered(bus: NatsBus, subject: str) -> bytes:
    """Ask until somebody answers."""
    while True:
        try:
            return await bus.request(subject, b"hello", 0.3)
        except (BusUnavailable, AskTimeout):
            await asyncio.sleep(0.01)


async def taken(bus: NatsBus, body: bytes) -> bytes:
    """Put a command into the stream until it takes it."""
    number = 0
    while True:
        try:
            await bus.command("noetl.commands.p.5", body, f"{body.decode()}-{number}")
        except BusUnavailable:
            number += 1
            await asyncio.sleep(0.01)
        else:
            return body


async def next_command(puller: Any) -> bytes:
    while True:
        try:
            (command,) = await puller.pull(1)
        except BusUnavailable:
            continue
        command.ack()
        return bytes(command.body)


async def kill(nats: Nats) -> None:
    nats.kill()
    await asyncio.to_thread(nats.start)


async def wipe(nats: Nats) -> None:
    nats.wipe()
    await asyncio.to_thread(nats.start)


@pytest.mark.parametrize("harm", [kill, wipe])
async def test_what_listens_and_pulls_goes_on_when_the_server_is_there_again(nats: Nats, harm: Callable[[Nats], Any]) -> None:
    async with linked(nats.url, "one") as one, linked(nats.url, "two") as two:
        for each in (one, two):
            await each.until(BusConnected)
        one.bus.listen("noetl.test", echo)
        puller = one.bus.puller("p", ("noetl.commands.p.*",), 5.0)
        assert await answered(two.bus, "noetl.test") == b"hello"
        await taken(two.bus, b"before")
        assert await next_command(puller) == b"before"
        await harm(nats)
        for each in (one, two):
            await each.until(BusConnected)
        assert await answered(two.bus, "noetl.test") == b"hello"
        await taken(two.bus, b"after")
        while await next_command(puller) != b"after":
            pass  # the ack of the first may have died with the server


async def test_a_request_in_flight_fails_at_once_when_the_server_dies(nats: Nats) -> None:
    async with linked(nats.url, "one") as one, linked(nats.url, "two") as two:
        for each in (one, two):
            await each.until(BusConnected)
        heard = asyncio.Event()
        one.bus.listen("noetl.test", lambda delivery: heard.set() if delivery.body == b"wait" else echo(delivery))
        await answered(two.bus, "noetl.test")
        asking = asyncio.create_task(two.bus.request("noetl.test", b"wait", 3_600.0))
        await heard.wait()
        nats.kill()
        with pytest.raises(BusUnavailable, match="was lost"):
            await asking


async def test_a_server_that_is_silent_is_left_and_found_again(nats: Nats) -> None:
    async with linked(nats.url) as one:
        await one.until(BusConnected)
        nats.pause()
        assert await one.until(BusLost) == BusLost("it is silent")
        with pytest.raises(BusUnavailable):
            one.bus.publish("noetl.test", b"")
        nats.resume()
        await one.until(BusConnected)


async def test_a_node_that_does_not_keep_up_is_cut_off_alone_and_goes_on_when_it_does(tmp_path: Path) -> None:
    """A slow consumer, as NATS calls it."""
    limits = tmp_path / "limits.conf"
    limits.write_text("max_pending: 1MB\nwrite_deadline: 1s\n")
    with Nats("-c", str(limits)) as nats, Proxy(nats.port) as wire:
        async with linked(f"nats://127.0.0.1:{wire.port}", "slow") as slow, linked(nats.url, "other") as other:
            for each in (slow, other):
                await each.until(BusConnected)
            slow.bus.listen("noetl.test", echo)
            assert await answered(other.bus, "noetl.test") == b"hello"
            wire.stall()
            for _ in range(200):
                other.bus.publish("noetl.test", bytes(100_000))
            assert await other.bus.check(5.0)
            await slow.until(BusLost)
            wire.heal()
            await slow.until(BusConnected)
            assert await answered(other.bus, "noetl.test") == b"hello"
            assert other.bus.is_up


async def test_a_node_begins_without_a_server_and_finds_it_when_it_comes(nats: Nats) -> None:
    nats.kill()
    async with linked(nats.url) as one:
        await one.until(BusLost)
        await asyncio.to_thread(nats.start)
        await one.until(BusConnected)


async def test_a_stream_that_is_deleted_is_made_again_and_all_are_told(nats: Nats) -> None:
    async with linked(nats.url) as one:
        await one.until(BusConnected)
        told = asyncio.Event()
        one.bus.on_new_stream(told.set)
        puller = one.bus.puller("p", ("noetl.commands.p.*",), 5.0)
        await taken(one.bus, b"before")
        assert await next_command(puller) == b"before"
        waiting = asyncio.create_task(next_command(puller))
        await asyncio.sleep(0)
        await one.bus.request("$JS.API.STREAM.DELETE.NOETL_COMMANDS", b"", 5.0)
        await told.wait()
        await taken(one.bus, b"after")
        assert await waiting == b"after"
