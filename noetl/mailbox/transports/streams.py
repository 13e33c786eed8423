"""The streams of JetStream that nodes use, made when they are not there, also when somebody deletes them while they are used."""

from __future__ import annotations

from typing import Any, Final

from nats.js.api import AckPolicy, ConsumerConfig, DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import NotFoundError
from nats.js.manager import JetStreamManager

from noetl.mailbox.address import COMMANDS, DEAD, EVENTS, word

COMMAND_STREAM: Final = "NOETL_COMMANDS"
EVENT_STREAM: Final = "NOETL_EVENTS"
DEAD_STREAM: Final = "NOETL_DEAD"
_DAY_S: Final = 86_400.0
_DUPLICATES_S: Final = 120.0
_IDLE_S: Final = 600.0
"""A consumer that nobody pulls from for so long is deleted."""


def configs(replicas: int) -> tuple[StreamConfig, ...]:
    """Commands are deleted when they are acked; a day later at the latest, for what waits is sent again. Events and dead letters by their age."""
    common: dict[str, Any] = {
        "storage": StorageType.FILE,
        "num_replicas": replicas,
        "duplicate_window": _DUPLICATES_S,
        "discard": DiscardPolicy.OLD,
    }
    return (
        StreamConfig(name=COMMAND_STREAM, subjects=[f"{COMMANDS}.>"], retention=RetentionPolicy.WORK_QUEUE, max_age=_DAY_S, **common),
        StreamConfig(name=EVENT_STREAM, subjects=[f"{EVENTS}.>"], max_age=7 * _DAY_S, max_bytes=1 << 30, **common),
        StreamConfig(name=DEAD_STREAM, subjects=[f"{DEAD}.>"], max_age=30 * _DAY_S, max_bytes=64 << 20, **common),
    )


class Streams:
    """On one connection. `born` says when the stream of commands was made."""

    def __init__(self, manager: JetStreamManager, replicas: int) -> None:
        self._manager = manager
        self._replicas = replicas
        self.born: str | None = None

    async def ensure(self) -> None:
        """Raises `nats.errors.Error`, `TimeoutError`."""
        for config in configs(self._replicas):
            assert config.name is not None
            try:
                info = await self._manager.stream_info(config.name)
            except NotFoundError:
                info = await self._manager.add_stream(config)
            if config.name == COMMAND_STREAM:
                self.born = str(info.created)

    async def make_consumer(self, name: str, subjects: tuple[str, ...], ack_within_s: float) -> None:
        """Nothing when it is there."""
        await self._manager.add_consumer(
            COMMAND_STREAM,
            ConsumerConfig(
                durable_name=self.consumer_name(name),
                filter_subjects=list(subjects),
                ack_policy=AckPolicy.EXPLICIT,
                ack_wait=ack_within_s,
                max_ack_pending=100_000,
                max_waiting=2_048,
                inactive_threshold=_IDLE_S,
            ),
        )

    @staticmethod
    def consumer_name(name: str) -> str:
        return word(name)
