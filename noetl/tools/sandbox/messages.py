"""What the node asks of a worker, and what it answers. One `Job` each way at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct

from noetl.values import Handle, Sealed, pack_leaf, to_plain


class Job(Struct, frozen=True, array_like=True):
    """One call. `args` and each of `names` are encoded values, which may hold handles: the worker loads them itself."""

    source: str
    file: str
    """How tracebacks call the source: `<step>` or the path of the script."""
    args: dict[str, Raw]
    names: dict[str, Raw]
    iterator: str | None
    execution_id: str
    env: dict[str, str]
    libs: Any
    artifacts_dir: str
    inline_max_bytes: int
    result_max_bytes: int


class Answer(Struct, frozen=True, array_like=True, tag=str.lower):
    """Anything a worker may say."""


class Done(Answer, frozen=True):
    """The call has a result. `left` says what it left running; such a worker must not be used again."""

    value: Raw
    warnings: tuple[str, ...] = ()
    left: str | None = None


class Failed(Answer, frozen=True):
    """The call failed. `line` is that of the source, from 1."""

    kind: str
    message: str
    exception_type: str | None = None
    traceback: str | None = None
    line: int | None = None
    warnings: tuple[str, ...] = ()
    left: str | None = None


class Farewell(Answer, frozen=True):
    """The code is about to send SIGKILL to its own process: the death that follows is its doing, nobody else's."""


Answers = Done | Failed | Farewell

encode_answer = msgspec.msgpack.Encoder().encode
decode_answer = msgspec.msgpack.Decoder(Answers).decode
decode_job = msgspec.msgpack.Decoder(Job).decode
decode_named = msgspec.msgpack.Decoder(dict[str, Raw]).decode


def _pack(value: Any) -> Any:
    """Values as the engine holds them: leaves, read-only mappings and lazy lists, and whatever else a scope may show."""
    if isinstance(value, (Handle, Sealed)):
        return pack_leaf(value)
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, Sequence) else to_plain(value)


_encode = msgspec.msgpack.Encoder(enc_hook=_pack).encode


def encode_named(values: Mapping[str, Any]) -> dict[str, Raw]:
    """Each value encoded by itself, so that the reader decodes only those it touches."""
    return {str(name): Raw(_encode(value)) for name, value in values.items()}


def encode_job(job: Job) -> bytes:
    return _encode(job)
