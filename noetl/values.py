"""Values that travel in events, messages and artifacts.

A value is JSON-like: dict with text keys, list, str, int (64 bit), float, bool, None. Two leaves stand for something else: a `Handle` for a
value that lies in the artifact store, a `Sealed` for one that only its vault can open. On the wire both are msgpack extension types, so
that they may stand at any depth and no mapping can be mistaken for them.
"""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import hashlib
import uuid
from collections.abc import Callable, Mapping, Set
from typing import Any, Final

import msgspec

HANDLE_CODE: Final = 1
SEALED_CODE: Final = 2
REF_PREFIX: Final = "noetl://artifact/"
LOOP_PREFIX: Final = "loop/"

_SMALL_VALUE_BYTES: Final = 256
_MAX_VISIBLE: Final = 64
_MAX_NAMES: Final = 1_000
_PREVIEW_CHARS: Final = 200
_LISTERS: Final = ("to_pylist", "tolist")  # Arrow tables and arrays; NumPy arrays and scalars, pandas series
INT_MIN: Final = -(2**63)
INT_MAX: Final = 2**64 - 1
_KV_MAX_BYTES: Final = 1_048_576
_MAX_EXPONENT: Final = 18  # 1E+18 fits 64 bits; beyond, a power of ten is a float


class HandleData(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a handle carries besides the value's address.

    `shape` is `map`, `list`, `text` or `other`; `length` counts keys, elements or characters; `names` are all top-level keys of a mapping (None when
    there are too many); `visible` are those top-level entries that are small enough to read without loading; `select` are the only keys that a
    reader may see, None for all; `tier` is the name of the store that the playbook asked for.
    """

    hash: str
    size_bytes: int
    shape: str
    length: int | None = None
    names: tuple[str, ...] | None = None
    visible: dict[str, Any] = {}
    preview: str = ""
    select: tuple[str, ...] | None = None
    tier: str = "disk"


class Handle:
    """A value in the artifact store, addressed by the SHA-256 of its encoded bytes."""

    __slots__ = ("data",)

    def __init__(self, data: HandleData) -> None:
        self.data = data

    @classmethod
    def of_loop(cls, execution_id: int, run: int, length: int, size_bytes: int) -> Handle:
        """The list of a loop's results: it lies in the store's table of loop items, not among the artifacts."""
        return cls(HandleData(hash=f"{LOOP_PREFIX}{execution_id}/{run}", size_bytes=size_bytes, shape="list", length=length, tier="loop"))

    @property
    def hash(self) -> str:
        return self.data.hash

    @property
    def loop_run(self) -> tuple[int, int] | None:
        """Execution and run whose loop made this list; None for an artifact."""
        if not self.data.hash.startswith(LOOP_PREFIX):
            return None
        execution_id, run = self.data.hash.removeprefix(LOOP_PREFIX).split("/")
        return int(execution_id), int(run)

    @property
    def ref(self) -> str:
        return REF_PREFIX + self.data.hash

    def meta(self) -> dict[str, Any]:
        """The four keys by which a playbook sees that a result lies elsewhere."""
        data = self.data
        return {"_ref": self.ref, "_store": data.tier, "_size": data.size_bytes, "_preview": data.preview}

    def summary(self) -> dict[str, Any]:
        """What can be shown without loading: the small entries and the four keys."""
        shown = self.data.visible
        if self.data.select is not None:
            shown = {key: shown[key] for key in self.data.select if key in shown}
        return {**shown, **self.meta()}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Handle) and self.data == other.data

    def __hash__(self) -> int:
        return hash(self.data.hash)

    def __repr__(self) -> str:
        return f"<{self.ref} {self.data.shape} {self.data.size_bytes} bytes>"


class Sealed:
    """A value that is encrypted at rest; `display` is what a reader may see instead."""

    __slots__ = ("cipher", "display")

    def __init__(self, display: str, cipher: bytes) -> None:
        self.display = display
        self.cipher = cipher

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sealed) and self.cipher == other.cipher

    def __hash__(self) -> int:
        return hash(self.cipher)

    def __repr__(self) -> str:
        return self.display


def pack_leaf(value: object) -> msgspec.msgpack.Ext:
    """The `enc_hook` of every encoder that may meet a value."""
    if isinstance(value, Handle):
        return msgspec.msgpack.Ext(HANDLE_CODE, msgspec.msgpack.encode(value.data, enc_hook=pack_leaf))
    if isinstance(value, Sealed):
        return msgspec.msgpack.Ext(SEALED_CODE, msgspec.msgpack.encode((value.display, value.cipher)))
    raise NotImplementedError(f"{type(value).__name__} is not a value")


def unpack_leaf(code: int, data: memoryview) -> object:
    """The `ext_hook` of every decoder that may meet a value."""
    if code == HANDLE_CODE:
        return Handle(_decode_handle(data))
    if code == SEALED_CODE:
        display, cipher = _decode_sealed(data)
        return Sealed(display, cipher)
    return msgspec.msgpack.Ext(code, bytes(data))  # a newer node's leaf: kept, not understood


_decode_handle = msgspec.msgpack.Decoder(HandleData, ext_hook=unpack_leaf).decode
_decode_sealed = msgspec.msgpack.Decoder(tuple[str, bytes]).decode
_encode = msgspec.msgpack.Encoder(enc_hook=pack_leaf).encode
_decode = msgspec.msgpack.Decoder(ext_hook=unpack_leaf).decode


def encode(value: Any) -> bytes:
    return _encode(value)


def decode(data: bytes | memoryview) -> Any:
    return _decode(data)


def content_hash(data: bytes | memoryview) -> str:
    return hashlib.sha256(data).hexdigest()


def handle_of(value: Any, encoded: bytes | memoryview, *, tier: str | None = None, select: tuple[str, ...] | None = None) -> Handle:
    """The handle under which `encoded`, the encoded form of `value`, is kept. `tier` None: the one that fits its size."""
    names: tuple[str, ...] | None = None
    visible: dict[str, Any] = {}
    length = len(value) if isinstance(value, (dict, list, str)) else None
    if isinstance(value, dict):
        names = tuple(value) if len(value) <= _MAX_NAMES else None
        visible = _small_entries(value, select)
    shape = "map" if isinstance(value, dict) else "list" if isinstance(value, list) else "text" if isinstance(value, str) else "other"
    return Handle(
        HandleData(
            hash=content_hash(encoded),
            size_bytes=len(encoded),
            shape=shape,
            length=length,
            names=names,
            visible=visible,
            preview=preview(value),
            select=select,
            tier=tier or ("kv" if len(encoded) < _KV_MAX_BYTES else "disk"),
        )
    )


def _small_entries(value: Mapping[str, Any], select: tuple[str, ...] | None) -> dict[str, Any]:
    """Entries that a guard is likely to read: selected ones of any size, and small ones."""
    entries = {key: value[key] for key in select or () if key in value}
    for key, item in value.items():
        if len(entries) >= _MAX_VISIBLE:
            break
        if key not in entries and _is_small(item):
            entries[key] = item
    return entries


def _is_small(value: Any) -> bool:
    if isinstance(value, (str, dict, list)):
        return len(value) <= _SMALL_VALUE_BYTES and len(encode(value)) <= _SMALL_VALUE_BYTES
    return True


def preview(value: Any) -> str:
    """A short text for people. Looks at the head of a large value only."""
    if isinstance(value, dict):
        head: Any = dict(list(value.items())[:5])
    elif isinstance(value, (list, str)):
        head = value[: 5 if isinstance(value, list) else _PREVIEW_CHARS]
    else:
        head = value
    text = head if isinstance(head, str) else repr(head)
    return text if len(text) <= _PREVIEW_CHARS else text[: _PREVIEW_CHARS - 1] + "…"


def to_plain(value: Any, odd: Callable[[object], None] | None = None) -> Any:
    """`value` as JSON-like data: dates as ISO text, decimals as numbers, bytes as base64 text, tuples and sets as lists.

    What has no such form becomes text, and `odd` is told of it.
    """
    kind = type(value)
    if kind is str or kind is bool or value is None or kind is float:
        return value
    if kind is int:
        return value if INT_MIN <= value <= INT_MAX else _as_text(value, odd)
    if kind is dict:
        return {key if type(key) is str else _key(key): to_plain(item, odd) for key, item in value.items()}
    if kind is list or kind is tuple:
        return [to_plain(item, odd) for item in value]
    if kind is Handle or kind is Sealed:
        return value
    return _odd_to_plain(value, odd)


def _key(key: object) -> str:
    if isinstance(key, str):
        return str(key)
    if key is None or isinstance(key, bool):
        return {None: "null", True: "true", False: "false"}[key]
    return key.isoformat() if isinstance(key, (dt.date, dt.time)) else str(key)


def _odd_to_plain(value: Any, odd: Callable[[object], None] | None) -> Any:
    """Subclasses of the plain types, and the types that have an agreed plain form."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return to_plain(int(value), odd)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, decimal.Decimal):
        return _number(value)
    if isinstance(value, (dt.datetime, dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, dt.timedelta):
        return value.total_seconds()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, Mapping):
        return {_key(key): to_plain(item, odd) for key, item in value.items()}
    if isinstance(value, (list, tuple, Set)):
        return [to_plain(item, odd) for item in value]
    if isinstance(value, uuid.UUID):
        return str(value)
    for method in _LISTERS:
        lister = getattr(value, method, None)
        if callable(lister):
            return to_plain(lister(), odd)
    return _as_text(value, odd)


def _number(value: decimal.Decimal) -> Any:
    """`5` and `1E+4`, as drivers write 10000, are whole numbers; `5.0` is not."""
    exponent = value.as_tuple().exponent
    return to_plain(int(value)) if isinstance(exponent, int) and 0 <= exponent <= _MAX_EXPONENT else float(value)


def _as_text(value: object, odd: Callable[[object], None] | None) -> str:
    if odd is not None:
        odd(value)
    return str(value)
