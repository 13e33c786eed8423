"""A bucket in the object store of NATS JetStream, on a connection of its own: what is large does not hold up the bus."""

from __future__ import annotations

import asyncio
import io
from typing import Final

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.api import ObjectStoreConfig, StorageType
from nats.js.errors import BucketNotFoundError, ObjectNotFoundError
from nats.js.object_store import ObjectStore

from noetl.settings import NatsSettings
from noetl.store.artifact import BucketUnavailable

_LEAST_S: Final = 10.0
_SLOWEST_BYTES_PER_S: Final = 4_000_000
"""A transfer that is slower has lost something on its way, and begins again."""


class NatsBucket:
    """`name` is that of the bucket; it is made when it is not there."""

    def __init__(self, settings: NatsSettings, name: str) -> None:
        self._settings = settings
        self._name = name
        self._client: Client | None = None
        self._objects: ObjectStore | None = None
        self._opening = asyncio.Lock()

    async def has(self, digest: str) -> bool:
        return await self._size(await self._open(), digest) is not None

    async def put(self, digest: str, data: bytes) -> None:
        objects = await self._open()
        try:
            async with asyncio.timeout(_time_for(len(data))):
                await objects.put(digest, data)
        except (NatsError, OSError, TimeoutError) as error:
            raise self._lost(error) from error

    async def get(self, digest: str) -> bytes | None:
        objects = await self._open()
        size = await self._size(objects, digest)
        if size is None:
            return None
        into = io.BytesIO()
        try:
            async with asyncio.timeout(_time_for(size)):
                await objects.get(digest, into)
        except ObjectNotFoundError:
            return None
        except (NatsError, OSError, TimeoutError) as error:
            raise self._lost(error) from error
        return into.getvalue()

    async def close(self) -> None:
        client, self._client, self._objects = self._client, None, None
        if client is not None:
            await client.close()

    async def _size(self, objects: ObjectStore, digest: str) -> int | None:
        try:
            return (await objects.get_info(digest)).size or 0
        except ObjectNotFoundError:
            return None
        except (NatsError, OSError, TimeoutError) as error:
            raise self._lost(error) from error

    async def _open(self) -> ObjectStore:
        async with self._opening:
            if self._objects is None:
                try:
                    self._objects = await self._bucket(await self._connected())
                except (NatsError, OSError, TimeoutError) as error:
                    raise self._lost(error) from error
            return self._objects

    async def _connected(self) -> Client:
        """A client that has once connected connects again by itself."""
        if self._client is None:
            settings, client = self._settings, Client()
            async with asyncio.timeout(settings.connect_timeout_s * len(settings.urls)):
                await client.connect(servers=list(settings.urls), name="artifacts", max_reconnect_attempts=-1, error_cb=_unsaid)
            self._client = client
        return self._client

    async def _bucket(self, client: Client) -> ObjectStore:
        streams = client.jetstream(timeout=self._settings.connect_timeout_s)
        try:
            return await streams.object_store(self._name)
        except BucketNotFoundError:
            config = ObjectStoreConfig(storage=StorageType.FILE, replicas=self._settings.replicas)
            return await streams.create_object_store(self._name, config)

    def _lost(self, error: Exception) -> BucketUnavailable:
        """Also when somebody has deleted the bucket: at the next try it is made again."""
        self._objects = None
        return BucketUnavailable(f"the artifacts in the NATS bucket {self._name} can't be reached: {str(error) or type(error).__name__}")


def _time_for(size: int) -> float:
    return _LEAST_S + size / _SLOWEST_BYTES_PER_S


async def _unsaid(error: Exception) -> None:
    """Who waits for an answer is told."""
