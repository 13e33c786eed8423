"""One store: everything that a node keeps in one place."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from noetl.store.access import Audit, Requests, Tokens
from noetl.store.catalog import Catalog, Schemas
from noetl.store.credentials import Credentials
from noetl.store.lease import Shards
from noetl.store.log import Log, Positions, Snapshots
from noetl.store.members import Members
from noetl.store.projection import Executions, Inbox


@dataclass(frozen=True, slots=True)
class Store:
    """The contracts that one engine stands behind. `directory` holds `artifacts/` and the logs of user code."""

    log: Log
    snapshots: Snapshots
    positions: Positions
    shards: Shards
    members: Members
    executions: Executions
    inbox: Inbox
    catalog: Catalog
    schemas: Schemas
    requests: Requests
    tokens: Tokens
    audit: Audit
    credentials: Credentials
    directory: Path
    close: Callable[[], Awaitable[None]]
    """Commit what was handed over, then let go of everything."""

    @property
    def artifacts_dir(self) -> Path:
        return self.directory / "artifacts"

    @property
    def logs_dir(self) -> Path:
        return self.directory / "logs"
