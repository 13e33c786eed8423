"""Writing rows into a table: the SQL tools' sinks.

Rows travel as one JSON document in one bound parameter, and the server gives every value the type of its column. So thousands of rows are one
statement, and no value is ever part of the SQL text.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from msgspec import Struct

from noetl.blobs import read_blob
from noetl.errors import NotFound, ToolError, ToolRefused
from noetl.tools.tool import ToolContext
from noetl.values import Handle, decode, to_plain

Mode = Literal["insert", "append", "upsert", "update", "replace"]
Row = dict[str, Any]

BATCH_ROWS: Final = 1_000
"""Rows of one statement: a few milliseconds of encoding. All statements of a write are one transaction."""

JSON_TYPES: Final = frozenset({"json", "jsonb", "JSON"})
_NAME_PART: Final = re.compile(r'"(?:[^"]|"")+"|[^\W\d][\w$]*')


class Column(Struct, frozen=True):
    """A column of the table; `type` as the server spells it."""

    name: str
    type: str


class Dialect(Protocol):
    """What differs between the servers."""

    def source(self, columns: Sequence[Column]) -> str:
        """A relation called `s` with these columns, read from the JSON list in `$1`."""
        ...

    def cell(self, value: Any, column: Column) -> Any:
        """A plain value in the form in which the server reads it from JSON for this column."""
        ...


class Write(Struct, frozen=True):
    """What to write. `table` is quoted already; `key` are the columns that tell rows apart."""

    table: str
    mode: Mode
    key: list[str]
    rows: list[Row]


class Command(Struct, frozen=True):
    """SQL, and the JSON text for its `$1`; None when it takes none."""

    sql: str
    rows_json: str | None = None


def rows_of(data: Any, ctx: ToolContext) -> list[Row]:
    """The rows that a task gives: `data`, else its bound `args`. A mapping is one row.

    Raises:
        ToolRefused: something else than mappings.
        ToolError: `not_found`: a value that lies in the artifact store is gone.
    """
    if data is None and not ctx.args:
        raise ToolRefused("there are no rows to write: give them as 'data' or 'args', a mapping or a list of mappings")
    root = ctx.resources.artifacts_dir
    given = _open(ctx.args if data is None else data, root)
    rows = [given] if isinstance(given, Mapping) else given
    if not isinstance(rows, list):
        raise ToolRefused(f"'data' must be a mapping or a list of mappings, not {_kind(given)}")
    plain = []
    for number, row in enumerate(rows):
        opened = _open(row, root)
        if not isinstance(opened, Mapping):
            raise ToolRefused(f"'data[{number}]' must be a mapping of column to value, not {_kind(opened)}")
        plain.append({str(name): to_plain(_open(value, root)) for name, value in opened.items()})
    return plain


def _open(value: Any, root: Path) -> Any:
    if not isinstance(value, Handle):
        return value
    try:
        return decode(read_blob(root, value.hash))
    except NotFound:
        raise ToolError(f"the value {value.ref} is not in the store any more", kind="not_found", extra={"code": "REFERENCE_NOT_AVAILABLE"}) from None


def _kind(value: object) -> str:
    return "nothing" if value is None else type(value).__name__


def key_names(key: str | Sequence[str] | None) -> list[str]:
    """`a, b` and `[a, b]` are the same key."""
    names = key.split(",") if isinstance(key, str) else key or ()
    return [name.strip() for name in names]


def plan(write: Write, columns: Sequence[Column], dialect: Dialect) -> Iterator[Command]:
    """The statements that write the rows, to be run in one transaction.

    Rows with the same columns go together, in the order in which their columns are first met; a column that a row does not name keeps its default.
    Of rows with the same key the last one wins.

    Raises:
        ToolRefused: a row or the key names a column that the table does not have, or the mode needs a key.
    """
    find = _Finder(write.table, columns)
    keys = [find(name).name for name in write.key]
    keyed = write.mode in {"upsert", "update"}
    if keyed and not keys:
        raise ToolRefused(f"mode '{write.mode}' needs 'key': the column or columns that tell rows apart")
    if write.mode == "replace":
        yield Command(f"DELETE FROM {write.table}")  # noqa: S608  quoted
    for chosen, group in _by_columns(write.rows, find).items():
        sql = _sql(write, keys, chosen, dialect.source(chosen))
        rows = _last_of_each(keys, group) if keyed else group
        for start in range(0, len(rows), BATCH_ROWS):
            batch = [{column.name: _cell(row[column.name], column, dialect) for column in chosen} for row in rows[start : start + BATCH_ROWS]]
            yield Command(sql, json.dumps(batch, separators=(",", ":")))


class _Finder:
    """Finds a column by its name as written, else by its name in lower case, as SQL does."""

    def __init__(self, table: str, columns: Sequence[Column]) -> None:
        self._table = table
        self._exact = {column.name: column for column in columns}
        self._folded = {column.name.lower(): column for column in reversed(columns)}

    def __call__(self, name: str) -> Column:
        column = self._exact.get(name) or self._folded.get(name.lower())
        if column is None:
            raise ToolRefused(f"table {self._table} has no column '{name}'; it has {', '.join(self._exact)}")
        return column


def _by_columns(rows: Sequence[Row], find: _Finder) -> dict[tuple[Column, ...], list[Row]]:
    """The rows under the columns that they have, under the columns' own names."""
    groups: dict[tuple[Column, ...], list[Row]] = {}
    known: dict[tuple[str, ...], tuple[Column, ...]] = {}
    for number, row in enumerate(rows):
        names = tuple(row)
        if not names:
            raise ToolRefused(f"'data[{number}]' is an empty mapping: there is nothing to write")
        chosen = known.get(names) or known.setdefault(names, tuple(find(name) for name in names))
        groups.setdefault(chosen, []).append({column.name: value for column, value in zip(chosen, row.values(), strict=True)})
    return groups


