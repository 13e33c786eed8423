"""Actors of other nodes are told and asked over any transport."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from msgspec import Struct

from noetl.actors.actor import Actor, Context
from noetl.actors.loop import Runtime
from noetl.actors.ref import Ref
from noetl.clock import SystemClock
from noetl.errors import AskTimeout
from noetl.mailbox.remote import Mailed, RemoteRef, Unreadable, receive
from noetl.mailbox.transport import BusUnavailable, Transport
from noetl.mailbox.transports.jetstream import NatsBus
from noetl.mailbox.transports.local import LocalTransport
from tests.mailbox.conftest import Join
from tests.mailbox.test_transport import unique


class CounterMessage(Struct, frozen=True, tag_field="kind"):
    """Anything that a counter may be told."""


class Add(CounterMessage, frozen=True):
    number: int = 1


class HowMuch(CounterMessage, frozen=True):
    """Answered with a `Total`."""


class Total(Struct, frozen=True):
    value: int


CounterInbox = Add | HowMuch


class Counter(Actor[Mailed[CounterInbox]]):
    """Has an address on the bus, as long as it lives."""

    def __init__(self, bus: Transport, address: str) -> None:
        self._bus = bus
        self._address = address
        self._value = 0

    def init(self, ctx: Context[Any]) -> None:
        self._ear = receive(self._bus, self._address, CounterInbox, ctx.self_ref.report)

    def handle(self, message: Mailed[CounterInbox], ctx: Context[Any]) -> None:
        match message.message:
            case Add(number):
                self._value += number
            case HowMuch():
                message.answer(Total(self._value))

    def terminate(self, reason: Any, ctx: Context[Any]) -> None:
        self._ear.stop()


class Counters:
    """Counters that others reach."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._made: list[Ref[Any]] = []

    async def start(self, bus: Transport, address: str) -> Ref[Any]:
        made: Ref[Any] = await self._runtime.start(lambda: Counter(bus, address), unique())
        self._made.append(made)
        await reached(bus, address)
        return made

    async def stop(self, *refs: Ref[Any]) -> None:
        for ref in refs or self._made:
            await self._runtime.stop(ref)


@pytest.fixture
async def counters() -> AsyncIterator[Counters]:
    made = Counters(Runtime(SystemClock()))
    yield made
    await made.stop()


async def reached(bus: Transport, address: str) -> None:
    while True:
        try:
            await RemoteRef[CounterInbox](address, bus).ask(HowMuch(), Total, 5.0)
        except BusUnavailable:
            await asyncio.sleep(0.001)
        else:
            return


async def test_an_actor_of_another_node_is_told_and_asked(join: Join, counters: Counters) -> None:
    here, there = await join("here"), await join("there")
    address = f"noetl.node.{unique()}"
    await counters.start(there, address)
    ref: RemoteRef[CounterInbox] = RemoteRef(address, here)
    ref.tell(Add(2))
    ref.tell(Add())
    assert await ref.ask(HowMuch(), Total, 5.0) == Total(3)


async def test_all_of_a_group_are_told(join: Join, counters: Counters) -> None:
    here, there = await join("here"), await join("there")
    group, addresses = f"noetl.{unique()}", [f"noetl.node.{unique()}" for _ in range(2)]
    heard: list[Any] = []
    for bus, address in zip((here, there), addresses, strict=True):
        await counters.start(bus, address)
        receive(bus, group, CounterInbox, heard.append)
    await reached_group(here, group, heard)
    RemoteRef[CounterInbox](group, here).tell(Add(7))
    while [mailed.message for mailed in heard].count(Add(7)) < 2:
        await asyncio.sleep(0.001)


async def reached_group(bus: Transport, group: str, heard: list[Any]) -> None:
    """Both hear it."""
    while len(heard) < 2:
        heard.clear()
        RemoteRef[CounterInbox](group, bus).tell(Add(0))
        await asyncio.sleep(0.01)


