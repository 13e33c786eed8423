"""How a template looks a key up on a result, and how it sees a value that lies in the artifact store.

A *result mapping* is forgiving: `x.key` is the key itself, else the key inside `x.data`, else `x` for the names by which authors call a result
(docs/reference/language.md, rule 2.3). Views wrap plain data while a template runs; `settle` takes them off again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from noetl.values import Handle

MISSING: Final = object()
SELF_NAMES: Final = frozenset({"data", "result", "response", "output", "body", "value"})
LIST_SELF_NAMES: Final = frozenset({"data", "result", "value"})
META_KEYS: Final = frozenset({"_ref", "_store", "_size", "_preview"})
_FORGIVING_CHILDREN: Final = frozenset({"data", "body"})

Load = Callable[[Handle], Any]


class NotThere(Exception):
    """A template touched something that has to be fetched first. Fetch it and render again."""


class NotLoaded(NotThere):
    """A value that lies in the artifact store and is not in memory."""

    def __init__(self, handle: Handle) -> None:
        super().__init__(f"{handle.ref} is not loaded")
        self.handle = handle


def not_loaded(handle: Handle) -> Any:
    raise NotLoaded(handle)


class View(Mapping[str, Any]):
    """A read-only face of a mapping; prints and compares like the mapping."""

    __slots__ = ("_load",)

    def __init__(self, load: Load) -> None:
        self._load = load

    def plain(self) -> Any:
        """What the view stands for when it leaves the template."""
        raise NotImplementedError

    def mapping(self) -> Mapping[str, Any]:
        """The data, loaded when it has to be."""
        raise NotImplementedError

    def look(self, key: Any) -> Any:
        """The value under `key` by the view's rule, or MISSING."""
        raise NotImplementedError

    def __getitem__(self, key: str) -> Any:
        found = self.look(key)
        if found is MISSING:
            raise KeyError(key)
        return found

    def get(self, key: str, default: Any = None) -> Any:
        """Without the names by which a result is called: those are no keys, so that the default is for them, too."""
        found = self.look(key)
        return default if found is MISSING or found is self else found

    def __contains__(self, key: object) -> bool:
        return key in self.mapping()

    def __iter__(self) -> Iterator[str]:
        return iter(self.mapping())

    def __len__(self) -> int:
        return len(self.mapping())

    def __eq__(self, other: object) -> bool:
        return bool(whole(self, self._load) == (whole(other, self._load) if isinstance(other, View) else other))

    __hash__ = None  # type: ignore[assignment]  # like a dict

    def __str__(self) -> str:
        return str(whole(self, self._load))

    __repr__ = __str__


class Held(View):
    """A view of a mapping that is in memory."""

    __slots__ = ("_data",)

    def __init__(self, data: Mapping[str, Any], load: Load) -> None:
        super().__init__(load)
        self._data = data

    def plain(self) -> Any:
        return self._data

    def mapping(self) -> Mapping[str, Any]:
        return self._data


class Result(Held):
    """A result mapping."""

    __slots__ = ()

    def look(self, key: Any) -> Any:
        data = self._data
        if key in data:
            return _child(key, data[key], self._load)
        inner = data.get("data")
        if type(inner) is Handle:
            inner = see(inner, self._load)
        if isinstance(inner, (dict, View)) and key in inner:
            return _child(key, inner[key], self._load)
        return self if key in SELF_NAMES else MISSING


class LazyResult(View):
    """A result mapping in the artifact store. Reads the small entries from its handle and loads only for the others."""

    __slots__ = ("_handle",)

    def __init__(self, handle: Handle, load: Load) -> None:
        super().__init__(load)
        self._handle = handle

    def plain(self) -> Any:
        return self._handle

    def mapping(self) -> Mapping[str, Any]:
        select = self._handle.data.select
        if select is None:
            loaded: Mapping[str, Any] = self._load(self._handle)
            return loaded
        return self._handle.summary()

    def look(self, key: Any) -> Any:
        data = self._handle.data
        if key in META_KEYS:
            return self._handle.meta()[key]
        if data.select is not None:
            return Result(self._handle.summary(), self._load).look(key)
        if key in data.visible:
            return _child(key, data.visible[key], self._load)
        if data.names is not None and key not in data.names and "data" not in data.names:
            return self if key in SELF_NAMES else MISSING
        return Result(self._load(self._handle), self._load).look(key)


