"""`keychain` as templates see it.

Only the fields and args of a task may read it: guards, writes and arguments of arcs are decided by the execution, which opens no credentials.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, Literal, NoReturn

from noetl.dsl.lookup import MISSING, Load, NotThere, View
from noetl.errors import TemplateError

SECRET_NAMES: Final = frozenset({"keychain", "token"})

MAPPING_METHODS: Final = frozenset({"get", "items", "keys", "values"})

What = Literal["keychain", "token"]


class Unresolved(NotThere):
    """A template read a secret that is not fetched yet."""

    def __init__(self, what: What, name: str) -> None:
        super().__init__(f"{what} {name}")
        self.what: What = what
        self.name = name


class ClosedKeychain(View):
    """Where no secret may be read."""

    __slots__ = ()

    def look(self, key: Any) -> NoReturn:
        raise TemplateError(f"keychain.{key}: a secret can be read in the fields and args of a task only")

    def mapping(self) -> NoReturn:
        self.look("*")

    def plain(self) -> NoReturn:
        self.look("*")


def closed_token(*_: Any) -> NoReturn:
    raise TemplateError("token(): a token can be read in the fields and args of a task only")


class OpenKeychain(View):
    """`read` gives an entry's data, or raises `Unresolved`."""

    __slots__ = ("_names", "_read")

    def __init__(self, names: Iterable[str], read: Callable[[str], Mapping[str, Any]], load: Load) -> None:
        super().__init__(load)
        self._names = tuple(names)
        self._read = read

    def look(self, key: Any) -> Any:
        if key in MAPPING_METHODS and key not in self._names:
            return MISSING
        return Entry(str(key), self._read(str(key)), self._load)

    def mapping(self) -> Mapping[str, Any]:
        return {name: self._read(name) for name in self._names}

    def plain(self) -> Any:
        return self.mapping()

    def __contains__(self, key: object) -> bool:
        return key in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)


class Entry(View):
    """One entry. A field that it does not have is an error: no call may go out with an empty secret."""

    __slots__ = ("_data", "_name")

    def __init__(self, name: str, data: Mapping[str, Any], load: Load) -> None:
        super().__init__(load)
        self._name = name
        self._data = data

    def look(self, key: Any) -> Any:
        if key in MAPPING_METHODS and key not in self._data:
            return MISSING
        if key not in self._data:
            raise TemplateError(f"keychain.{self._name} has no field '{key}': it has {', '.join(sorted(map(str, self._data)))}")
        return self._data[key]

    def get(self, key: str, default: Any = None) -> Any:
        return self._data.get(key, default)

    def mapping(self) -> Mapping[str, Any]:
        return self._data

    def plain(self) -> Any:
        return dict(self._data)
