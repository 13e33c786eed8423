"""Which pool serves a call, and which nodes can run it. Pure, from what nodes say of themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from noetl.store.members import Member

RUNS: Final = "steps"
"""The role of nodes that run what others have scheduled."""
ALL_KINDS: Final = "*"
_AT_LEAST: Final = (int, float)


def workers(members: Iterable[Member]) -> list[Member]:
    """Who takes commands."""
    return [member for member in members if member.is_alive and not member.draining and RUNS in member.node.roles]


def pool_for(members: Iterable[Member], kind: str, named: str | None) -> str | None:
    """The pool that a step names, when some node has it. Else the first, in the order of the nodes and their profiles, that lists the kind; then one
    that serves all kinds. None: there is none now."""
    pools = [(name, pool) for member in workers(members) for name, pool in member.node.pools.items()]
    if named is not None:
        return named if any(name == named for name, _ in pools) else None
    for wanted in (kind, ALL_KINDS):
        for name, pool in pools:
            if wanted in pool.tools:
                return name
    return None


def capable(members: Iterable[Member], requires: Mapping[str, Any]) -> list[Member]:
    """Nodes that have all that is required."""
    return [member for member in workers(members) if has(member.node.capabilities, requires)]


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
