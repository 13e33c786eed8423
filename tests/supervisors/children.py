"""What the tests of supervisors share."""

from __future__ import annotations

import asyncio
from typing import Any

from noetl.actors.actor import Actor, AsyncActor, Context, Reason
from noetl.actors.ref import Ref
from noetl.probe import ActorExited, ActorStarted
from noetl.supervisors.spec import ChildSpec, Restart
from noetl.supervisors.static import which_children
from noetl.testing.world import World

CRASH = OSError("disk gone")


class Worker(Actor[Any]):
    """Stops when told, with the reason if there is one; crashes when told an exception."""

    def handle(self, message: Any, ctx: Context[Any]) -> None:
        if isinstance(message, BaseException):
            raise message
        if message == "stop":
            ctx.stop()
        else:
            ctx.stop(message)


class SlowWorker(AsyncActor[Any]):
    async def init(self, ctx: Context[Any]) -> None:
        await asyncio.sleep(1)

    async def handle(self, message: Any, ctx: Context[Any]) -> None:
        if isinstance(message, BaseException):
            raise message
        ctx.stop()


def spec(id_: str, restart: Restart = "permanent", start: Any = Worker, **rest: Any) -> ChildSpec:
    return ChildSpec(id=id_, start=start, restart=restart, **rest)


async def child(top: Ref[Any], id_: str) -> Ref[Any]:
    found = (await which_children(top))[id_]
    assert found is not None
    return found


async def running(top: Ref[Any]) -> list[str]:
    return [name for name, ref in (await which_children(top)).items() if ref is not None]


def lifecycle(world: World) -> list[str]:
    """Starts and ends so far, such as `+a` and `-a`, without the supervisor's own."""
    return [
        ("+" if isinstance(item, ActorStarted) else "-") + item.path.removeprefix("top/")
        for item in world.news
        if isinstance(item, (ActorStarted, ActorExited)) and item.path != "top"
    ]


def end(ref: Ref[Any], reason: Reason | str) -> None:
    """Let a worker end: `kill`, or with a reason."""
    if reason == "kill":
        ref.kill()
    else:
        ref.tell(reason)
