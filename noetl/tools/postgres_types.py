"""Values between PostgreSQL and a playbook, which knows JSON-like data only."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import decimal
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import asyncpg

from noetl.errors import ToolRefused
from noetl.tools.sql import Reader
from noetl.tools.table import Column, quoted
from noetl.values import to_plain

_PLAIN: Final = frozenset({"bool", "int2", "int4", "int8", "oid", "float4", "float8", "text", "varchar", "bpchar", "name", "interval"})
_INTEGERS: Final = frozenset({"smallint", "integer", "bigint"})


async def set_codecs(connection: Any) -> None:
    """How this connection reads and writes the types that the driver gives as something else than their value."""
    for name, encode, decode, form in (
        ("json", str.encode, json.loads, "binary"),  # binary, since a composite can't hold what is read as text
        ("jsonb", _jsonb, lambda data: json.loads(data[1:]), "binary"),
        ("interval", str, str, "text"),  # as a number of seconds a month would have 30 days
    ):
        await connection.set_type_codec(name, schema="pg_catalog", encoder=encode, decoder=decode, format=form)


def _jsonb(text: str) -> bytes:
    return b"\x01" + text.encode()  # the version of the format


# Results


def reader_of(type_: str) -> Reader | None:
    """How values of a type become plain; None for those that are."""
    return None if type_ in _PLAIN else _READERS.get(type_, plain)


def plain(value: Any) -> Any:
    """Composites as mappings, ranges as text in PostgreSQL's notation, bit strings as text, points as lists; the rest as `to_plain` has it."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, asyncpg.Record):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, asyncpg.Range):
        return _range_text(value)
    if isinstance(value, asyncpg.BitString):
        return value.as_string().replace(" ", "")
    return to_plain(value)


def _single_byte(value: Any) -> Any:
    """Of the type "char", in which the catalog keeps its codes."""
    if isinstance(value, list):
        return [_single_byte(item) for item in value]
    return value if value is None else value.decode("latin-1")


_READERS: Final[Mapping[str, Reader]] = {"char": _single_byte, "char[]": _single_byte}


def _range_text(value: Any) -> str:
    if value.isempty:
        return "empty"
    lower, upper = ("" if bound is None else str(plain(bound)) for bound in (value.lower, value.upper))
    return f"{'[' if value.lower_inc else '('}{lower},{upper}{']' if value.upper_inc else ')'}"


# Parameters


def write_params(values: Sequence[Any], types: Sequence[str]) -> list[Any]:
    """Plain values as the driver wants them for these parameter types.

    Raises:
        ToolRefused: a value can't be what the SQL asks for; names its position, not the value.
    """
    written = []
    for number, (value, type_) in enumerate(zip(values, types, strict=True), 1):
        try:
            written.append(_write(value, type_))
        except (ValueError, TypeError, ArithmeticError):
            raise ToolRefused(f"value {number} of the params can't be read as {type_}: it is {_article(value)}") from None
    return written


def _write(value: Any, type_: str) -> Any:
    if value is None:
        return None
    if type_.endswith("[]") and isinstance(value, list):
        return [_write(item, type_ if isinstance(item, list) else type_.removesuffix("[]")) for item in value]
    writer = _WRITERS.get(type_)
    return value if writer is None else writer(value)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value) if isinstance(value, (dict, list, bool)) else str(value)


def _document(value: Any) -> str:
    """Text that looks like a JSON mapping or list is one; any other value is written as JSON."""
    if isinstance(value, str) and value.lstrip().startswith(("{", "[")):
        return value
    return json.dumps(value)


def _integer(value: Any) -> int:
    number = int(value)
    if isinstance(value, float) and number != value:
        raise ValueError("not a whole number")
    return number


def _boolean(value: Any) -> bool:
    words = {"true": True, "t": True, "1": True, "yes": True, "false": False, "f": False, "0": False, "no": False}
    return words[str(value).lower()] if str(value).lower() in words else bool(int(value))


def _bytes(value: str) -> bytes:
    return base64.b64decode(value, validate=True)


def _timestamp(value: str) -> dt.datetime:
    return dt.datetime.fromisoformat(value).replace(tzinfo=None)  # the server ignores the offset of a literal too


def _timestamptz(value: str) -> dt.datetime:
    moment = dt.datetime.fromisoformat(value)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=dt.UTC)


_WRITERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    **dict.fromkeys(("int2", "int4", "int8", "oid"), _integer),
    **dict.fromkeys(("float4", "float8"), float),
    **dict.fromkeys(("text", "varchar", "bpchar", "name", "interval", "xml"), _text),
    **dict.fromkeys(("json", "jsonb"), _document),
    "numeric": lambda value: decimal.Decimal(str(value)),
    "bool": _boolean,
    "char": lambda value: _text(value).encode("latin-1"),
    "bytea": _bytes,
    "date": dt.date.fromisoformat,
    "time": dt.time.fromisoformat,
    "timetz": dt.time.fromisoformat,
    "timestamp": _timestamp,
    "timestamptz": _timestamptz,
}


def _article(value: object) -> str:
    return {dict: "a mapping", list: "a list", str: "text", bool: "a boolean"}.get(type(value), "a number")


# Table writes


class PostgresDialect:
    """How rows in JSON become columns here."""

    def source(self, columns: Sequence[Column]) -> str:
        described = ", ".join(f"{quoted(column.name)} {column.type}" for column in columns)
        return f"json_to_recordset($1::text::json) AS s({described})"

    def cell(self, value: Any, column: Column) -> Any:
        if column.type == "bytea" and isinstance(value, str):
            return "\\x" + _hex(value, column)
        if column.type in _INTEGERS and isinstance(value, float) and value.is_integer():
            return int(value)
        return value


def _hex(text: str, column: Column) -> str:
    try:
        return _bytes(text).hex()
    except binascii.Error:
        raise ToolRefused(f"column '{column.name}' holds bytes: give them as base64 text") from None
