"""What runs of a shard on other nodes, asked before it begins here: nothing that runs is started a second time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from noetl.cluster.capacity import workers
from noetl.cluster.membership import Vicinity
from noetl.engine.auditor import what_runs
from noetl.engine.claims import Claims
from noetl.engine.exchange import Runs
from noetl.mailbox.transport import Transport
from noetl.store.lease import Shard
from noetl.store.projection import Executions

_ANSWER_S: Final = 1.0
"""How long a node may take to say what it runs. What runs on one that does not may run a second time; the first outcome counts."""


class Survey(Struct, frozen=True):
    """`left`: executions of each shard that have not ended."""

    runs: tuple[Runs, ...]
    left: dict[int, list[int]]

    def note(self, shards: Sequence[Shard], claims: Claims) -> None:
        """What was granted before is granted now."""
        ids = {shard.id for shard in shards}
        for runs in self.runs:
            for held in runs.attempts:
                if held.granted and held.shard in ids:
                    claims.claim(held.key, held.shard, runs.by)


async def survey(shards: Sequence[Shard], executions: Executions, bus: Transport, vicinity: Vicinity) -> Survey:
    """Raises `LogUnavailable`."""
    ids = tuple(shard.id for shard in shards)
    others = [member for member in workers(vicinity.members) if member.incarnation != vicinity.own]
    runs = await asyncio.gather(*(what_runs(bus, member.node.id, ids, _ANSWER_S) for member in others))
    left = {id_: await executions.left_in(id_) for id_ in ids}
    return Survey(tuple(found for found in runs if found is not None), left)
