"""What the handlers are given by the node."""

from __future__ import annotations

import datetime as dt
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from noetl.actors.snapshot import RuntimeView, Wanted
from noetl.engine.client import NodeInfo, PoolView
from noetl.engine.service import Service
from noetl.gateway.tokens import Doorkeeper
from noetl.settings import ApiSettings
from noetl.store.access import Audit, Tokens
from noetl.vault.secrets import Secrets


class CredentialStore(Protocol):
    """The vault, as far as the API may see it: no way to open anything."""

    async def put(
        self,
        name: str,
        kind: str,
        data: dict[str, Any],
        *,
        domains: tuple[str, ...] = (),
        hosts: tuple[str, ...] = (),
        description: str = "",
        by: str = "",
    ) -> Any: ...

    async def list(self) -> list[Any]: ...

    async def info(self, name: str) -> Any | None: ...

    async def delete(self, name: str, *, by: str = "") -> bool: ...


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
    pools: Callable[[], Awaitable[list[PoolView]]]
    look: Callable[[Wanted], Awaitable[RuntimeView]]
    artifacts: Path
    credentials: CredentialStore | None = None
    doorkeeper: Doorkeeper | None = None
