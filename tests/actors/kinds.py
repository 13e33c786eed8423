"""Actors that several tests use."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar, NamedTuple

import pytest

from noetl.actors.actor import Actor, AsyncActor, Context, Overflow, Reason, Signal
from noetl.actors.ref import Reply
from noetl.testing.world import World


class Counter(Actor[Any]):
    """Adds what it is told; a Reply gets the sum."""

    def init(self, ctx: Context[Any]) -> None:
        self.sum = 0

    def handle(self, message: Any, ctx: Context[Any]) -> None:
        if isinstance(message, Reply):
            message.send(self.sum)
        elif isinstance(message, BaseException):
            raise message
        elif message == "stop":
            ctx.stop()
        else:
            self.sum += message


class AsyncCounter(AsyncActor[Any]):
    async def init(self, ctx: Context[Any]) -> None:
        await asyncio.sleep(0)
        self.sum = 0

    async def handle(self, message: Any, ctx: Context[Any]) -> None:
        await asyncio.sleep(0)
        if isinstance(message, Reply):
            message.send(self.sum)
        elif isinstance(message, BaseException):
            raise message
        elif message == "stop":
            ctx.stop()
        else:
            self.sum += message


both_kinds = pytest.mark.parametrize("kind", [Counter, AsyncCounter])


class Bounded(Actor[Any]):
    capacity: ClassVar[int] = 3

    def __init__(self, seen: list[Any]) -> None:
        self.seen = seen

    def handle(self, message: Any, ctx: Context[Any]) -> None:
        self.seen.append(message)


class Dropping(Bounded):
    overflow: ClassVar[Overflow] = "drop_oldest"


class Watcher(Actor[Any]):
    def __init__(self, world: World) -> None:
        self._world = world

    def handle(self, message: Any, ctx: Context[Any]) -> None:
        ctx.monitor(message)

    def signal(self, signal: Signal, ctx: Context[Any]) -> None:
        self._world.tell_news(signal)


class Ended(NamedTuple):
    """Said by `terminate`."""

    path: str
    reason: Reason


class Doer(Actor[Any]):
    """Does what it is told: a message is a function of its context. Says what it hears, and that it ends."""

    def __init__(self, world: World) -> None:
        self.world = world

    def handle(self, message: Any, ctx: Context[Any]) -> None:
        message(ctx)

    def signal(self, signal: Signal, ctx: Context[Any]) -> None:
        self.world.tell_news(signal)

    def terminate(self, reason: Reason, ctx: Context[Any]) -> None:
        self.world.tell_news(Ended(ctx.path, reason))


class Trapper(Doer):
    trap_exit: ClassVar[bool] = True


class AsyncDoer(AsyncActor[Any]):
    """As `Doer`; a message is a coroutine function."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def handle(self, message: Any, ctx: Context[Any]) -> None:
        await message(ctx)

    async def signal(self, signal: Signal, ctx: Context[Any]) -> None:
        self.world.tell_news(signal)

    async def terminate(self, reason: Reason, ctx: Context[Any]) -> None:
        self.world.tell_news(Ended(ctx.path, reason))


class AsyncTrapper(AsyncDoer):
    trap_exit: ClassVar[bool] = True


def failing(error: BaseException) -> Callable[[Any], None]:
    def fail(ctx: Any) -> None:
        raise error

    return fail


async def for_ever(ctx: Any) -> None:
    await asyncio.sleep(10**9)


def slowly(work: Callable[[Any], None]) -> Callable[[Any], Coroutine[Any, Any, None]]:
    """What a `Doer` can do, for an `AsyncDoer`."""

    async def do(ctx: Any) -> None:
        work(ctx)

    return do


def of(world: World, kind: type[Any]) -> list[Any]:
    """The news of a kind that were not taken yet."""
    return [item for item in world.news if isinstance(item, kind)]
