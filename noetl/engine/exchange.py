"""What the owner of an execution and the nodes that run its attempts say to each other. One closed union for each place where it arrives.

An owner is addressed by shard and execution, whoever owns the shard now; a node by its id. Bytes of an order or an outcome are a `Parcel`: in the
message when they are small, else in the artifact store.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from noetl.engine.cache import ValueCache
from noetl.mailbox.address import NODES, mailbox, node_address
from noetl.mailbox.remote import RemoteRef
from noetl.mailbox.transport import MESSAGE_MAX_BYTES, Transport
from noetl.store.members import Incarnation
from noetl.values import content_hash

_ROOM_BYTES: Final = 4_096
"""For what is around a parcel."""


class AttemptKey(Struct, frozen=True, array_like=True):
    """One attempt of one execution."""

    execution_id: int
    run: int
    index: int
    task: str
    attempt: int
    call: int


class Parcel(Struct, frozen=True, omit_defaults=True):
    body: bytes = b""
    blob: str | None = None


async def packed(data: bytes, cache: ValueCache) -> Parcel:
    """Raises `LogUnavailable` when the artifact store does not take what is large."""
    if fits(data):
        return Parcel(data)
    await cache.store({(digest := content_hash(data)): data})
    return Parcel(blob=digest)


def fits(data: bytes) -> bool:
    return len(data) <= MESSAGE_MAX_BYTES - _ROOM_BYTES


async def unpacked(parcel: Parcel, cache: ValueCache) -> bytes:
    """Raises `NotFound` when it is gone."""
    return parcel.body if parcel.blob is None else await cache.read(parcel.blob)


class Command(Struct, frozen=True):
    """A hint that an attempt may be claimed at the owner of its shard. `step` is for who looks on."""

    shard: int
    key: AttemptKey
    step: str


# -- to the owner of an execution --------------------------------------------------------------------------------------


class OwnerMessage(Struct, frozen=True, tag_field="kind"):
    """Anything that the owner of an execution may be sent."""


class Claim(OwnerMessage, frozen=True):
    """May this node run it? Answered with a `ClaimAnswer`."""

    key: AttemptKey
    by: Incarnation


class Report(OwnerMessage, frozen=True):
    """The outcome of an attempt. Answered with None when it is committed, or changes nothing."""

    key: AttemptKey
    outcome: Parcel


class Nudge(OwnerMessage, frozen=True):
    """Something is in the execution's inbox in the store."""

    execution_id: int


OwnerInbox = Claim | Report | Nudge


class ClaimAnswer(Struct, frozen=True, omit_defaults=True):
    """`order` None: no, somebody else has it, or nobody needs it any more. `elsewhere`: it waits, but not for this node."""

    order: Parcel | None = None
    elsewhere: bool = False


class Declined(Struct, frozen=True):
    """A node does not run what it has claimed: no answer has come. In the execution's inbox in the store, since the bus did not help."""

    key: AttemptKey
    by: Incarnation


# -- to a node that runs attempts --------------------------------------------------------------------------------------


class NodeMessage(Struct, frozen=True, tag_field="kind"):
    """Anything that a node may be sent."""


class WhatRuns(NodeMessage, frozen=True):
    """A new owner asks what the node has of these shards. Answered with `Runs`."""

    shards: tuple[int, ...]


class HowBusy(NodeMessage, frozen=True):
    """Answered with `Busy`."""


class StopCall(NodeMessage, frozen=True):
    """Answered with the outcome, as a `Parcel`, when the call has ended; empty when the node does not have it, or it comes with the report."""

    key: AttemptKey


class Over(Struct, frozen=True):
    execution_id: int
    resumable: bool = False


class ExecutionsOver(NodeMessage, frozen=True):
    """Let go of what their tools keep. Not answered."""

    over: tuple[Over, ...]


NodeInbox = WhatRuns | HowBusy | StopCall | ExecutionsOver


class Busy(Struct, frozen=True):
    """`free` slots of each pool."""

    free: dict[str, int]


class Held(Struct, frozen=True, array_like=True):
    """An attempt that a node runs, or has not told the outcome of. `granted` False: it has asked for it and has no answer yet."""

    key: AttemptKey
    shard: int
    granted: bool = True


class Runs(Struct, frozen=True):
    """What a node has."""

    by: Incarnation
    attempts: tuple[Held, ...] = ()


encode = msgspec.msgpack.Encoder().encode
decode_command = msgspec.msgpack.Decoder(Command).decode
decode_declined = msgspec.msgpack.Decoder(Declined).decode


def owner(shard: int, execution_id: int, bus: Transport) -> RemoteRef[OwnerInbox]:
    """Whoever owns the shard."""
    return RemoteRef(mailbox(shard, execution_id), bus)


def node(name: str, bus: Transport) -> RemoteRef[NodeInbox]:
    return RemoteRef(node_address(name), bus)


def all_nodes(bus: Transport) -> RemoteRef[NodeInbox]:
    return RemoteRef(NODES, bus)
