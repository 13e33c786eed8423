"""Members of clusters that are only thought of."""

from __future__ import annotations

import datetime as dt
import itertools
from typing import Any

from noetl.store.members import Incarnation, Member, NodeRow, PoolRow

_LIVES = itertools.count(1)


def member(
    id_: str,
    *,
    roles: tuple[str, ...] = ("shards",),
    pools: dict[str, PoolRow] | None = None,
    capabilities: dict[str, Any] | None = None,
    directory: str = "",
    lease_left_s: float = 1.0,
    draining: bool = False,
    reads: int = 3,
) -> Member:
    row = NodeRow(
        id=id_,
        profile="test",
        roles=roles,
        host="host",
        pid=1,
        version="1",
        format=reads,
        started_at=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
        directory=directory,
        pools=pools or {},
        capabilities=capabilities or {},
    )
    return Member(node=row, incarnation=Incarnation(id_, next(_LIVES)), lease_left_s=lease_left_s, draining=draining)
