"""config/nats.conf: what each kind of node may say and hear, tried on a server that runs with it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from nats.aio.client import Client

from noetl.mailbox.transports.jetstream import NatsBus
from noetl.mailbox.transports.streams import configs
from noetl.settings import NatsSettings
from noetl.store.artifact import BucketUnavailable
from noetl.store.artifacts.nats_bucket import NatsBucket
from noetl.values import content_hash
from tests.nats import Nats

CONF = Path(__file__).parents[2] / "config" / "nats.conf"
USERS = ("server", "worker", "observer")
MAY_PUBLISH = {
    "noetl.commands.python.5": {"server"},
    "noetl.mailbox.3.12": {"server", "worker"},
    "noetl.node.w1": {"server"},
    "noetl.nodes": {"server"},
    "noetl.events.sales.12": {"server"},
    "noetl.dead.python.5": {"server", "worker"},
    "$JS.API.STREAM.DELETE.NOETL_COMMANDS": {"server"},
    "$JS.API.STREAM.PURGE.NOETL_EVENTS": {"server"},
    "$JS.API.CONSUMER.MSG.NEXT.NOETL_COMMANDS.python": {"server", "worker"},
    "$JS.API.CONSUMER.MSG.NEXT.NOETL_EVENTS.view": {"server", "worker", "observer"},
    "$O.noetl-artifacts.C.x": {"server", "worker"},
    "somebody.else": set(),
}
MAY_HEAR = {
    "noetl.mailbox.*.*": {"server"},
    "noetl.node.w1": {"server", "worker"},
    "noetl.nodes": {"server", "worker"},
    "noetl.commands.>": set(),
    "noetl.events.>": {"observer"},
    "$O.noetl-artifacts.>": set(),
    ">": set(),
}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("nats")
    variables = {
        "LOCAL_NATS_LISTEN": "127.0.0.1:0",
        "LOCAL_NATS_DIR": str(folder),
        "LOCAL_NATS_LOG": str(folder / "log"),
        **{f"LOCAL_NATS_{user.upper()}_PASSWORD": f"secret-of-{user}" for user in USERS},
    }
    with Nats(conf=CONF, environment=variables) as nats:
        yield f"127.0.0.1:{nats.port}"


def address(url: str, user: str, password: str | None = None) -> str:
    return f"nats://{user}:{password or f'secret-of-{user}'}@{url}"


@asynccontextmanager
async def connected(url: str, user: str) -> AsyncIterator[tuple[Client, list[str]]]:
    """A client, and the violations that it is told of."""
    violations: list[str] = []

    async def told(error: Exception) -> None:
        violations.append(str(error))

    client = Client()
    await client.connect(servers=[address(url, user)], error_cb=told, allow_reconnect=False)
    try:
        yield client, violations
    finally:
        await client.close()


async def answered(client: Client) -> None:
    """The server has looked at all that was sent before, and its errors have come."""
    await client.flush()
    await client.flush()


@pytest.mark.parametrize("user", USERS)
async def test_who_may_say_what(url: str, user: str) -> None:
    for subject, allowed in MAY_PUBLISH.items():
        async with connected(url, user) as (client, violations):
            await client.publish(subject, b"")
            await answered(client)
            assert (violations == []) == (user in allowed), (user, subject, violations)


@pytest.mark.parametrize("user", USERS)
async def test_who_may_hear_what(url: str, user: str) -> None:
    for subject, allowed in MAY_HEAR.items():
        async with connected(url, user) as (client, violations):
            await client.subscribe(subject)
            await answered(client)
            assert (violations == []) == (user in allowed), (user, subject, violations)


@pytest.mark.parametrize("user", ["server", "worker"])
async def test_a_node_has_all_that_it_needs(url: str, user: str) -> None:
    settings = NatsSettings(urls=(address(url, user),))
    bus = NatsBus(settings, user)
    await bus.connect()
    try:
        assert await bus.check(5.0)
        puller = bus.puller("permitted", ("noetl.commands.permitted.*",), 5.0)
        if user == "server":
            await bus.command("noetl.commands.permitted.5", b"x", "1")
            (command,) = await puller.pull(1)
            command.ack()
    finally:
        puller.close()
        await bus.close()
    bucket = NatsBucket(settings, "noetl-artifacts")
    try:
        data = user.encode() * 100_000
        await bucket.put(content_hash(data), data)
        assert await bucket.get(content_hash(data)) == data
    finally:
        await bucket.close()


async def test_an_observer_has_no_artifacts(url: str) -> None:
    bucket = NatsBucket(NatsSettings(urls=(address(url, "observer"),), connect_timeout_s=0.3), "noetl-artifacts")
    try:
        with pytest.raises(BucketUnavailable):
            await bucket.has("0" * 64)
    finally:
        await bucket.close()


async def test_a_wrong_password_is_no_user(url: str) -> None:
    client = Client()
    with pytest.raises(Exception, match=r"(?i)authorization"):
        await client.connect(servers=[address(url, "server", "wrong")], allow_reconnect=False, max_reconnect_attempts=0)
    await client.close()


def test_every_stream_of_ours_is_named_in_the_table() -> None:
    for config in configs(1):
        assert config.subjects is not None
        assert any(subject.startswith(config.subjects[0].rstrip(">")) for subject in MAY_PUBLISH)
