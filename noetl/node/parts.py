"""What the branches of one node hand to those that start after them."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from noetl.clock import Clock
from noetl.cluster.membership import Vicinity
from noetl.engine.engine import Engine
from noetl.engine.flight import Airport, Flights
from noetl.engine.pool import Gauge
from noetl.ids import ExecutionIds
from noetl.mailbox.transport import Transport
from noetl.node.profile import Profile
from noetl.node.runlog import RunLog
from noetl.probe import Probe
from noetl.settings import Settings
from noetl.store.artifact import Artifacts
from noetl.store.lease import Owner
from noetl.store.lease import Shard as ShardLease
from noetl.store.store import Store
from noetl.tools.tool import Resources
from noetl.vault.credential import Vault
from noetl.vault.keyring import KeyRing
from noetl.vault.secrets import Secrets
from noetl.vault.vaults.sealed import SealedVault

if TYPE_CHECKING:
    from noetl.actors.loop import Runtime

OpenStore = Callable[[Callable[[], bool]], Awaitable[Store]]
"""Whether work is under way that may bring appends -> the store, opened."""


@dataclass(slots=True)
class Serving:
    """`url` is there when it listens. `asks_who`: callers must have a token. `runtime` is set before the tree starts. `told` is set when somebody has
    asked this node, over its API, to end."""

    host: str
    port: int
    asks_who: bool
    started_at: dt.datetime
    runtime: Runtime | None = None
    url: str | None = None
    draining: bool = False
    told: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True)
class Parts:
    """`vault` holds what the operator gives this process; `sealed`, the credentials in the store, is asked after it. `resources` may have been made
    before. `bus` is there when the node is a member of a cluster; it stays the same over losses of its connection.
    """

    owner: Owner
    settings: Settings
    profile: Profile
    directory: Path
    open_store: OpenStore
    vault: Vault
    keys: KeyRing
    secrets: Secrets
    clock: Clock
    probe: Probe
    ids: ExecutionIds
    environment: Mapping[str, str]
    keeps_files: bool = True
    """Whether its directory outlives the process: what is printed is kept in files."""
    bus: Transport | None = None
    resources: Resources | None = None
    store: Store | None = None
    artifacts: Artifacts | None = None
    sealed: SealedVault | None = None
    lease: ShardLease | None = None
    engine: Engine | None = None
    airport: Airport | None = None
    run_log: RunLog | None = None
    vicinity: Vicinity = field(default_factory=Vicinity)
    flights: Flights = field(default_factory=Flights)
    queued: dict[str, int] = field(default_factory=dict)
    """Calls of this node's executions that wait for a pool, on whatever node."""
    gauges: dict[str, Gauge] = field(init=False)
    """Of the pools of this node."""
    serving: Serving | None = None
    """What a node that stays up says of itself; None: this process is there for one run."""

    def __post_init__(self) -> None:
        self.gauges = {name: Gauge() for name in self.profile.pools}

    def known_bus(self) -> Transport:
        assert self.bus is not None
        return self.bus
