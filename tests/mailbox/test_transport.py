"""What every transport promises."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

import pytest

from noetl.errors import AskTimeout
from noetl.mailbox.transport import MESSAGE_MAX_BYTES, BusUnavailable, Command, Delivery, Transport
from tests.mailbox.conftest import Join


def unique() -> str:
    """A word that no other test uses: they share a server."""
    return secrets.token_hex(6)


class Heard:
    """What came to a subject."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self._news = asyncio.Event()

    def __call__(self, delivery: Delivery) -> None:
        self.bodies.append(delivery.body)
        self._news.set()

    async def until(self, number: int) -> list[bytes]:
        while len(self.bodies) < number:
            self._news.clear()
            await self._news.wait()
        return self.bodies


def echo(delivery: Delivery) -> None:
    delivery.reply(b"you said " + delivery.body)


async def listening(transport: Transport, subject: str, handle: Any) -> Any:
    """Listens when this returns: a message of its own has come back."""
    arrived = asyncio.Event()

    def hear(delivery: Delivery) -> None:
        if delivery.body == b"are you there":
            arrived.set()
        else:
            handle(delivery)

    ear = transport.listen(subject, hear)
    while not arrived.is_set():
        transport.publish(subject.replace("*", "x").replace(">", "x"), b"are you there")
        await asyncio.sleep(0.001)
    return ear


async def test_what_is_published_reaches_all_who_listen_and_nobody_else(join: Join) -> None:
    one, two, three = await join("one"), await join("two"), await join("three")
    subject, heard = f"noetl.{unique()}", [Heard(), Heard(), Heard()]
    await listening(one, f"{subject}.*", heard[0])
    await listening(two, f"{subject}.a", heard[1])
    await listening(two, f"{subject}.b", heard[2])
    three.publish(f"{subject}.a", b"1")
    three.publish(f"{subject}.a", b"2")
    three.publish(f"{subject}.a.deeper", b"3")
    assert await heard[0].until(2) == [b"1", b"2"]
    assert await heard[1].until(2) == [b"1", b"2"]
    assert heard[2].bodies == []


async def test_a_pattern_may_end_with_any_number_of_words(join: Join) -> None:
    one, two = await join("one"), await join("two")
    subject, heard = f"noetl.{unique()}", Heard()
    await listening(one, f"{subject}.>", heard)
    two.publish(f"{subject}.a.b", b"1")
    two.publish(f"{subject}.c", b"2")
    assert sorted(await heard.until(2)) == [b"1", b"2"]


async def test_a_request_is_answered(join: Join) -> None:
    one, two = await join("one"), await join("two")
    subject = f"noetl.{unique()}"
    await listening(one, subject, echo)
    assert await two.request(subject, b"hello", 5.0) == b"you said hello"
    answers = await asyncio.gather(*(two.request(subject, str(number).encode(), 5.0) for number in range(100)))
    assert answers == [f"you said {number}".encode() for number in range(100)]


async def test_a_request_that_nobody_hears_fails_at_once(join: Join) -> None:
    one = await join("one")
    with pytest.raises(BusUnavailable, match="nobody listens at"):
        await one.request(f"noetl.{unique()}", b"hello", 60.0)


async def test_a_request_that_nobody_answers_ends_at_its_deadline(join: Join) -> None:
    one, two = await join("one"), await join("two")
    subject = f"noetl.{unique()}"
    await listening(one, subject, Heard())
    with pytest.raises(AskTimeout, match=r"within 0\.05 s"):
        await two.request(subject, b"hello", 0.05)


async def test_who_has_stopped_hears_nothing(join: Join) -> None:
    one, two = await join("one"), await join("two")
    subject, heard = f"noetl.{unique()}", Heard()
    ear = await listening(one, subject, heard)
    ear.stop()
    assert await nobody_listens(two, subject)


async def nobody_listens(transport: Transport, subject: str) -> bool:
    """Ask until that is known: what was said to the bus may be on its way."""
    while True:
        try:
            await transport.request(subject, b"hello", 0.2)
        except AskTimeout:
            continue
        except BusUnavailable:
            return True


async def pulled(transport: Transport, pool: str, number: int, most: int = 100) -> list[Command]:
    """That many commands."""
    puller = transport.puller(pool, (f"noetl.commands.{pool}.*",), 30.0)
    found: list[Command] = []
    while len(found) < number:
        found += await puller.pull(min(most, number - len(found)))
    puller.close()
    return found


async def test_commands_wait_for_who_pulls(join: Join) -> None:
    one, two = await join("one"), await join("two")
    pool = unique()
    for number in range(5):
        await one.command(f"noetl.commands.{pool}.{number}", str(number).encode(), f"{pool}-{number}")
    found = await pulled(two, pool, 5)
    assert [(command.subject, command.body, command.deliveries) for command in found] == [
        (f"noetl.commands.{pool}.{number}", str(number).encode(), 1) for number in range(5)
    ]
    for command in found:
        command.ack()


async def test_who_pulls_waits_for_commands_and_gets_no_more_than_it_asked_for(join: Join) -> None:
    one, two = await join("one"), await join("two")
    pool = unique()
    puller = two.puller(pool, (f"noetl.commands.{pool}.*",), 30.0)
    waiting = asyncio.create_task(puller.pull(2))
    await asyncio.sleep(0)
    for number in range(3):
        await one.command(f"noetl.commands.{pool}.5", str(number).encode(), f"{pool}-{number}")
    first = await waiting
    assert 1 <= len(first) <= 2
    rest: list[Command] = []
    while len(first) + len(rest) < 3:
        rest += await puller.pull(2)
    assert [command.body for command in (*first, *rest)] == [b"0", b"1", b"2"]
    for command in (*first, *rest):
        command.ack()
    puller.close()


