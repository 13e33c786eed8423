"""Owners of what a node holds while it runs: its store, and its private shard."""

from __future__ import annotations

from typing import Any

from noetl.actors.actor import NORMAL, AsyncActor, Context, Reason
from noetl.engine.evolve import FORMAT
from noetl.node.parts import Parts
from noetl.node.runlog import RunLog


class StoreKeeper(AsyncActor[Any]):
    """Opens the store, and closes it when all that use it have ended."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def init(self, ctx: Context[Any]) -> None:
        parts = self._parts
        parts.store = await parts.open_store(ctx.others_are_ready)
        try:
            parts.run_log = RunLog(parts.store.logs_dir if parts.keeps_files else None, parts.clock, parts.secrets, parts.probe)
        except OSError:
            await self.terminate(NORMAL, ctx)  # a start that fails leaves nothing behind
            raise

    async def terminate(self, reason: Reason, ctx: Context[Any]) -> None:
        parts = self._parts
        if parts.run_log is not None:
            parts.run_log.close()
        if parts.store is not None:
            store, parts.store = parts.store, None
            await store.close()


class LeaseKeeper(AsyncActor[Any]):
    """Owns the private shard of this process."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def init(self, ctx: Context[Any]) -> None:
        assert self._parts.store is not None
        self._parts.lease = await self._parts.store.shards.new_shard(self._parts.owner, FORMAT)

    async def terminate(self, reason: Reason, ctx: Context[Any]) -> None:
        if self._parts.store is not None and self._parts.lease is not None:
            await self._parts.store.shards.release(self._parts.lease)
