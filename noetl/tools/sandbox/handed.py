"""Values as the author's code sees them: results that forgive, handles that are loaded, a context that decodes what is touched."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Raw

from noetl.blobs import read_blob
from noetl.values import HANDLE_CODE, Handle, decode, unpack_leaf

if TYPE_CHECKING:
    from _collections_abc import dict_items, dict_values

Decode = Callable[[Raw | memoryview], Any]

_FORGIVING: Final = ("data", "body")


class Result(dict[str, Any]):
    """A mapping that finds a key also inside its `data`, with `[]` and `get` only (docs/reference/language.md, rule 2.3).

    One that came from the artifact store also knows the four keys that say so.
    """

    __slots__ = ("_handle",)

    def __init__(self, items: Mapping[str, Any], handle: Handle | None = None) -> None:
        super().__init__(items)
        self._handle = handle
        for key in _FORGIVING:
            inner = super().get(key)
            if type(inner) is dict:
                self[key] = Result(inner)

    def __missing__(self, key: str) -> Any:
        inner = super().get("data")
        if isinstance(inner, dict) and key in inner:
            return inner[key]
        return self._where_it_lies()[key]

    def get(self, key: str, default: Any = None) -> Any:
        try:
            return self[key]
        except KeyError:
            return default

    def copy(self) -> Result:
        return Result(self, self._handle)

    def __reduce__(self) -> tuple[type[dict[str, Any]], tuple[dict[str, Any]]]:
        return dict, (dict(self),)  # another process (multiprocessing) need not know this class

    def _where_it_lies(self) -> dict[str, Any]:
        return {} if self._handle is None else self._handle.meta()


def as_result(value: Any) -> Any:
    return Result(value) if type(value) is dict else value


class Lazy(dict[str, Any]):
    """A dict whose values are decoded when they are first touched. What is not touched is neither decoded nor loaded."""

    def __init__(self, encoded: Mapping[str, Raw], decode_value: Decode) -> None:
        super().__init__(encoded)
        self._decode = decode_value

    def __getitem__(self, key: str) -> Any:
        value = super().__getitem__(key)
        if type(value) is Raw:
            value = as_result(self._decode(value))
            self[key] = value
        return value

    def __iter__(self) -> Iterator[str]:
        return super().__iter__()  # defined here, so that dict(x) and {**x} ask us for each value

    def __eq__(self, other: object) -> bool:
        self._decode_all()
        return super().__eq__(other)

    __hash__ = None  # like a dict

    def __or__(self, other: dict[str, Any]) -> dict[str, Any]:  # type: ignore[override]
        return self.copy() | other

    def __repr__(self) -> str:
        return f"<context with {', '.join(self)}>"

    def __reduce__(self) -> tuple[type[dict[str, Any]], tuple[dict[str, Any]]]:
        return dict, (self.copy(),)

    def get(self, key: str, default: Any = None) -> Any:
        return self[key] if key in self else default  # noqa: SIM401  this is get

    def setdefault(self, key: str, default: Any = None) -> Any:
        return self[key] if key in self else super().setdefault(key, default)

    def pop(self, key: str, *default: Any) -> Any:
        self.get(key)
        return super().pop(key, *default)

    def popitem(self) -> tuple[str, Any]:
        self._decode_all()
        return super().popitem()

    def values(self) -> dict_values[str, Any]:
        self._decode_all()
        return super().values()

    def items(self) -> dict_items[str, Any]:
        self._decode_all()
        return super().items()

    def copy(self) -> dict[str, Any]:
        return {**self}

    def _decode_all(self) -> None:
        for key in self:
            self.get(key)


def decoder(artifacts_dir: Path) -> Decode:
    """Decodes values, with what lies in the artifact store in place of its handles."""

    def unpack(code: int, data: memoryview) -> object:
        leaf = unpack_leaf(code, data)
        return _load(leaf, artifacts_dir) if code == HANDLE_CODE and isinstance(leaf, Handle) else leaf

    return msgspec.msgpack.Decoder(ext_hook=unpack).decode


def _load(handle: Handle, artifacts_dir: Path) -> Any:
    """The value; of one with a selection, the selected keys and where the rest is.

    Raises:
        NotFound, LogCorrupt: the artifact is gone, or is not what was written.
    """
    if handle.data.select is not None:
        return Result(handle.summary())
    value = decode(read_blob(artifacts_dir, handle.hash))
    return Result(value, handle) if type(value) is dict else value
