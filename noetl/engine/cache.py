"""Values that lie outside of the log, in memory while they are read: artifacts, and the lists of loops. One per node."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

import msgspec

from noetl.dsl.lookup import NotLoaded
from noetl.store.artifact import Artifacts
from noetl.store.log import Log
from noetl.store.patience import patiently
from noetl.values import Handle, unpack_leaf

_BOUND_BYTES: Final = 256 * 1024 * 1024

ExtHook = Callable[[int, memoryview], object]
Fate = Literal["opened", "brought", "left"]
"""What becomes of handles of artifacts: the value takes its place; it stays, and the value is brought to this machine; it stays."""


class ValueCache:
    """Keeps the values used last, up to a bound of encoded bytes; what is held stays beyond it."""

    def __init__(self, artifacts: Artifacts, log: Log, ext_hook: ExtHook = unpack_leaf, bound_bytes: int = _BOUND_BYTES) -> None:
        self._artifacts = artifacts
        self._log = log
        self._decode = msgspec.msgpack.Decoder(ext_hook=ext_hook).decode
        self._bound_bytes = bound_bytes
        self._values: OrderedDict[str, tuple[Any, int]] = OrderedDict()
        self._bytes = 0
        self._holds: set[Hold] = set()

    def load(self, handle: Handle) -> Any:
        """The value, if it is in memory. Raises `NotLoaded`: then fetch it and try again."""
        found = self._values.get(handle.hash)
        if found is None:
            return self._held(handle)
        self._values.move_to_end(handle.hash)
        return found[0]

    def hold(self) -> Hold:
        """What is fetched through the hold stays in memory until it is closed, so that several large values can be read together."""
        hold = Hold(self)
        self._holds.add(hold)
        return hold

    def release(self, hold: Hold) -> None:
        self._holds.discard(hold)

    async def fetch(self, handle: Handle) -> Any:
        """Read the value into memory.

        Raises:
            NotFound: the artifact is gone.
            LogCorrupt: its bytes are not those that were written.
        """
        try:
            return self.load(handle)
        except NotLoaded:
            loop_run = handle.loop_run
        value = await self._artifact(handle.hash) if loop_run is None else await self._loop_list(*loop_run, handle.data.length or 0)
        self._remember(handle.hash, value, handle.data.size_bytes)
        return value

    async def store(self, artifacts: Mapping[str, bytes]) -> None:
        """Make encoded values durable. Raises `LogUnavailable` when the disk does not take them."""
        for encoded in artifacts.values():
            await self._artifacts.put(encoded)

    async def share(self, handle: Handle) -> None:
        """A process of this node has stored the value. Raises as `store`."""
        await self._artifacts.share(handle.hash)

    async def bring(self, handle: Handle) -> None:
        """Have the value where processes of this node find it."""
        await self._artifacts.bring(handle.hash)

    async def read(self, content_hash: str) -> bytes:
        """The bytes of an artifact. Raises `NotFound`, `LogCorrupt`."""
        return bytes(await self._artifacts.get(content_hash))

    async def _artifact(self, content_hash: str) -> Any:
        return self._decode(await self._artifacts.get(content_hash))

    async def _loop_list(self, execution_id: int, run: int, length: int) -> list[Any]:
        """An iteration without a result, since it failed, is null."""
        results: list[Any] = [None] * length
        for index, body in await self._log.items(execution_id, run):
            results[index] = self._decode(body)
        return results

    def _held(self, handle: Handle) -> Any:
        for hold in self._holds:
            if handle.hash in hold.values:
                return hold.values[handle.hash]
        raise NotLoaded(handle)

    def _remember(self, key: str, value: Any, size: int) -> None:
        if key in self._values:
            return
        self._values[key] = (value, size)
        self._bytes += size
        while self._bytes > self._bound_bytes and len(self._values) > 1:
            _, (_, dropped) = self._values.popitem(last=False)
            self._bytes -= dropped


class Hold:
    __slots__ = ("_cache", "values")

    def __init__(self, cache: ValueCache) -> None:
        self._cache = cache
        self.values: dict[str, Any] = {}

    def __enter__(self) -> Hold:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._cache.release(self)
        self.values = {}

    def load(self, handle: Handle) -> Any:
        return self._cache.load(handle)

    async def fetch(self, handle: Handle) -> Any:
        """As `ValueCache.fetch`, once the store is there."""
        value = self.values[handle.hash] = await patiently(lambda: self._cache.fetch(handle))
        return value

    async def run(self, render: Callable[[], Any]) -> Any:
        """Call `render` until it lacks no value."""
        while True:
            try:
                return render()
            except NotLoaded as error:
                await self.fetch(error.handle)

    async def plain(self, value: Any, artifacts: Fate = "opened") -> Any:
        """The value with its handles replaced by what they stand for; those of artifacts may stay."""
        if not _has_leaf(value):
            return value
        return await self._plain(value, artifacts)

    async def _plain(self, value: Any, artifacts: Fate) -> Any:
        if isinstance(value, Handle):
            if artifacts == "opened" or value.loop_run is not None:
                return await self._plain(_visible(value, await self.fetch(value)), artifacts)
            if artifacts == "brought":
                await self._cache.bring(value)
            return value
        if isinstance(value, dict):
            return {key: await self._plain(item, artifacts) for key, item in value.items()}
        if isinstance(value, list):
            return [await self._plain(item, artifacts) for item in value]
        return value


def _visible(handle: Handle, value: Any) -> Any:
    return value if handle.data.select is None else handle.summary()


class _Leaf(Exception):
    pass


def _found(value: object) -> Any:
    raise _Leaf


_scan = msgspec.msgpack.Encoder(enc_hook=_found).encode


def _has_leaf(value: Any) -> bool:
    """Whether something in the value is no plain data. At the encoder's speed, since values may be large."""
    try:
        _scan(value)
    except (_Leaf, OverflowError):
        return True
    return False
