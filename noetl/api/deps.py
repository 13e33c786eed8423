"""What the handlers are given by the node."""

from __future__ import annotations

import datetime as dt
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from noetl.actors.snapshot import RuntimeView, Wanted
from noetl.engine.client import NodeInfo, PoolView
from noetl.engine.service import Service
from noetl.gateway.tokens import Doorkeeper
from noetl.settings import ApiSettings
from noetl.store.access import Audit, Tokens
from noetl.store.artifact import Artifacts
from noetl.vault.secrets import Secrets
from noetl.vault.vaults.sealed import SealedVault


@dataclass(frozen=True, slots=True, kw_only=True)
class Deps:
    """`doorkeeper` None: whoever gets here may do everything (a node on loopback)."""

    service: Service
    settings: ApiSettings
    secrets: Secrets
    tokens: Tokens
    audit: Audit
    now: Callable[[], dt.datetime]
    node: Callable[[], NodeInfo]
    nodes: Callable[[], tuple[NodeInfo, ...]]
    drain: Callable[[str], Awaitable[bool]]
    pools: Callable[[], Awaitable[list[PoolView]]]
    look: Callable[[Wanted], Awaitable[RuntimeView]]
    artifacts: Artifacts
    credentials: SealedVault
    doorkeeper: Doorkeeper | None = None
