"""Finds out that an attempt which was granted to another node does not run any more: the node is gone, or does not know of it.

What a node was granted it knows until the outcome is committed. So what it does not know of, twice in a row, is lost; the execution decides whether
it runs again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final

from msgspec import Struct

from noetl.actors.actor import Actor, Context
from noetl.cluster.membership import GROUP, ClusterSeen, Vicinity
from noetl.engine import exchange
from noetl.engine.claims import Claim, Claims, lost
from noetl.engine.exchange import Runs, WhatRuns
from noetl.engine.messages import Reported
from noetl.engine.shard import Reported as ForShard
from noetl.engine.shard import shard_name
from noetl.errors import CallError
from noetl.mailbox.transport import Transport
from noetl.store.members import Incarnation

_EVERY_S: Final = 5.0
_ANSWER_S: Final = 2.0
_MISSES: Final = 2
"""A claim that its node did not know of once may have been on its way."""


class Audit(Struct, frozen=True):
    """To oneself: time to ask the nodes."""


class Audited(Struct, frozen=True):
    """To oneself: what nodes have said; `asked` are the claims that they were asked about."""

    asked: tuple[Claim, ...]
    runs: Any


AuditorInbox = ClusterSeen | Audit | Audited


class Auditor(Actor[AuditorInbox]):
    __slots__ = ("_bus", "_claims", "_unknown", "_vicinity")

    def __init__(self, claims: Claims, bus: Transport, vicinity: Vicinity) -> None:
        self._claims = claims
        self._bus = bus
        self._vicinity = vicinity
        self._unknown: dict[Claim, int] = {}
        """Claims that their node did not know of, how often."""

    def init(self, ctx: Context[AuditorInbox]) -> None:
        ctx.registry.join(GROUP, ctx.self_ref)
        ctx.send_interval(_EVERY_S, Audit())

    def handle(self, message: AuditorInbox, ctx: Context[AuditorInbox]) -> None:
        match message:
            case ClusterSeen():
                self._seen(ctx)
            case Audit():
                asked = tuple(self._claims.of(self._claims.holders()))
                if asked:
                    shards = tuple(dict.fromkeys(claim.shard for claim in asked))
                    ctx.run(self._ask(self._claims.holders(), shards), lambda runs: Audited(asked, runs))
            case Audited(asked, runs):
                if isinstance(runs, BaseException):
                    raise runs
                self._audited(asked, runs, ctx)

    def _seen(self, ctx: Context[AuditorInbox]) -> None:
        """It is said again at every look, until the executions have taken it in."""
        gone = [holder for holder in self._claims.holders() if self._vicinity.is_gone(holder)]
        self._say_lost(self._claims.of(gone), "is gone", ctx)

    async def _ask(self, holders: Iterable[Incarnation], shards: tuple[int, ...]) -> list[Runs]:
        """A node that does not answer says nothing."""
        answers = await asyncio.gather(*(what_runs(self._bus, holder.node, shards, _ANSWER_S) for holder in holders))
        return [runs for runs in answers if runs is not None]

    def _audited(self, asked: tuple[Claim, ...], runs: list[Runs], ctx: Context[AuditorInbox]) -> None:
        known = {(answer.by, held.key) for answer in runs for held in answer.attempts}
        answered = {answer.by for answer in runs}
        missing = [claim for claim in asked if claim.by in answered and (claim.by, claim.key) not in known]
        self._unknown = {claim: self._unknown.get(claim, 0) + 1 for claim in missing if self._claims.holder(claim.key) == claim.by}
        self._say_lost([claim for claim, misses in self._unknown.items() if misses >= _MISSES], "does not know of it", ctx)

    def _say_lost(self, claims: Iterable[Claim], why: str, ctx: Context[AuditorInbox]) -> None:
        for claim in claims:
            key, shard = claim.key, ctx.registry.find(shard_name(claim.shard))
            if shard is not None:
                outcome = lost(key, f"its node {claim.by.node} {why}")
                shard.report(ForShard(key.execution_id, Reported(outcome=outcome, done=_nobody)))


async def what_runs(bus: Transport, node: str, shards: tuple[int, ...], timeout_s: float) -> Runs | None:
    """None: it does not answer."""
    try:
        return await exchange.node(node, bus).ask(WhatRuns(shards), Runs, timeout_s)
    except CallError:
        return None


def _nobody() -> None:
    """Nobody waits for it."""
