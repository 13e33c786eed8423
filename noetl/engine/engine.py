"""What the executions of one node share, handed to each actor instead of being looked up."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from noetl.clock import Clock
from noetl.engine.cache import ValueCache
from noetl.engine.claims import Claims
from noetl.engine.library import Library
from noetl.engine.places import Places
from noetl.errors import ToolRefused
from noetl.settings import Settings
from noetl.store.log import Origin
from noetl.store.store import Store
from noetl.tools.tool import Resources, find
from noetl.vault.secrets import Secrets


@dataclass(frozen=True, slots=True)
class Engine:
    node: str
    store: Store
    cache: ValueCache
    secrets: Secrets
    places: Places
    claims: Claims
    library: Library
    resources: Resources
    settings: Settings
    clock: Clock
    origin: Origin = "run"
    """Of the executions that are begun here."""
    chance: Callable[[], float] = random.random
    """Draws jitter, in [0, 1)."""

    def extra_names(self, kind: str, fields: Mapping[str, Any]) -> frozenset[str] | None:
        """Names of the scope that a tool reads besides those of its templates; None for all. A kind that is not there will say so when it is
        called."""
        try:
            names = getattr(find(kind), "names", None)
        except ToolRefused:
            return frozenset()
        found: frozenset[str] | None = frozenset() if names is None else names(fields)
        return found
