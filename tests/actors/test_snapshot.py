"""What can be seen of a runtime."""

from __future__ import annotations

import time
from typing import Any, ClassVar

import msgspec
import pytest

from noetl.actors.actor import Actor, AsyncActor, Context
from noetl.actors.cell import BUDGET
from noetl.actors.observer import Observer, complete
from noetl.actors.ref import Ref
from noetl.actors.snapshot import SORTS, ActorView, RuntimeView, Sort, Wanted, rates
from noetl.mailbox.mailbox import Mailbox
from noetl.probe import MailboxAtBound
from noetl.supervisors.factory import Factory, StartChild
from noetl.supervisors.spec import ChildSpec
from noetl.testing.world import World


class Sink(Actor[Any]):
    __slots__ = ("last",)
    capacity: ClassVar[int] = 1_000

    def handle(self, message: Any, ctx: Context[Any]) -> None:
        if isinstance(message, Exception):
            raise message
        self.last = message


class Slow(AsyncActor[Any]):
    async def handle(self, message: Any, ctx: Context[Any]) -> None:
        self.last = message


def by_path(view: RuntimeView) -> dict[str, ActorView]:
    return {actor.path: actor for actor in view.every()}


async def test_the_tree_has_every_actor_with_its_kind_state_and_counts(world: World) -> None:
    await world.supervise(ChildSpec(id="a", start=Sink), ChildSpec(id="b", start=Slow))
    a, b = (world.runtime.roots[0].child_records()).keys()
    for number in range(3):
        a.tell(number)
        b.tell(number)
    waiting = by_path(world.runtime.snapshot())
    assert (waiting["top/a"].waiting, waiting["top/b"].waiting, waiting["top"].child_count) == (3, 3, 2)
    await world.settle()
    view = world.runtime.snapshot()
    seen = by_path(view)
    assert list(seen) == ["top", "top/a", "top/b"]
    assert [(actor.kind, actor.state, actor.waiting) for actor in seen.values()] == [
        ("Supervisor", "running", 0),
        ("Sink", "running", 0),
        ("Slow", "running", 0),
    ]
    assert (seen["top/a"].reductions, seen["top/b"].reductions) == (3, 3)
    assert (view.actors, view.queue_length, view.reductions) == (3, 0, sum(actor.reductions for actor in seen.values()))
    assert all(actor.memory_bytes > 100 for actor in seen.values())


async def test_restarts_are_counted_and_the_last_reason_is_known(world: World) -> None:
    await world.supervise(ChildSpec(id="a", start=Sink))
    (a,) = world.runtime.roots[0].child_records()
    for word in ("once", "twice"):
        a.tell(ValueError(word, 7, object()))
        await world.settle()
    seen = by_path(world.runtime.snapshot())["top/a"]
    assert (seen.restarts, seen.last_exit, seen.reductions) == (2, "ValueError: twice, 7, <object>", 2)
    detail = world.runtime.snapshot(Wanted(detail="top/a")).detail
    assert detail is not None
    assert [(note.incarnation, note.reason) for note in detail.exits] == [(1, "ValueError: once, 7, <object>"), (2, "ValueError: twice, 7, <object>")]


async def test_the_number_of_actors_is_that_of_the_tree_whatever_ends_how(world: World) -> None:
    factory = await world.start(Factory, "f")
    for number in range(10):
        factory.tell(StartChild(number, Sink))
    await world.settle()
    children: list[Ref[Any]] = list(world.runtime.roots[0].child_records())
    children[0].kill()
    children[1].tell(ValueError("no"))
    children[2].kill()
    await world.settle()
    view = world.runtime.snapshot()
    assert view.actors == len(list(view.every())) == 8
    await world.runtime.stop(factory)
    assert world.runtime.snapshot().actors == 0


async def test_links_monitors_and_what_waits_are_in_the_details(world: World) -> None:
    class Tied(Sink):
        def handle(self, message: Any, ctx: Context[Any]) -> None:
            if isinstance(message, Ref):
                ctx.link(message)
                ctx.monitor(message)
                ctx.send_after(1000, 1)

    a, b = await world.start(Tied, "a"), await world.start(Sink, "b")
    a.tell(b)
    await world.settle()
    a.tell(1)
    a.tell("two")
    a.tell("three")
    view = world.runtime.snapshot(Wanted(detail="a"))
    detail = view.detail
    assert detail is not None
    assert (detail.links, detail.watching, detail.watched_by, detail.timers) == (("b",), ("b",), (), 1)
    assert detail.waiting == (("str", 2), ("int", 1))
    assert (by_path(view)["b"].links, by_path(view)["b"].monitors) == (1, 1)
    assert world.runtime.snapshot(Wanted(detail="a/none")).detail is None


async def many(world: World, count: int) -> list[Any]:
    factory = await world.start(Factory, "f")
    for number in range(count):
        factory.tell(StartChild(number, Sink))
    await world.settle()
    children = list(world.runtime.roots[0].child_records())
    for place, child in enumerate(children):
        for _ in range(place % 7):
            child.tell("x" * place)
    return children