def _last_of_each(keys: Sequence[str], rows: Sequence[Row]) -> list[Row]:
    missing = [key for key in keys if key not in rows[0]]
    if missing:
        raise ToolRefused(f"a row has no value for the key column '{missing[0]}'")
    return list({json.dumps([row[key] for key in keys]): row for row in rows}.values())


def _sql(write: Write, keys: Sequence[str], chosen: Sequence[Column], source: str) -> str:
    names = [quoted(column.name) for column in chosen]
    if write.mode == "update":
        changes = ", ".join(f"{name} = s.{name}" for name in names if name not in map(quoted, keys))
        if not changes:
            raise ToolRefused("mode 'update' needs a column besides the key: there is nothing to change")
        same = " AND ".join(f"{write.table}.{quoted(key)} = s.{quoted(key)}" for key in keys)
        return f"UPDATE {write.table} SET {changes} FROM {source} WHERE {same}"  # noqa: S608  names are quoted, values are bound
    insert = f"INSERT INTO {write.table} ({', '.join(names)}) SELECT {', '.join(names)} FROM {source}"  # noqa: S608  as above
    if write.mode != "upsert":
        return insert
    changes = ", ".join(f"{name} = EXCLUDED.{name}" for name in names if name not in map(quoted, keys))
    conflict = f" ON CONFLICT ({', '.join(map(quoted, keys))}) DO "
    return insert + conflict + (f"UPDATE SET {changes}" if changes else "NOTHING")


def _cell(value: Any, column: Column, dialect: Dialect) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, "NaN")
    if isinstance(value, str) and column.type in JSON_TYPES:
        return _document(value)
    return dialect.cell(value, column)


def _document(text: str) -> Any:
    """Text that is a JSON mapping or list is meant as one, as is an HTTP body; any other text is a JSON text."""
    if not text.lstrip().startswith(("{", "[")):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def quoted_table(name: str) -> str:
    """`schema.table`, each part quoted. As in SQL, a part without quotes is in lower case, and a quoted one is as written.

    Raises:
        ToolRefused: the text is no table name.
    """
    parts = [match[0] for match in _NAME_PART.finditer(name)]
    if not parts or ".".join(parts) != name.strip():
        raise ToolRefused(f'{name!r} is not a table name: write table, schema.table, or "quoted" parts')
    return ".".join(part if part.startswith('"') else quoted(part.lower()) for part in parts)