async def test_the_address_outlives_who_has_it(join: Join, counters: Counters) -> None:
    here, there, elsewhere = await join("here"), await join("there"), await join("elsewhere")
    address = f"noetl.mailbox.{unique()}"
    first = await counters.start(there, address)
    ref: RemoteRef[CounterInbox] = RemoteRef(address, here)
    ref.tell(Add(5))
    assert await ref.ask(HowMuch(), Total, 5.0) == Total(5)
    await counters.stop(first)
    await counters.start(elsewhere, address)
    while (await ref.ask(HowMuch(), Total, 5.0)).value != 0:  # (the server may not know yet that the first has stopped)
        await asyncio.sleep(0.001)


async def test_who_is_not_there_does_not_keep_the_asker_waiting(join: Join) -> None:
    ref: RemoteRef[CounterInbox] = RemoteRef(f"noetl.node.{unique()}", await join("here"))
    with pytest.raises(BusUnavailable):
        await ref.ask(HowMuch(), Total, 30.0)


async def test_an_ask_that_is_not_answered_ends_at_its_deadline(join: Join) -> None:
    here, there = await join("here"), await join("there")
    address = f"noetl.node.{unique()}"
    silent: list[Any] = []
    receive(there, address, CounterInbox, lambda mailed: mailed.answer(Total(0)) if not silent else None)
    await reached(here, address)
    silent.append("from now on")
    with pytest.raises(AskTimeout):
        await RemoteRef[CounterInbox](address, here).ask(HowMuch(), Total, 0.05)


async def test_an_answer_in_another_language_is_said_to_be_one(join: Join) -> None:
    here, there = await join("here"), await join("there")
    address = f"noetl.node.{unique()}"
    answers: list[Any] = [Total(0)]
    receive(there, address, CounterInbox, lambda mailed: mailed.answer(answers[-1]))
    await reached(here, address)
    answers.append("a text")
    with pytest.raises(Unreadable, match="can't be read"):
        await RemoteRef[CounterInbox](address, here).ask(HowMuch(), Total, 5.0)


class NewAdd(Struct, frozen=True, tag_field="kind", tag="Add"):
    """As a newer node says it."""

    number: int
    why: str


class OldTotal(Struct, frozen=True):
    """As an older node reads it."""


async def test_nodes_of_two_versions_understand_each_other(join: Join, counters: Counters) -> None:
    here, there = await join("here"), await join("there")
    address = f"noetl.node.{unique()}"
    await counters.start(there, address)
    ref: RemoteRef[Any] = RemoteRef(address, here)
    ref.tell(NewAdd(4, "a field of tomorrow"))
    assert await ref.ask(HowMuch(), Total, 5.0) == Total(4)
    assert await ref.ask(HowMuch(), OldTotal, 5.0) == OldTotal()


@pytest.mark.parametrize("body", [b"", b"\xc1", msgspec.msgpack.encode({"kind": "Unheard"}), msgspec.msgpack.encode({"kind": "Add", "number": "x"})])
async def test_what_can_not_be_read_lies_in_the_dead_letters_and_the_rest_goes_on(join: Join, counters: Counters, body: bytes) -> None:
    here, there = await join("here"), await join("there")
    word = unique()
    address = f"noetl.mailbox.{word}"
    dead: list[tuple[str, bytes]] = []
    here.listen(f"noetl.dead.mailbox.{word}", lambda delivery: dead.append((delivery.subject, delivery.body)))
    await counters.start(there, address)
    here.publish(address, body)
    RemoteRef[CounterInbox](address, here).tell(Add(1))
    assert await RemoteRef[CounterInbox](address, here).ask(HowMuch(), Total, 5.0) == Total(1)
    if isinstance(there, LocalTransport):
        assert [letter[:2] for letter in there._bus.stream.dead] == [(address, body)]
    else:
        assert isinstance(there, NatsBus)
        while not dead:
            await asyncio.sleep(0.001)
        assert dead == [(f"noetl.dead.mailbox.{word}", body)]
