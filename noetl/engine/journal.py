"""The writing end of one execution's log: its position, its hash chain, and how a turn becomes an append."""

from __future__ import annotations

import datetime as dt

from noetl.engine import effects
from noetl.engine.evolve import FORMAT, SINCE
from noetl.engine.recovery import folded
from noetl.engine.sealing import seal_events
from noetl.engine.snapshot import pack
from noetl.engine.state import State
from noetl.engine.turn import Turn
from noetl.events import AnyEvent, ChildStarted, ExecutionRequested, IterationCompleted, encode_events
from noetl.store.lease import Shard
from noetl.store.log import NO_HASH, Append, ExecutionRow, Origin, RowChange, Snapshot, chain
from noetl.store.store import Store
from noetl.vault.secrets import Secrets


class Journal:
    """Where the log stands. `row` is the execution's row as it was written last."""

    def __init__(self, execution_id: int, shard: Shard, secrets: Secrets, origin: Origin) -> None:
        self.execution_id = execution_id
        self.version = 0
        self.next_seq = 1
        self.row: ExecutionRow | None = None
        self.at = dt.datetime.min.replace(tzinfo=dt.UTC)
        """The time of the last append. Within an execution time never goes back."""
        self._shard = shard
        self._secrets = secrets
        self._origin = origin
        self._hash = NO_HASH
        self._change: RowChange | None = None
        self._snapshot_seq = 1

    def append_of(self, turn: Turn, consumed: tuple[int, ...], *, waiting: bool, wake_at: dt.datetime | None) -> Append:
        """The append that makes a turn's events true, with all that becomes true together with them. Moves the position on.

        Raises `ValueError` when other nodes that may have to go on with it would not read it: `decide` has not asked for the format.
        """
        events = tuple(turn.events)
        kinds = frozenset(map(type, events))
        if SINCE and (early := [kind.__name__ for kind in kinds if SINCE.get(kind, 0) > turn.format]):
            raise ValueError(f"format {turn.format} has no {', '.join(sorted(early))}")
        body = encode_events(events)
        if self._secrets.found_in(body):
            body = encode_events(seal_events(events, self._secrets))
        state = turn.state
        created, change = self._row_of(events, state, waiting, wake_at, turn.now)
        assert self.row is not None
        self._hash = chain(self._hash, body)
        self.version += 1
        self.at = turn.now
        first_seq, self.next_seq = self.next_seq, self.next_seq + len(events)
        return Append(
            execution_id=self.execution_id,
            version=self.version,
            first_seq=first_seq,
            count=len(events),
            at=turn.now,
            body=body,
            hash=self._hash,
            shard=self._shard.id,
            epoch=self._shard.epoch,
            created=created,
            change=change,
            items=effects.loop_items(events, self._secrets) if IterationCompleted in kinds else (),
            consumed=consumed,
            inbox=effects.inbox_rows(events, state, self._secrets) if kinds & effects.TOLD else (),
            children=effects.child_rows(events, self.row, turn.now) if ChildStarted in kinds else (),
        )

    def snapshot_of(self, state: State, every: int) -> Snapshot | None:
        """A snapshot of the state as it is in the log now, when enough events have come since the last."""
        if self.next_seq - self._snapshot_seq < every:
            return None
        body = pack(state)
        if self._secrets.found_in(body):
            return None  # secrets are sealed in events only
        self._snapshot_seq = self.next_seq
        return Snapshot(version=self.version, next_seq=self.next_seq, hash=self._hash, evolve=str(FORMAT), body=body)

    async def recover(self, store: Store) -> State:
        """Fold the log and go on behind it. Raises `NotFound`, `LogCorrupt`."""
        found = await folded(store, self.execution_id, self._secrets.open_leaf)
        self.row, self.version, self.next_seq, self._hash = found.row, found.version, found.next_seq, found.hash
        self.at = found.at or self.at
        self._snapshot_seq = found.next_seq
        return found.state

    def _row_of(
        self, events: tuple[AnyEvent, ...], state: State, waiting: bool, wake_at: dt.datetime | None, now: dt.datetime
    ) -> tuple[ExecutionRow | None, RowChange | None]:
        """The row to insert or the change to make, if there is any."""
        change = effects.row_of(state, waiting=waiting, wake_at=wake_at, secrets=self._secrets)
        if self.row is not None:
            if change == self._change:
                return None, None
            self._change = change
            return None, change
        self._change = change
        requested = next(event for event in events if isinstance(event, ExecutionRequested))
        self.row = ExecutionRow(
            id=self.execution_id,
            path=state.path,
            net=state.net,
            shard=self._shard.id,
            requested_at=state.requested_at or now,
            root_id=self.execution_id,
            status=change.status,
            started_at=change.started_at,
            ended_at=change.ended_at,
            wake_at=change.wake_at,
            error=change.error,
            version=requested.version,
            labels=requested.labels,
            requested_by=requested.requested_by,
            origin=self._origin,
        )
        return self.row, None