@pytest.mark.parametrize("sort", SORTS)
async def test_of_many_children_only_the_first_of_an_order_are_listed(world: World, sort: Sort) -> None:
    await many(world, 500)
    keys = {
        "tree": lambda actor: -int(actor.id),
        "mailbox": lambda actor: actor.waiting,
        "rate": lambda actor: actor.reductions,
        "reductions": lambda actor: actor.reductions,
        "restarts": lambda actor: actor.restarts,
        "memory": lambda actor: actor.memory_bytes,
    }
    if sort in ("rate", "reductions"):
        await world.settle()
    every = world.runtime.snapshot().roots[0].children
    listed = world.runtime.snapshot(Wanted(sort=sort, limit=10)).roots[0]
    assert (listed.child_count, len(every)) == (500, 500)
    assert [keys[sort](actor) for actor in listed.children] == sorted(map(keys[sort], every), reverse=True)[:10]


async def test_an_order_by_rate_is_about_what_was_handled_since_the_last_look(world: World) -> None:
    children = await many(world, 200)
    await world.settle()
    observer, wanted = Observer(world.runtime), Wanted(sort="rate", limit=1)
    complete(observer.pieces(wanted))
    children[14].tell("now")  # has handled nothing before
    await world.settle()
    assert [actor.id for actor in complete(observer.pieces(wanted)).roots[0].children] == ["14"]


async def test_depth_and_expanded_say_whose_children_are_listed(world: World) -> None:
    await many(world, 3)
    assert list(by_path(world.runtime.snapshot(Wanted(depth=0)))) == ["f"]
    assert len(by_path(world.runtime.snapshot(Wanted(depth=1)))) == 4
    assert list(by_path(world.runtime.snapshot(Wanted(expanded=())))) == ["f"]
    assert len(by_path(world.runtime.snapshot(Wanted(expanded=("f",))))) == 4


async def test_the_loop_turns_while_a_large_tree_is_looked_at(world: World) -> None:
    await many(world, 5_000)
    pieces = Observer(world.runtime).pieces(Wanted(sort="memory", limit=10))
    assert sum(1 for _ in pieces) > 20
    turns = 0

    def turn() -> None:
        nonlocal turns
        turns += 1
        world.loop.call_soon(turn)

    world.loop.call_soon(turn)
    view = await Observer(world.runtime).look(Wanted(sort="memory"))
    assert len(view.roots[0].children) == 1_000
    assert turns > 1


def test_rates_are_the_difference_of_two_looks() -> None:
    def actor(name: str, reductions: int) -> ActorView:
        return msgspec.convert({**nothing, "id": name, "path": name, "reductions": reductions}, ActorView)

    def look(at_s: float, total: int, **reductions: int) -> RuntimeView:
        return RuntimeView(at_s, at_s, len(reductions), 0, total, None, tuple(actor(*each) for each in reductions.items()))

    nothing = dict.fromkeys(ActorView.__struct_fields__, 0) | {"kind": "", "state": "running", "at_bound": False, "last_exit": None, "children": ()}
    found = rates(look(1.0, 100, a=10, again=50, gone=1), look(3.0, 160, a=30, again=8, new=5))
    assert (found.total, found.of) == (30.0, {"a": 10.0, "again": 4.0})
    assert rates(look(1.0, 5, a=1), look(1.0, 9, a=2)).of == {}


class Owner(Mailbox[int]):
    """Somebody with a mailbox who gets no turns."""

    path = "owner"

    def is_schedulable(self) -> bool:
        return False


async def test_the_age_of_the_oldest_is_never_too_low_and_at_most_one_round_too_high(world: World) -> None:
    """A message comes every second; two of three turns handle 64 of them and fall behind, as on the runtime's own way."""
    owner = Owner(world.runtime)
    owner.accepting, owner.capacity = True, 1_000_000
    now = 0
    owner.tell(now)
    owner.since_s = 0.0
    assert owner.messages is not None
    for turn in range(300):
        for _ in range(BUDGET + 40 if turn < 100 else BUDGET if turn < 200 else BUDGET - 8):
            now += 1
            owner.tell(now)
        before = owner.messages[0]
        for _ in range(BUDGET):
            owner.messages.popleft()
        owner.reductions += BUDGET
        owner.fall_behind(now)
        if not owner.messages:
            break
        oldest, backlog = owner.messages[0], owner.backlog
        assert backlog is not None
        assert owner.since_s <= oldest <= backlog.at_s + 1
        assert oldest > before
    assert owner.since_s > now / 2


async def test_the_age_of_the_oldest_is_the_time_since_it_came_to_an_idle_actor(world: World) -> None:
    sink = await world.start(Sink)
    assert by_path(world.runtime.snapshot())["actor"].oldest_s == 0.0
    before = time.perf_counter()
    sink.tell(1)
    after = time.perf_counter()
    sink.tell(2)
    seen = by_path(world.runtime.snapshot())["actor"].oldest_s
    now = time.perf_counter()
    assert 0 < seen <= now - before
    assert seen <= now - before + (after - before)
    await world.settle()
    assert by_path(world.runtime.snapshot())["actor"].oldest_s == 0.0


async def test_a_mailbox_at_its_bound_is_told_once_until_it_was_empty(world: World) -> None:
    class Small(Sink):
        capacity: ClassVar[int] = 5
        overflow: ClassVar[Any] = "drop_oldest"

    small = await world.start(Small)
    for _ in range(20):
        small.tell(1)
    seen = by_path(world.runtime.snapshot())["actor"]
    assert (seen.waiting, seen.capacity, seen.at_bound) == (5, 5, True)
    await world.settle()
    for _ in range(20):
        small.tell(1)
    told = [news for news in world.news if isinstance(news, MailboxAtBound)]
    assert told == [MailboxAtBound("actor", 5, "drop_oldest")] * 2
