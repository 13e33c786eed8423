"""Mailboxes at their bound."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from noetl.actors.actor import Actor, Context
from noetl.errors import ActorDead, MailboxFull
from noetl.probe import ActorExited
from noetl.testing.world import World
from tests.actors.kinds import (
    AsyncDoer,
    Bounded,
    Doer,
    Dropping,
    slowly,
)


async def test_a_full_mailbox_rejects_the_sender(world: World) -> None:
    seen: list[Any] = []
    ref = await world.start(lambda: Bounded(seen))
    for number in range(3):
        ref.tell(number)
    with pytest.raises(MailboxFull):
        ref.tell(3)
    await world.settle()
    assert seen == [0, 1, 2]


async def test_an_outcome_is_never_refused(world: World) -> None:
    seen: list[Any] = []
    ref = await world.start(lambda: Bounded(seen))
    for number in range(10):
        ref.report(number)
    await world.settle()
    assert seen == list(range(10))


async def test_a_mailbox_that_drops_keeps_the_newest(world: World) -> None:
    seen: list[Any] = []
    ref = await world.start(lambda: Dropping(seen))
    for number in range(5):
        ref.tell(number)
    await world.settle()
    assert seen == [2, 3, 4]


async def test_a_sender_that_is_no_actor_can_wait_for_room(world: World) -> None:
    seen: list[Any] = []
    ref = await world.start(lambda: Bounded(seen))
    for number in range(10):
        await ref.send(number)
    await world.settle()
    assert seen == list(range(10))


async def test_what_is_reported_is_not_dropped_by_a_mailbox_that_drops(world: World) -> None:
    seen: list[Any] = []
    ref = await world.start(lambda: Dropping(seen))
    ref.report("outcome")
    for number in range(4):
        ref.tell(number)
    ref.report("outcome")
    ref.tell(4)
    await world.settle()
    assert seen == ["outcome", 3, "outcome", 4]


async def test_where_only_outcomes_wait_the_new_message_is_the_one_that_is_dropped(world: World) -> None:
    seen: list[Any] = []
    ref = await world.start(lambda: Dropping(seen))
    for number in range(5):
        ref.report(number)
    ref.tell("new")
    await world.settle()
    assert seen == list(range(5))


async def test_a_timer_is_not_refused_by_a_full_mailbox(world: World) -> None:
    seen: list[Any] = []

    class Setting(Bounded):
        def init(self, ctx: Context[Any]) -> None:
            ctx.send_after(0.0, "timer")

    ref = await world.start(lambda: Setting(seen))
    for number in range(3):
        ref.tell(number)
    await world.settle()
    assert "timer" in seen


@pytest.mark.parametrize("kind", [Bounded, Dropping])
async def test_a_crash_in_a_bounded_mailbox_names_the_message_itself(world: World, kind: Any) -> None:
    class Failing(kind):  # type: ignore[misc]
        def handle(self, message: Any, ctx: Context[Any]) -> None:
            raise message

    ref = await world.start(lambda: Failing([]))
    error = OSError()
    ref.report(error)
    assert (await world.next(ActorExited)).message is error


async def test_an_actor_does_not_wait_for_room_but_a_task_of_its_own_does(world: World) -> None:
    seen: list[Any] = []

    async def flood(ctx: Context[Any]) -> None:
        for number in range(3):
            await full.send(number)
        with pytest.raises(MailboxFull):
            await full.send(3)
        ctx.run(full.send("later"), lambda outcome: slowly(lambda _: world.tell_news(("sent", outcome))))

    full = await world.start(lambda: Bounded(seen), "full")
    ref = await world.start(lambda: AsyncDoer(world), "flooding")
    ref.tell(flood)
    assert await world.next(tuple) == ("sent", None)
    assert seen == [0, 1, 2, "later"]


async def test_a_sender_that_gives_up_waiting_hands_its_place_on(world: World) -> None:
    seen: list[Any] = []

    class Cancelling(Actor[Any]):
        """Has its turn after the mailbox was emptied, and before those who were let in go on."""

        def handle(self, message: Any, ctx: Context[Any]) -> None:
            for number in range(3):
                waiting[number].cancel()

    ref, cancelling = await world.start(lambda: Bounded(seen), "bounded"), await world.start(Cancelling, "cancelling")
    waiting = [asyncio.ensure_future(ref.send(f"waits {number}")) for number in range(8)]
    for number in range(3):
        ref.tell(number)
    cancelling.tell("go")
    await world.settle()
    assert seen == [0, 1, 2, *(f"waits {number}" for number in range(3, 8))]


async def test_those_who_wait_for_room_are_told_when_the_actor_ends(world: World) -> None:
    ref, killing = await world.start(lambda: Bounded([])), await world.start(lambda: Doer(world), "killing")
    waiting = asyncio.ensure_future(ref.send(3))
    killing.tell(lambda ctx: ref.kill())
    for number in range(3):
        ref.tell(number)
    with pytest.raises(ActorDead):
        await waiting
