"""Links and exit signals."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import pytest

from noetl.actors.actor import KILL, KILLED, NOPROC, NORMAL, SHUTDOWN, Actor, Context, Exit, Reason, Signal
from noetl.actors.cell import Cell
from noetl.actors.ref import Ref
from noetl.probe import ActorExited
from noetl.testing.world import World
from tests.actors.kinds import (
    AsyncDoer,
    AsyncTrapper,
    Counter,
    Doer,
    Ended,
    Trapper,
    failing,
    for_ever,
    of,
    slowly,
)


async def test_the_exit_of_a_linked_actor_ends_its_partner_unless_the_partner_traps_exits(world: World) -> None:
    class Linked(Actor[Any]):
        def handle(self, message: Any, ctx: Context[Any]) -> None:
            ctx.link(message)

        def signal(self, signal: Signal, ctx: Context[Any]) -> None:
            assert isinstance(signal, Exit)
            world.tell_news(("trapped", signal.reason))

    class Trapping(Linked):
        trap_exit: ClassVar[bool] = True

    target = await world.start(Counter, "target")
    plain, trapping = await world.start(Linked, "plain"), await world.start(Trapping, "trapping")
    plain.tell(target)
    trapping.tell(target)
    await world.settle()
    error = OSError("gone")
    target.tell(error)
    await world.settle()
    assert not plain.is_alive()
    assert trapping.is_alive()
    assert ("trapped", error) in world.news


async def test_a_normal_exit_leaves_linked_actors_alone(world: World) -> None:
    class Linked(Actor[Any]):
        def handle(self, message: Any, ctx: Context[Any]) -> None:
            ctx.link(message)

    target, partner = await world.start(Counter, "target"), await world.start(Linked, "partner")
    partner.tell(target)
    await world.settle()
    target.tell("stop")
    await world.settle()
    assert not target.is_alive()
    assert partner.is_alive()


BROKEN = OSError("broken")


def doer(world: World, kind: Any = Doer) -> Any:
    return lambda: kind(world)


def told(ref: Ref[Any], work: Any) -> None:
    """Let a `Doer` or an `AsyncDoer` do it."""
    ref.tell(slowly(work) if "async" in ref.path else work)


KINDS = [("plain", Doer), ("plain-trapping", Trapper), ("async", AsyncDoer), ("async-trapping", AsyncTrapper)]
kinds = pytest.mark.parametrize(("name", "kind"), KINDS, ids=[name for name, _ in KINDS])


@pytest.mark.parametrize("reason", [NORMAL, SHUTDOWN, KILLED, BROKEN], ids=["normal", "shutdown", "killed", "error"])
@pytest.mark.parametrize("is_linker", [True, False], ids=["the-linker", "the-linked"])
@kinds
async def test_an_exit_goes_through_a_link_in_both_directions(world: World, name: str, kind: Any, is_linker: bool, reason: Reason) -> None:
    survivor = await world.start(doer(world, kind), name)
    other = await world.start(doer(world), "plain-other")
    if is_linker:
        told(survivor, lambda ctx: ctx.link(other))
    else:
        told(other, lambda ctx: ctx.link(survivor))
    await world.settle()
    world.news.clear()
    if reason is KILLED:
        other.kill()
    else:
        told(other, lambda ctx: ctx.stop(reason))
    await world.settle()
    signals = [(signal.ref, signal.reason) for signal in of(world, Exit)]
    if "trapping" in name:
        assert signals == [(other, reason)]
        assert survivor.is_alive()
    else:
        assert signals == []
        assert survivor.is_alive() == (reason is NORMAL)
        assert [ended.reason for ended in of(world, Ended) if ended.path == name] == ([] if reason is NORMAL else [reason])


@kinds
async def test_a_link_to_a_dead_actor_is_an_exit_with_noproc(world: World, name: str, kind: Any) -> None:
    dead = await world.start(doer(world), "dead")
    dead.kill()
    ref = await world.start(doer(world, kind), name)
    told(ref, lambda ctx: ctx.link(dead))
    await world.settle()
    assert [signal.reason for signal in of(world, Exit)] == ([NOPROC] if "trapping" in name else [])
    assert ref.is_alive() == ("trapping" in name)


@pytest.mark.parametrize("reason", [NORMAL, SHUTDOWN, KILLED, KILL, BROKEN], ids=["normal", "shutdown", "killed", "kill", "error"])
@pytest.mark.parametrize("sender", ["itself", "another", "nobody"])
@kinds
async def test_exit_reason_against_who_sent_it_and_who_gets_it(world: World, name: str, kind: Any, sender: str, reason: Reason) -> None:
    target = await world.start(doer(world, kind), name)
    other = await world.start(doer(world), "plain-other")
    if sender == "nobody":
        target.exit(reason)
    else:
        told(target if sender == "itself" else other, lambda ctx: ctx.exit(target, reason))
    await world.settle()
    ends = reason is KILL or ("trapping" not in name and (reason is not NORMAL or sender == "itself"))
    assert target.is_alive() == (not ends)
    traps = "trapping" in name and reason is not KILL
    assert [(signal.ref, signal.reason) for signal in of(world, Exit)] == ([(other if sender == "another" else target, reason)] if traps else [])
    if ends:
        expected = KILLED if reason is KILL else reason
        assert [item.reason for item in of(world, ActorExited) if item.path == name] == [expected]
        assert of(world, Ended) == ([] if reason is KILL else [Ended(name, reason)])


async def test_an_exit_cancels_the_handler_of_an_async_actor_once_so_that_it_can_clean_up(world: World) -> None:
    async def work(ctx: Context[Any]) -> None:
        try:
            await for_ever(ctx)
        finally:
            await asyncio.sleep(2)
            world.tell_news("cleaned up")

    ref = await world.start(doer(world, AsyncDoer))
    ref.tell(work)
    await world.settle()
    for _ in range(3):
        ref.exit(BROKEN)
        await world.settle()
    await world.pass_time(3)
    assert "cleaned up" in world.news
    assert of(world, Ended) == [Ended("actor", BROKEN)]


async def test_an_exit_ends_an_async_start(world: World) -> None:
    class Starting(AsyncDoer):
        async def init(self, ctx: Context[Any]) -> None:
            world.tell_news(ctx.self_ref)
            await for_ever(ctx)

    starting = asyncio.ensure_future(world.runtime.start(lambda: Starting(world), "starting"))
    (await world.next(Cell)).exit(BROKEN)
    with pytest.raises(OSError, match="broken"):
        await starting
    assert of(world, Ended) == []


async def test_after_unlink_no_exit_comes_not_even_one_that_waits(world: World) -> None:
    ref, other = await world.start(doer(world, Trapper), "one"), await world.start(doer(world), "other")
    ref.tell(lambda ctx: ctx.link(other))
    await world.settle()

    def kill_then_unlink(ctx: Context[Any]) -> None:
        other.kill()
        ctx.unlink(other)

    ref.tell(kill_then_unlink)
    await world.settle()
    assert of(world, Exit) == []


async def test_a_plain_actor_that_unlinks_before_it_handles_the_exit_lives_on(world: World) -> None:
    ref, other = await world.start(doer(world), "one"), await world.start(doer(world), "other")

    def all_at_once(ctx: Context[Any]) -> None:
        ctx.link(other)
        other.kill()
        ctx.unlink(other)

    ref.tell(all_at_once)
    await world.settle()
    assert ref.is_alive()


async def test_unlinking_from_either_side_is_enough_and_linking_twice_is_linking_once(world: World) -> None:
    ref, other = await world.start(doer(world, Trapper), "one"), await world.start(doer(world), "other")
    ref.tell(lambda ctx: ctx.link(other))
    ref.tell(lambda ctx: ctx.link(other))
    other.tell(lambda ctx: ctx.unlink(ref))
    await world.settle()
    other.kill()
    await world.settle()
    assert of(world, Exit) == []


async def test_a_link_to_oneself_or_to_a_child_changes_nothing(world: World) -> None:
    ref = await world.start(doer(world, Trapper))
    ref.tell(lambda ctx: ctx.link(ctx.self_ref))

    def work(ctx: Context[Any]) -> None:
        child = ctx.spawn(doer(world), "child")
        ctx.link(child)
        ctx.unlink(child)
        child.kill()

    ref.tell(work)
    await world.settle()
    assert [signal.ref.path for signal in of(world, Exit)] == ["actor/child"]


@pytest.mark.parametrize(
    ("reason", "parent_lives"), [(NORMAL, True), (SHUTDOWN, True), (KILLED, False), (BROKEN, False)], ids=["normal", "shutdown", "killed", "error"]
)
async def test_the_end_of_a_child_is_an_exit_of_its_parent_unless_it_was_normal_or_a_shutdown(
    world: World, reason: Reason, parent_lives: bool
) -> None:
    parent = await world.start(doer(world), "parent")
    parent.tell(lambda ctx: world.tell_news(ctx.spawn(doer(world), "child")))
    child = await world.next(Cell)
    if reason is KILLED:
        child.kill()
    else:
        child.tell(lambda ctx: ctx.stop(reason))
    await world.settle()
    assert parent.is_alive() == parent_lives


async def test_exits_through_a_chain_of_links_carry_the_first_reason(world: World) -> None:
    refs = [await world.start(doer(world), f"plain-{number}") for number in range(5)]
    for number in range(4):
        refs[number].tell(lambda ctx, number=number: ctx.link(refs[number + 1]))
    await world.settle()
    refs[2].tell(failing(BROKEN))
    await world.settle()
    assert {ended.path: ended.reason for ended in of(world, Ended)} == {f"plain-{number}": BROKEN for number in range(5)}
