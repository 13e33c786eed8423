"""What is wrong with a playbook, and where."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable
from typing import Final, Protocol

from msgspec import Struct


class Problem(Struct, frozen=True):
    """One thing that the author should change.

    `line` and `column` count from 1. `path` is like `workflow[2].tool.kind`, empty for the whole document; `key` is the key that is concerned, if
    one is; `hint` says what to do instead.
    """

    message: str
    line: int
    column: int
    path: str
    key: str | None
    hint: str | None = None
    file: str | None = None


class Placed(Protocol):
    """Anything that knows where in the file it stands."""

    @property
    def line(self) -> int: ...
    @property
    def column(self) -> int: ...
    @property
    def path(self) -> str: ...


class Place(Struct, frozen=True):
    """A position without a node."""

    line: int
    column: int
    path: str = ""


_Key = tuple[int, int, str]


class Report:
    """Gathers the problems of one file, in any order."""

    def __init__(self, file: str | None = None, *, strict: bool = False) -> None:
        self._file = file
        self._strict = strict
        self._errors: dict[_Key, Problem] = {}  # an anchored part that is used twice has its problems once
        self._warnings: dict[_Key, Problem] = {}
        self._spellings: set[str] = set()

    def error(self, at: Placed, message: str, *, key: str | None = None, hint: str | None = None) -> None:
        self._errors.setdefault((at.line, at.column, message), self._problem(at, message, key, hint))

    def warn(self, at: Placed, message: str, *, key: str | None = None, hint: str | None = None) -> None:
        self._warnings.setdefault((at.line, at.column, message), self._problem(at, message, key, hint))

    def deprecated(self, at: Placed, spelling: str, instead: str) -> None:
        """A spelling that works but is old: one warning per spelling and file, in strict mode only."""
        if self._strict and spelling not in self._spellings:
            self._spellings.add(spelling)
            self.warn(at, f"{spelling} is an older spelling", hint=f"write {instead}")

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(self._errors[key] for key in sorted(self._errors))

    @property
    def warnings(self) -> tuple[Problem, ...]:
        return tuple(self._warnings[key] for key in sorted(self._warnings))

    def _problem(self, at: Placed, message: str, key: str | None, hint: str | None) -> Problem:
        return Problem(message, at.line, at.column, at.path, key, hint, self._file)


_MAX_COMPARED: Final = 200


def nearest(word: str, known: Iterable[str]) -> str | None:
    """A hint that names the known word which `word` may be a slip of."""
    alike = (other for other in known if abs(len(other) - len(word)) <= 2 + len(word) // 4)
    found = difflib.get_close_matches(word, itertools.islice(alike, _MAX_COMPARED), n=1, cutoff=0.7)
    return f"did you mean '{found[0]}'?" if found else None
