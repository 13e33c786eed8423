"""What other nodes send to the owner of a shard, on its way to the shard's actor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct

from noetl.engine.claims import lost
from noetl.engine.exchange import Report
from noetl.engine.messages import Reported
from noetl.engine.shard import Reported as ForShard
from noetl.engine.wire import decode_outcome
from noetl.errors import LogUnavailable, NoetlError
from noetl.mailbox.remote import Mailed
from noetl.vault.secrets import Secrets


class Heard(Struct, frozen=True):
    """A node has sent something to the owner of a shard: an `OwnerInbox`."""

    shard: int
    mailed: Mailed[Any]


class Opened(Struct, frozen=True):
    """An outcome as its bytes, or the error because a large one could not be read."""

    shard: int
    report: Report
    answer: Callable[[None], None]
    body: Any


def reported(opened: Opened, secrets: Secrets) -> ForShard | None:
    """What the shard is told of it. None: nothing, it is sent again."""
    if isinstance(opened.body, LogUnavailable):
        return None
    key = opened.report.key
    try:
        if isinstance(opened.body, BaseException):
            raise opened.body
        outcome = decode_outcome(opened.body, secrets)
    except (NoetlError, msgspec.MsgspecError) as error:
        outcome = lost(key, f"its outcome can't be read: {error}")
    return ForShard(key.execution_id, Reported(outcome=outcome, done=lambda: opened.answer(None)))
