"""What must become true in the store together with events: rows for others, loop items, the execution's own row. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from noetl.engine.messages import Begin, Cancel, ChildEnded, OutcomeMessage
from noetl.engine.sealing import seal_struct
from noetl.engine.state import State
from noetl.events import (
    AnyEvent,
    CancelRequested,
    ChildStarted,
    ExecutionCancelled,
    ExecutionCompleted,
    ExecutionFailed,
    GraceEnded,
    IterationCompleted,
    Parent,
    Phase,
)
from noetl.store.log import ExecutionRow, InboxRow, LoopItem, RowChange
from noetl.values import encode, pack_leaf
from noetl.vault.secrets import Secrets

ENDED: Final = frozenset({"completed", "failed", "cancelled"})

TOLD: Final = frozenset({ChildStarted, CancelRequested, GraceEnded, ExecutionCompleted, ExecutionFailed, ExecutionCancelled})
"""Events of which other executions hear."""

_encode = msgspec.msgpack.Encoder(enc_hook=pack_leaf).encode


def loop_items(events: Sequence[AnyEvent], secrets: Secrets) -> tuple[LoopItem, ...]:
    return tuple(
        LoopItem(event.run, event.index, _sealed(event.result, encode(event.result), secrets))
        for event in events
        if isinstance(event, IterationCompleted)
    )


def _sealed(value: object, encoded: bytes, secrets: Secrets) -> bytes:
    return encode(secrets.seal(value)) if secrets.found_in(encoded) else encoded


def child_rows(events: Sequence[AnyEvent], own: ExecutionRow, at: dt.datetime) -> tuple[ExecutionRow, ...]:
    return tuple(
        ExecutionRow(
            id=event.child,
            path=event.path,
            net=event.net,
            shard=own.shard,
            requested_at=at,
            root_id=own.root_id,
            parent_id=own.id,
            requested_by=own.requested_by,
            origin=own.origin,
        )
        for event in events
        if isinstance(event, ChildStarted)
    )


def inbox_rows(events: Sequence[AnyEvent], state: State, secrets: Secrets) -> tuple[InboxRow, ...]:
    """What other executions are told."""
    rows: list[InboxRow] = []
    for event in events:
        if isinstance(event, ChildStarted):
            rows.append(InboxRow(event.child, "start", _message(_child_begin(event, state), secrets)))
        elif isinstance(event, (CancelRequested, GraceEnded)):
            reason = f"its parent {state.execution_id} is ending"
            rows += [InboxRow(child, "cancel", _encode(Cancel(reason=reason))) for child in children(state)]
        elif isinstance(event, (ExecutionCompleted, ExecutionFailed, ExecutionCancelled)) and state.parent is not None:
            rows.append(InboxRow(state.parent.execution_id, "child_ended", _message(_child_end(state, state.parent), secrets)))
    return tuple(rows)


def begin_row(execution_id: int, begin: Begin, secrets: Secrets) -> InboxRow:
    """What whoever owns the execution begins it with."""
    return InboxRow(execution_id, "start", _message(begin, secrets))


def _message(message: Begin | ChildEnded, secrets: Secrets) -> bytes:
    encoded = _encode(message)
    return _encode(seal_struct(message, secrets)) if secrets.found_in(encoded) else encoded


def _child_begin(event: ChildStarted, state: State) -> Begin:
    depth = 1 if state.parent is None else state.parent.depth + 1
    parent = Parent(
        execution_id=state.execution_id, call_id=event.call_id, depth=depth, run=event.run, index=event.index, return_step=event.return_step
    )
    return Begin(path=event.path, net=event.net, payload=event.payload, env=state.env, parent=parent)


def _child_end(state: State, parent: Parent) -> ChildEnded:
    return ChildEnded(child=state.execution_id, run=parent.run, index=parent.index, status=state.status, result=state.result, error=state.error)


def quarantined_child(parent: int, child: int, reason: str) -> InboxRow:
    """The child can't say which call it was: its log may not be readable."""
    ended = ChildEnded(child=child, run=0, index=0, status="failed", error={"kind": "internal", "message": f"quarantined: {reason}"})
    return InboxRow(parent, "child_ended", _encode(ended))


def children(state: State) -> list[int]:
    """Sub-executions that are under way."""
    return [frame.child for run in state.runs.values() for frame in run.frames.values() if frame.child is not None]


def row_of(state: State, *, waiting: bool, wake_at: dt.datetime | None, secrets: Secrets) -> RowChange:
    """The execution's row as the state has it now."""
    status: Phase = "waiting" if waiting and state.status == "running" else state.status
    message = None if state.error is None else secrets.scrub(str(state.error.get("message", "")))
    return RowChange(status=status, started_at=state.requested_at if state.started else None, ended_at=state.ended_at, wake_at=wake_at, error=message)


def decode_inbox(row: InboxRow, secrets: Secrets) -> Begin | Cancel | ChildEnded | OutcomeMessage:
    """The message in an inbox row, in clear, with the row's id where that matters."""
    message = msgspec.msgpack.decode(row.body, type=_TYPES[row.kind], ext_hook=secrets.open_leaf)
    return msgspec.structs.replace(message, inbox_id=row.id) if isinstance(message, (Cancel, ChildEnded)) else message


_TYPES: Final[Mapping[str, Any]] = {"start": Begin, "cancel": Cancel, "child_ended": ChildEnded, "outcome": OutcomeMessage}
