"""`noetl executions cancel`: through the process that runs the execution, or here when there is none."""

from __future__ import annotations

import asyncio
import os
from typing import Final

from noetl.cli.stores import open_store, row_of
from noetl.engine.effects import ENDED
from noetl.engine.local import encode_cancel
from noetl.errors import NotAllowed
from noetl.ids import ExecutionId
from noetl.node.boot import known_left, running_node
from noetl.node.incarnation import is_alive
from noetl.node.place import home_dir
from noetl.node.profile import load_profile, load_settings
from noetl.store.log import InboxRow
from noetl.store.store import Store

_WATCH_S: Final = 15.0
_LOOK_S: Final = 0.1


async def cancel_execution(execution_id: ExecutionId, reason: str, store: str | None) -> str:
    """The status afterwards; `cancelling` when its owner is still at it.

    Raises:
        NotFound: no such execution.
        NotAllowed: it has ended; or it is the child of one whose process is gone.
    """
    async with open_store(store) as opened:
        row = await row_of(opened, execution_id)
        if row.status in ENDED:
            raise NotAllowed(f"execution {execution_id} is {row.status} already")
        owner = await opened.shards.owner_of(execution_id)
        is_live = owner is not None and is_alive(owner)
        if not is_live and row.parent_id is not None:
            raise NotAllowed(f"execution {execution_id} is a child of {row.parent_id}, whose process is gone: cancel {row.root_id}")
        for member in await opened.executions.family(execution_id):
            if not is_live and member.status not in ENDED:  # so that no child goes on before its parent gets to it
                await opened.inbox.put(InboxRow(member.id, "cancel", encode_cancel(reason)))
        if is_live:
            await opened.inbox.put(InboxRow(execution_id, "cancel", encode_cancel(reason)))
            return await _watch(opened, execution_id)
    return await _end_here(execution_id, store)


async def _watch(store: Store, execution_id: ExecutionId) -> str:
    """Wait for the owner to do it."""
    for _ in range(int(_WATCH_S / _LOOK_S)):
        row = await row_of(store, execution_id)
        if row.status in ENDED:
            return row.status
        await asyncio.sleep(_LOOK_S)
    return "cancelling"


async def _end_here(execution_id: ExecutionId, store: str | None) -> str:
    """Its process is gone: take it up, only to end it."""
    settings, _ = load_settings(os.environ)
    async with running_node(load_profile("solo"), settings, home=home_dir(os.environ), store=store, environment=os.environ) as node:
        await known_left(node).take_up(execution_id, is_alive)
        return (await node.client.ended(execution_id)).status
