"""Which pool serves a call, and which nodes can run it. Pure, from what nodes say of themselves."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from noetl.store.members import Member, PoolRow

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
    pools = [found for member in workers(members) for found in sorted(member.node.pools.items(), key=_rank)]
    if named is not None:
        return named if any(name == named for name, _ in pools) else None
    for wanted in (kind, ALL_KINDS):
        for name, pool in pools:
            if wanted in pool.tools:
                return name
    return None


def _rank(pool: tuple[str, PoolRow]) -> int:
    return pool[1].rank


def keeper(members: Sequence[Member], execution_id: int, node: str | None, directory: str) -> Member | None:
    """Of those who can run a call, the one that has, or is to get, the database which calls of the execution share.

    `node` has it already, in a directory of that id: it is the one, or somebody who shares the directory with it. None: nobody who has it is there.
    Until somebody has it, all come to the same choice, as long as the same nodes are there.
    """
    having = members if node is None else [member for member in members if member.node.id == node]
    having = having or [member for member in members if member.node.directory == directory]
    return max(having, key=lambda member: _liking(member.node.id, execution_id), default=None)


def _liking(node: str, execution_id: int) -> bytes:
    return hashlib.blake2b(f"{node}/{execution_id}".encode(), digest_size=8).digest()


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
