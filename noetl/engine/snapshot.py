"""The body of a snapshot: a checksum (SHA-256, 32 bytes), then the encoded state."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final

import msgspec

from noetl.engine.state import State
from noetl.values import pack_leaf

_CHECKSUM_BYTES: Final = 32

_encode: Final = msgspec.msgpack.Encoder(enc_hook=pack_leaf).encode


def pack(state: State) -> bytes:
    encoded = _encode(state)
    return hashlib.sha256(encoded).digest() + encoded


def unpack(body: bytes, ext_hook: Callable[[int, memoryview], object]) -> State | None:
    """None when the bytes are not those that were written, or can't be read: a snapshot only saves time, the log has it all."""
    checksum, encoded = body[:_CHECKSUM_BYTES], body[_CHECKSUM_BYTES:]
    if hashlib.sha256(encoded).digest() != checksum:
        return None
    try:
        return msgspec.msgpack.decode(encoded, type=State, ext_hook=ext_hook)
    except msgspec.MsgspecError:
        return None
