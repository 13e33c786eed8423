"""Going on with executions that processes have left which are gone, in the private shard of this one."""

from __future__ import annotations

from noetl.actors.ref import Ref
from noetl.engine.engine import Engine
from noetl.engine.shard import ShardInbox, TakeUp
from noetl.errors import NotAllowed, NotFound
from noetl.ids import ExecutionId
from noetl.store.lease import IsAlive, Shard


class Adoption:
    def __init__(self, engine: Engine, shard: Ref[ShardInbox], lease: Shard) -> None:
        self._engine = engine
        self._shard = shard
        self._lease = lease

    async def take_up(self, execution_id: ExecutionId, is_alive: IsAlive) -> str:
        """Go on with an execution that another process has left, and with its children; its path.

        Raises:
            NotFound: there is no such execution.
            Owned: it is running in a live process.
            NotAllowed: it has completed or was cancelled.
        """
        row = await self._engine.store.executions.execution(execution_id)
        if row is None:
            raise NotFound(f"there is no execution {execution_id} in this store")
        if row.parent_id is not None:
            raise NotAllowed(f"execution {execution_id} is a child of {row.parent_id}: resume {row.root_id}")
        if row.status in ("completed", "cancelled"):
            raise NotAllowed(f"execution {execution_id} is {row.status}: it can't be resumed")
        await self._engine.store.shards.adopt(execution_id, self._lease, is_alive)
        for member in await self._engine.store.executions.family(execution_id):
            if member.id == execution_id or member.ended_at is None:
                self._shard.report(TakeUp(member.id))
        return row.path

    async def take_up_left(self, is_alive: IsAlive) -> int:
        """Go on with all executions that nodes have accepted and whose process is gone; how many they are."""
        left = await self._engine.store.shards.adopt_left(self._lease, is_alive)
        for execution_id in left:
            self._shard.report(TakeUp(execution_id))
        return len(left)
