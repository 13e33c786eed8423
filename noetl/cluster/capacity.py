"""Which pool serves a call, and which nodes can run it. Pure, from what nodes say of themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from noetl.store.members import Member, PoolRow

RUNS: Final = "steps"
"""The role of nodes that run what others have scheduled."""
_AT_LEAST: Final = (int, float)


def workers(members: Iterable[Member]) -> list[Member]:
    """Who takes commands."""
    return [member for member in members if member.is_alive and not member.draining and RUNS in member.node.roles]


def serves(pool: PoolRow, kind: str) -> bool:
    return kind in pool.tools or "*" in pool.tools


def pool_for(members: Iterable[Member], kind: str, named: str | None) -> str | None:
    """The pool that a step names, when some node has it; else the first, in the order of their profiles, that serves the kind. None: there is none
    now."""
    for member in workers(members):
        for name, pool in member.node.pools.items():
            if name == named or (named is None and serves(pool, kind)):
                return name
    return None


def capable(members: Iterable[Member], pool: str, requires: Mapping[str, Any]) -> list[Member]:
    """Nodes that have the pool and all that is required."""
    return [member for member in workers(members) if pool in member.node.pools and has(member.node.capabilities, requires)]


def has(capabilities: Mapping[str, Any], requires: Mapping[str, Any]) -> bool:
    """Numbers are at least as many; `labels`, and other mappings, key by key; everything else is equal, or one of a list."""
    return all(_enough(capabilities.get(name), wanted) for name, wanted in requires.items())


def _enough(given: Any, wanted: Any) -> bool:
    if isinstance(wanted, Mapping):
        return has(given, wanted) if isinstance(given, Mapping) else not wanted
    if isinstance(wanted, bool) or isinstance(given, bool):
        return bool(given) == bool(wanted)
    if isinstance(wanted, _AT_LEAST) and isinstance(given, _AT_LEAST):
        return given >= wanted
    return wanted in given if isinstance(given, (list, tuple)) else bool(given == wanted)
