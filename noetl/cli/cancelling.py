"""`noetl executions cancel`: through the process that runs the execution, or here when there is none."""

from __future__ import annotations

import asyncio
import os
from typing import Final

from noetl.cli.executions import open_store
from noetl.engine.client import encode_cancel
from noetl.errors import NotAllowed, NotFound
from noetl.ids import ExecutionId
from noetl.node.boot import running_node, store_place
from noetl.node.incarnation import is_alive
from noetl.node.profile import home_dir, load_profile, load_settings
from noetl.store.log import ExecutionRow, InboxRow
from noetl.store.store import Store

_ENDED: Final = frozenset({"completed", "failed", "cancelled"})
_WATCH_S: Final = 15.0
_LOOK_S: Final = 0.1


async def cancel_execution(execution_id: ExecutionId, reason: str, store: str | None) -> str:
    """The status afterwards; `cancelling` when its owner is still at it.

    Raises:
        NotFound: no such execution.
        NotAllowed: it has ended.
    """
    directory, file = store_place(home_dir(os.environ), store)
    if not file.exists():
        raise NotFound(f"there is no store {file}")
    async with open_store(directory, file) as opened:
        row = await _row(opened, execution_id)
        if row.status in _ENDED:
            raise NotAllowed(f"execution {execution_id} is {row.status} already")
        await opened.inbox.put(InboxRow(execution_id, "cancel", encode_cancel(reason)))
        owner = await opened.shards.owner_of(execution_id)
        if owner is not None and is_alive(owner):
            return await _watch(opened, execution_id)
    return await _end_here(execution_id, store)


async def _row(store: Store, execution_id: ExecutionId) -> ExecutionRow:
    row = await store.executions.execution(execution_id)
    if row is None:
        raise NotFound(f"there is no execution {execution_id} in this store")
    return row


async def _watch(store: Store, execution_id: ExecutionId) -> str:
    """Wait for the owner to do it."""
    for _ in range(int(_WATCH_S / _LOOK_S)):
        row = await _row(store, execution_id)
        if row.status in _ENDED:
            return row.status
        await asyncio.sleep(_LOOK_S)
    return "cancelling"


async def _end_here(execution_id: ExecutionId, store: str | None) -> str:
    """Its process is gone: take it up, only to end it."""
    settings, _ = load_settings(os.environ)
    async with running_node(load_profile("solo"), settings, home=home_dir(os.environ), store=store, environment=os.environ) as node:
        await node.client.take_up(execution_id, is_alive)
        return (await node.client.ended(execution_id)).status
