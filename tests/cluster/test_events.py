"""Committed events come to the bus: all of them, in order, each once."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any

import msgspec
from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from noetl.engine.publisher import Published
from noetl.mailbox.transports.streams import EVENT_STREAM
from tests.cluster.conftest import Cluster

FAN = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: fan, path: sales/fan}
workflow:
  - step: start
    loop: {in: "{{ range(30) | list }}", iterator: n, spec: {mode: parallel, max_in_flight: 6}}
    tool: {kind: python, args: {n: "{{ n }}"}, code: "import time; time.sleep(0.05); result = n"}
"""


async def published(url: str, wanted: dict[int, int]) -> dict[str, list[Published]]:
    """What lies in the stream, by subject, once it has as many events of each execution as are wanted."""
    client = Client()
    await client.connect(servers=[url])
    try:
        streams = client.jetstream()
        config = ConsumerConfig(deliver_policy=DeliverPolicy.ALL, ack_policy=AckPolicy.NONE)
        puller = await streams.pull_subscribe("noetl.events.>", stream=EVENT_STREAM, config=config)
        found: dict[str, list[Published]] = defaultdict(list)
        while not all(last(found, id_) >= version for id_, version in wanted.items()):
            for message in await puller.fetch(100, timeout=20):
                found[message.subject].append(msgspec.json.decode(message.data, type=Published))
        return found
    finally:
        await client.close()


def last(found: dict[str, list[Published]], id_: int) -> int:
    return max((message.version for message in found[f"noetl.events.sales.{id_}"]), default=0)


async def test_all_that_is_committed_is_published_in_order_and_once_though_servers_are_killed(four: Cluster) -> None:
    await four.register(FAN)
    for number in range(6):
        await four.execute("sales/fan", f"s{1 + number % 2}")
    for victim in ("s1", "s2"):
        await four.until_any(lambda events: len(events) > 60)
        four.kill(victim)
        await asyncio.to_thread(four.start, victim)
    history = await four.check()
    rows: dict[int, Any] = {id_: await four.store.log.read(id_) for id_ in four.ids}
    found = await published(four.nats.url, {id_: appends[-1].version for id_, appends in rows.items()})
    assert set(found) == {f"noetl.events.sales.{id_}" for id_ in four.ids}
    for id_, appends in rows.items():
        messages = found[f"noetl.events.sales.{id_}"]
        assert [message.version for message in messages] == [append.version for append in appends]
        views = [view for message in messages for view in message.events or ()]
        assert [view.seq for view in views] == list(range(1, len(history.events[id_]) + 1))
        assert [view.name for view in views] == [type(event).__name__ for event in history.events[id_]]
        assert {message.path for message in messages} == {"sales/fan"}
