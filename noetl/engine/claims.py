"""Who runs which attempt on another node: one yes for each attempt, in the memory of the node that owns its execution.

It outlives the actors of the execution, so that none of their crashes lets an attempt run twice. It does not outlive the node: the next owner asks
the nodes what they run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from msgspec import Struct

from noetl.engine.exchange import AttemptKey, Declined
from noetl.engine.messages import Lost
from noetl.store.members import Incarnation

RunKey = tuple[int, int]
"""Execution and run."""


class Claim(Struct, frozen=True):
    """`by` runs it."""

    key: AttemptKey
    shard: int
    by: Incarnation
    pool: str = ""


def lost(key: AttemptKey, reason: str) -> Lost:
    return Lost(run=key.run, index=key.index, task=key.task, attempt=key.attempt, call=key.call, reason=reason)


class Claims:
    """One per node. Of each iteration of a run one attempt is the current one."""

    def __init__(self) -> None:
        self._held: dict[RunKey, dict[int, Claim]] = {}

    def claim(self, key: AttemptKey, shard: int, by: Incarnation, pool: str = "") -> bool:
        """Whether `by` may run the current attempt of its iteration: nobody else does."""
        held = self._held.setdefault((key.execution_id, key.run), {})
        found = held.get(key.index)
        if found is None or found.key != key:
            held[key.index] = Claim(key, shard, by, pool)
            return True
        return found.by == by

    def holder(self, key: AttemptKey) -> Incarnation | None:
        found = self._held.get((key.execution_id, key.run), {}).get(key.index)
        return None if found is None or found.key != key else found.by

    def declined(self, declined: Declined) -> Lost | None:
        """What follows when a node says that it does not run what it may have claimed. None: it has not got it, so nothing."""
        if self.holder(declined.key) != declined.by:
            return None
        return lost(declined.key, f"its node {declined.by.node} could not be answered")

    def release(self, execution_id: int, run: int, index: int) -> None:
        """The attempt of an iteration is over."""
        held = self._held.get((execution_id, run))
        if held is not None:
            held.pop(index, None)
            if not held:
                del self._held[execution_id, run]

    def release_run(self, execution_id: int, run: int) -> None:
        self._held.pop((execution_id, run), None)

    def drop_shard(self, shard: int) -> None:
        """Somebody else owns it now."""
        for claim in [claim for claim in self._all() if claim.shard == shard]:
            self.release(claim.key.execution_id, claim.key.run, claim.key.index)

    def holders(self) -> tuple[Incarnation, ...]:
        return tuple(dict.fromkeys(claim.by for claim in self._all()))

    def of(self, gone: Collection[Incarnation]) -> list[Claim]:
        return [claim for claim in self._all() if claim.by in gone]

    def _all(self) -> Iterator[Claim]:
        return (claim for held in self._held.values() for claim in held.values())
