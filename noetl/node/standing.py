"""A node that stays up: from its start to its drain."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import secrets
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from noetl.actors.ref import Ref, Reply
from noetl.engine.pool import Drain, pool_name
from noetl.engine.worker import DrainTaker, taker_name
from noetl.gateway.tokens import new_token
from noetl.node.about import node_info
from noetl.node.boot import Node, Serve, running_node
from noetl.node.nodefile import announced
from noetl.node.profile import Profile
from noetl.settings import Settings
from noetl.store.access import Request
from noetl.store.projection import ExecutionQuery
from noetl.store.store import Store

_ADMIN_FILE: Final = "admin.token"
_OPEN: Final = ("pending", "running", "waiting")


class Standing(Struct, frozen=True):
    """What is to run, and where. `say` is told what a person should know."""

    profile: Profile
    settings: Settings
    home: Path
    id: str
    port: int | None
    environment: Mapping[str, str]
    say: Callable[[str], None]


def new_node_id(profile: str) -> str:
    return f"{profile}-{socket.gethostname().partition('.')[0]}-{secrets.token_hex(3)}"


async def stand(wanted: Standing) -> None:
    """Run a node until SIGTERM or SIGINT, or until somebody asks for its end over the API, then drain it; a signal during the drain ends that.

    Raises:
        NoetlError: it does not start.
    """
    api = wanted.settings.api
    asks_who = api.auth == "on" or (api.auth == "auto" and not (wanted.profile.name == "solo" and _is_loopback(api.host)))
    serve = Serve(wanted.id, api.host, api.port if wanted.port is None else wanted.port, asks_who)
    async with running_node(
        wanted.profile, wanted.settings, home=wanted.home, store=None, environment=wanted.environment, title=wanted.profile.name, serve=serve
    ) as node:
        for warning in node.warnings:
            wanted.say(f"warning: {warning}")
        with _signals() as stop, announced(wanted.home, node_info(node.parts), node.parts.owner):
            await _welcome(node, wanted, asks_who=asks_who)
            await _told(node, stop)
            stop.clear()
            await _drain(node, wanted, stop)


async def _welcome(node: Node, wanted: Standing, *, asks_who: bool) -> None:
    store, serving = node.parts.store, node.parts.serving
    assert store is not None
    assert serving is not None
    if serving.url is None:
        wanted.say(f"node {node.id} runs the pools {', '.join(wanted.profile.pools)}")
        return
    if not asks_who:
        wanted.say("callers need no token: it listens on loopback only")
    elif not await store.tokens.all() and await _is_first(store, node):
        wanted.say(f"an admin token was made: {await _make_admin(store, wanted.home, node)}")
    wanted.say(f"node {node.id} listens at {serving.url}")


async def _is_first(store: Store, node: Node) -> bool:
    """Of nodes that find a store empty at the same time, one makes the first token."""
    own = Request("", "first token", b"", node.parts.ids.new(), node.parts.clock.now())
    return (await store.requests.claim(own)).execution_id == own.execution_id


async def _make_admin(store: Store, home: Path, node: Node) -> Path:
    """The first token, in a file that only its owner can read."""
    token, row = new_token("admin", "admin", node.parts.clock.now(), by="the node itself")
    file = home / _ADMIN_FILE
    file.unlink(missing_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, f"{token}\n".encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    await store.tokens.add(row)
    return file


async def _told(node: Node, stop: asyncio.Event) -> None:
    """Until the node is to end: by a signal, over its API, or in a cluster over that of another node."""
    serving, vicinity = node.parts.serving, node.parts.vicinity
    assert serving is not None
    await _first(stop.wait(), serving.told.wait(), vicinity.draining())


async def _first(*waits: Coroutine[Any, Any, object]) -> None:
    async with asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(wait) for wait in waits]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()


async def _drain(node: Node, wanted: Standing, stop: asyncio.Event) -> None:
    """Nothing new starts; what runs may end, unless somebody can't wait."""
    serving = node.parts.serving
    assert serving is not None
    serving.draining = True
    drain_s = wanted.profile.drain_s
    wanted.say(f"draining, for {drain_s:g} s at most")
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(drain_s):
            await _first(_idle(node, wanted.profile), stop.wait())
    await _say_left(node, wanted)


async def _say_left(node: Node, wanted: Standing) -> None:
    if node.parts.profile.is_member:
        if len(node.parts.flights):
            wanted.say(f"{len(node.parts.flights)} calls have not ended: they are lost, and run again elsewhere")
        return
    store = node.parts.store
    assert store is not None
    left = [len(await store.executions.list_executions(ExecutionQuery(status=status, limit=10_000))) for status in _OPEN]
    if any(left):
        wanted.say(f"{sum(left)} executions have not ended: they go on when a node starts on this store")


async def _idle(node: Node, profile: Profile) -> None:
    """Until all slots of all pools have come back, and no other was granted; in a cluster also until others have what this node has."""
    registry, wait_s = node.runtime.registry, profile.drain_s + 1.0
    await asyncio.gather(_shards_left(node), *(_asked(registry.find(taker_name(name)), DrainTaker, wait_s) for name in profile.pools))
    await asyncio.gather(*(_asked(registry.find(pool_name(name)), Drain, wait_s) for name in profile.pools))


async def _asked(ref: Ref[Any] | None, message: Callable[[Reply[None]], Any], wait_s: float) -> None:
    if ref is not None:
        await ref.ask(message, wait_s)


async def _shards_left(node: Node) -> None:
    """Ask to be spared, and wait until this node owns no common shard."""
    store, vicinity = node.parts.store, node.parts.vicinity
    if "shards" not in node.parts.profile.roles or store is None:
        return
    await store.members.drain(node.id)
    while vicinity.owns_shards():
        await vicinity.next_look()


@contextlib.contextmanager
def _signals() -> Iterator[asyncio.Event]:
    """Set when somebody wants the process to end."""
    event = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, event.set)
    try:
        yield event
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