async def test_two_commands_of_one_id_are_one(join: Join) -> None:
    one, two = await join("one"), await join("two")
    pool = unique()
    for body, message_id in ((b"1", "a"), (b"1", "a"), (b"2", "b")):
        await one.command(f"noetl.commands.{pool}.5", body, f"{pool}-{message_id}")
    assert [command.body for command in await pulled(two, pool, 2)] == [b"1", b"2"]


async def test_each_command_goes_to_one_of_those_who_pull(join: Join) -> None:
    one, two, three = await join("one"), await join("two"), await join("three")
    pool, seen = unique(), []
    pullers = [transport.puller(pool, (f"noetl.commands.{pool}.*",), 30.0) for transport in (two, three)]

    async def take(puller: Any) -> None:
        while len(seen) < 50:
            for command in await puller.pull(4):
                seen.append(command.body)
                command.ack()

    takers = [asyncio.create_task(take(puller)) for puller in pullers]
    for number in range(50):
        await one.command(f"noetl.commands.{pool}.5", str(number).encode(), f"{pool}-{number}")
    await asyncio.wait(takers, return_when=asyncio.FIRST_COMPLETED)
    for puller, taker in zip(pullers, takers, strict=True):
        puller.close()
        taker.cancel()
    await asyncio.gather(*takers, return_exceptions=True)
    assert sorted(seen, key=int) == [str(number).encode() for number in range(50)]


async def test_a_command_that_is_not_acked_in_time_comes_again_and_one_that_is_does_not(join: Join) -> None:
    one, two = await join("one"), await join("two")
    pool = unique()
    puller = two.puller(pool, (f"noetl.commands.{pool}.*",), 0.2)
    for body in (b"kept", b"dropped"):
        await one.command(f"noetl.commands.{pool}.5", body, f"{pool}-{body.decode()}")
    found: list[Command] = []
    while len(found) < 2:
        found += await puller.pull(2 - len(found))
    found[0].ack()
    again = (await puller.pull(1))[0]
    assert (again.body, again.deliveries) == (b"dropped", 2)
    again.ack()
    puller.close()


async def test_a_command_that_is_given_back_comes_at_once_to_who_pulls(join: Join) -> None:
    one, two, three = await join("one"), await join("two"), await join("three")
    pool = unique()
    first, second = (node.puller(pool, (f"noetl.commands.{pool}.*",), 3_600.0) for node in (two, three))
    await one.command(f"noetl.commands.{pool}.5", b"x", pool)
    (command,) = await first.pull(1)
    command.give_back()
    (again,) = await second.pull(1)
    assert (again.body, again.deliveries) == (b"x", 2)
    again.ack()
    for puller in (first, second):
        puller.close()


async def test_a_puller_that_rests_leaves_what_comes_to_others_and_may_pull_again(join: Join) -> None:
    one, two, three = await join("one"), await join("two"), await join("three")
    pool = unique()
    first, second = (node.puller(pool, (f"noetl.commands.{pool}.*",), 3_600.0) for node in (two, three))
    waiting = asyncio.create_task(first.pull(8))
    await one.command(f"noetl.commands.{pool}.5", b"0", f"{pool}-0")
    (command,) = await waiting
    command.ack()
    waiting = asyncio.create_task(first.pull(8))
    await asyncio.sleep(0.05)  # what it has asked for lies at the server
    first.rest()
    with pytest.raises(BusUnavailable):
        await waiting
    await two.command(f"noetl.commands.{unique()}.5", b"", unique())  # behind what the server was told by `rest`
    for number in range(1, 5):
        await one.command(f"noetl.commands.{pool}.5", b"%d" % number, f"{pool}-{number}")
        (command,) = await second.pull(1)
        assert command.body == b"%d" % number
        command.ack()
    second.close()
    await one.command(f"noetl.commands.{pool}.5", b"5", f"{pool}-5")
    (command,) = await first.pull(1)
    assert command.body == b"5"
    command.ack()
    first.close()


async def test_a_command_that_can_not_be_read_never_comes_again(join: Join) -> None:
    one, two = await join("one"), await join("two")
    pool = unique()
    puller = two.puller(pool, (f"noetl.commands.{pool}.*",), 0.2)
    await one.command(f"noetl.commands.{pool}.5", b"garbage", f"{pool}-1")
    (await puller.pull(1))[0].term("it can't be read")
    await asyncio.sleep(0.3)
    await one.command(f"noetl.commands.{pool}.5", b"after", f"{pool}-2")
    assert [command.body for command in await puller.pull(2)] == [b"after"]
    puller.close()


async def test_the_largest_message_arrives(join: Join) -> None:
    one, two = await join("one"), await join("two")
    subject = f"noetl.{unique()}"
    await listening(one, subject, lambda delivery: delivery.reply(delivery.body))
    large = bytes(MESSAGE_MAX_BYTES)
    assert await two.request(subject, large, 10.0) == large


async def test_events_are_taken_by_their_stream(join: Join) -> None:
    one = await join("one")
    await one.event(f"noetl.events.{unique()}.1", b"news", unique())
