"""Commands in the stream, and who is told to send one again: on virtual time."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from noetl.actors.actor import Actor, Context
from noetl.actors.ref import Ref
from noetl.cluster.membership import ClusterSeen, Vicinity
from noetl.engine.dispatcher import Dispatcher
from noetl.engine.remote import Send, Sent, Want, Withdraw
from noetl.mailbox.transports.local import LocalBus
from noetl.store.members import Cluster, Member, PoolRow
from noetl.testing.world import World
from tests.cluster.members import member


class Said(Struct, frozen=True):
    by: str
    message: Any


class Attempt(Actor[Any]):
    """Says what it is told."""

    def __init__(self, name: str, world: World) -> None:
        self._name = name
        self._world = world

    def handle(self, message: Any, ctx: Context[Any]) -> None:
        self._world.tell_news(Said(self._name, message))


def worker(name: str) -> Member:
    return member(name, roles=("steps",), pools={"default": PoolRow(slots=1, tools=("*",))})


class Stage:
    """A dispatcher of one server, whose window is of eight commands."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.bus = LocalBus()
        self.vicinity = Vicinity()
        self.workers = [worker("w1"), worker("w2")]
        self.queued: dict[str, int] = {}
        self.attempts: dict[str, Ref[Any]] = {}

    async def begin(self) -> Stage:
        self.vicinity.see(Cluster(tuple(self.workers), ()))
        transport = self.bus.transport("s1")
        self.dispatcher = await self.world.start(lambda: Dispatcher(transport, self.vicinity, self.queued), "dispatcher")
        return self

    def see(self, workers: int) -> None:
        """So many of them are there."""
        cluster = Cluster(tuple(self.workers[:workers]), ())
        self.vicinity.see(cluster)
        self.dispatcher.report(ClusterSeen(cluster))

    async def want(self, name: str) -> None:
        self.attempts[name] = await self.world.start(lambda: Attempt(name, self.world), name)
        self.dispatcher.report(Want(self.attempts[name], "default", 0, "", "noetl.commands.default.0", b"", name))

    async def told(self) -> list[tuple[str, Any]]:
        """What attempts were told since the last time."""
        await self.world.settle()
        said = [(item.by, item.message) for item in self.world.news if isinstance(item, Said)]
        self.world.news.clear()
        return said


async def test_what_is_in_the_stream_is_sent_again_when_a_worker_is_gone_that_may_have_been_given_it(world: World) -> None:
    stage = await Stage(world).begin()
    for number in range(9):
        await stage.want(f"{number}")
    assert await stage.told() == [(f"{number}", Sent(None)) for number in range(8)], "the window is full"
    stage.dispatcher.report(Withdraw(stage.attempts["0"], "default"))
    assert await stage.told() == [("8", Sent(None))]
    stage.see(2)
    assert await stage.told() == []
    stage.see(1)
    assert await stage.told() == [(f"{number}", Send()) for number in range(1, 9)], "but not what was claimed"


async def test_what_is_in_the_stream_is_sent_again_when_the_stream_is_a_new_one(world: World) -> None:
    stage = await Stage(world).begin()
    await stage.want("sent")
    assert await stage.told() == [("sent", Sent(None))]
    stage.bus.drop_stream()
    assert await stage.told() == [("sent", Send())]