class Folded(Held):
    """A mapping whose keys are looked up without regard to case: HTTP headers."""

    __slots__ = ()

    def look(self, key: Any) -> Any:
        if key in self._data or not isinstance(key, str):
            return self._data.get(key, MISSING)
        return self._data.get(key.lower(), MISSING)


class Results(Held):
    """A mapping from names to results: `steps`, or the tasks of a pipeline."""

    __slots__ = ()

    def plain(self) -> Any:
        return dict(self._data)

    def look(self, key: Any) -> Any:
        return see(self._data[key], self._load) if key in self._data else MISSING


class ResultList(Sequence[Any]):
    """A list of results; in the artifact store when it is made from a handle. `labels` are the results of the pipeline's tasks, where it came from
    one."""

    __slots__ = ("_items", "_labels", "_load", "_source")

    def __init__(self, items: list[Any] | Handle, load: Load, labels: Mapping[str, Any] | None = None) -> None:
        self._source = items
        self._items = items
        self._load = load
        self._labels = labels

    @property
    def labels(self) -> Mapping[str, Any] | None:
        return self._labels

    def plain(self) -> Any:
        return self._source

    def look(self, key: Any) -> Any:
        """What a list is asked for by name: itself, the results of the tasks, where it lies."""
        if key in LIST_SELF_NAMES:
            return self
        if key in META_KEYS and isinstance(self._source, Handle) and self._source.loop_run is None:
            return self._source.meta()[key]
        return Results(self._labels, self._load) if key == "results" and self._labels is not None else MISSING

    def items(self) -> list[Any]:
        if isinstance(self._items, Handle):
            self._items = list(self._load(self._items))
        return self._items

    def __getitem__(self, index: Any) -> Any:
        found = self.items()[index]
        return ResultList(found, self._load) if isinstance(index, slice) else see(found, self._load)

    def __iter__(self) -> Iterator[Any]:
        return (see(item, self._load) for item in self.items())

    def __len__(self) -> int:
        if isinstance(self._items, Handle) and self._items.data.length is not None:
            return self._items.data.length
        return len(self.items())

    def __contains__(self, value: object) -> bool:
        return value in self.items()

    def __eq__(self, other: object) -> bool:
        return self.items() == (other.items() if isinstance(other, ResultList) else other)

    __hash__ = None  # type: ignore[assignment]  # like a list

    def __add__(self, other: Any) -> list[Any]:
        return [*self.items(), *other]

    def __radd__(self, other: Any) -> list[Any]:
        return [*other, *self.items()]

    def __str__(self) -> str:
        return str(whole(self.items(), self._load))

    __repr__ = __str__


def see(value: Any, load: Load) -> Any:
    """How a template sees a result."""
    kind = type(value)
    if kind is dict:
        return Result(value, load)
    if kind is Handle:
        return see_handle(value, load)
    return value


def see_handle(handle: Handle, load: Load) -> Any:
    if handle.data.shape == "map":
        return LazyResult(handle, load)
    if handle.data.shape == "list":
        return ResultList(handle, load)
    return load(handle)  # a text or number has no face of its own


def _child(key: Any, value: Any, load: Load) -> Any:
    kind = type(value)
    if kind is dict:
        if key in _FORGIVING_CHILDREN:
            return Result(value, load)
        if key == "results":
            return Results(value, load)
        return Folded(value, load) if key == "headers" else value
    if kind is list and key == "results":
        return ResultList(value, load)
    return see_handle(value, load) if kind is Handle else value


def settle(value: Any) -> Any:
    """What leaves the template: views off, iterators as lists. Plain data is returned as it is, without a copy where it holds no view."""
    if isinstance(value, (View, ResultList)):
        return value.plain()
    kind = type(value)
    if kind is dict:
        return {key: settle(item) for key, item in value.items()}
    if kind is list or kind is tuple:
        return [settle(item) for item in value]
    return value


def whole(value: Any, load: Load) -> Any:
    """The data as a reader sees all of it: views off, and what lies in the artifact store in its place (of a selection, what was selected)."""
    value = settle(value)
    if isinstance(value, Handle):
        return whole(load(value), load) if value.data.select is None else value.summary()
    if isinstance(value, dict):
        return {key: whole(item, load) for key, item in value.items()}
    return [whole(item, load) for item in value] if isinstance(value, list) else value
