"""duckdb: run SQL in a DuckDB database of the execution, or write rows into one of its tables.

    - step: load
      tool: {kind: duckdb, command: "CREATE TABLE sales AS SELECT * FROM read_csv('sales.csv')"}
    - step: top
      tool: {kind: duckdb, query: "SELECT region, sum(amount) AS total FROM sales GROUP BY region ORDER BY total DESC LIMIT 3"}

`database` is a file, relative to the working directory; by default `:memory:`, the execution's own database, which all its steps share and which is
deleted at its end. `command` gives a mapping, `query` the plain list of rows of its last statement that returned rows. Each statement stands for
itself unless the text begins a transaction. `params` as a list are the values of `?` or `$1`, `$2`, …; as a mapping those of `$name`. `auth` attaches
PostgreSQL databases under their alias and makes secrets for object storage; both are gone when the task is done.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import duckdb
from msgspec import Struct

from noetl.errors import ToolError, ToolRefused
from noetl.tools import sql
from noetl.tools.duckdb_attachments import Attachment, attachments_of, missing_extension_hint, scrubbed
from noetl.tools.duckdb_databases import MEMORY, Session, open_databases
from noetl.tools.statements import has_word
from noetl.tools.table import Column, Mode, Write, key_names, plan, quoted, quoted_table, rows_of
from noetl.tools.tool import ToolContext
from noetl.values import to_plain

NAME = "duckdb"

Params = list[Any] | dict[str, Any] | None
Work = Callable[[Session, Sequence[Attachment]], list[sql.Entry]]

_PLAIN: Final = frozenset(
    {"BIGINT", "INTEGER", "SMALLINT", "TINYINT", "UBIGINT", "UINTEGER", "USMALLINT", "UTINYINT", "DOUBLE", "FLOAT", "BOOLEAN", "VARCHAR"}
)
_EXTENSION: Final = re.compile(r"""extension ["'](?:[^"']*/)?(\w+)""", re.IGNORECASE)


class Input(Struct, frozen=True):
    command: str | list[str] | None = None
    query: str | list[str] | None = None
    params: list[Any] | dict[str, Any] | None = None
    script: Any = None
    database: str = MEMORY
    table: str | None = None
    mode: Mode = "insert"
    key: str | list[str] | None = None
    data: Any = None


async def run(given: Input, ctx: ToolContext) -> dict[str, Any] | list[dict[str, Any]]:
    """See `sql.result` for the mapping.

    Raises:
        ToolError: `database` with the driver's class as `code`, `connection`, `limit`.
        ToolRefused: the task or its credential lacks something.
    """
    work = await _work(given, ctx)
    attachments = attachments_of(ctx.credentials)
    databases = await ctx.resources.get(NAME, open_databases)
    working_dir = ctx.base_dirs[0] if ctx.base_dirs else Path.cwd()
    with reported(f"can't open database '{given.database}'", attachments):
        async with databases.session(given.database, ctx.call.execution_id, working_dir, attachments) as session:
            if ctx.memory_bytes is not None:
                await session.run(_limit_memory, session, ctx.memory_bytes)
            entries = await session.run(work, session, attachments)
    if given.query is None:
        return sql.result(entries)
    return next((entry.rows for entry in reversed(entries) if entry.columns), [])


async def _work(given: Input, ctx: ToolContext) -> Work:
    if sum(field is not None for field in (given.command, given.query, given.script, given.table)) > 1:
        raise ToolRefused("a task has one of 'command', 'query', 'script' and 'table'")
    if given.table is not None:
        rows = await ctx.resources.run_blocking(rows_of, given.data, ctx)
        return partial(_write, Write(quoted_table(given.table), given.mode, key_names(given.key), rows))
    texts = await sql.texts(given.query if given.command is None else given.command, given.script, ctx)
    return partial(_execute, texts, given.params, sql.RowBudget(ctx.resources.settings.values.result_max_bytes))


def _limit_memory(session: Session, memory_bytes: int) -> None:
    session.cursor.execute(f"SET GLOBAL memory_limit = '{memory_bytes}B'")


# What runs on a thread


def _execute(texts: Sequence[str], params: Params, budget: sql.RowBudget, session: Session, attachments: Sequence[Attachment]) -> list[sql.Entry]:
    cursor = session.cursor
    with reported("the SQL can't be read", attachments):
        statements = [statement for text in texts for statement in cursor.extract_statements(text)]
    if not statements:
        raise sql.nothing_to_run()
    entries = []
    for number, statement in enumerate(statements, 1):
        session.check()
        with reported(f"statement {number} of {len(statements)}" if len(statements) > 1 else "the statement failed", attachments, session):
            entries.append(_statement(cursor, statement, params, budget))
    if any(statement.type == duckdb.StatementType.TRANSACTION for statement in statements):
        _refuse_open_transaction(cursor)
    return entries


def _statement(cursor: duckdb.DuckDBPyConnection, statement: duckdb.Statement, params: Params, budget: sql.RowBudget) -> sql.Entry:
    cursor.execute(statement, _values(statement, params))
    columns = [column[0] for column in cursor.description or ()]
    types = [str(column[1]) for column in cursor.description or ()]
    if not _gives_rows(statement, columns, types):
        return sql.Entry(row_count=_count(cursor))
    readers = [_reader_of(type_) for type_ in types]
    rows: list[dict[str, Any]] = []
    while records := cursor.fetchmany(sql.CHUNK_ROWS):
        chunk = sql.read_rows(columns, readers, records)
        budget.spend(chunk)
        rows += chunk
    return sql.Entry(columns, rows, len(rows))


def _values(statement: duckdb.Statement, params: Params) -> dict[str, Any]:
    """The values that this statement asks for: the driver refuses others."""
    given = {str(number): value for number, value in enumerate(params, 1)} if isinstance(params, list) else params or {}
    missing = sorted(statement.named_parameters - given.keys())
    if missing:
        raise ToolRefused(f"the SQL asks for ${missing[0]} and 'params' does not give it: ? and $1, $2, … need a list, $name needs a mapping")
    return {name: given[name] for name in statement.named_parameters}


def _gives_rows(statement: duckdb.Statement, columns: Sequence[str], types: Sequence[str]) -> bool:
    """Of a statement that changes rows the driver gives their number as a row of its own, unless it has RETURNING."""
    expected = statement.expected_result_type
    if duckdb.ExpectedResultType.QUERY_RESULT not in expected:
        return False
    if duckdb.ExpectedResultType.CHANGED_ROWS not in expected or (columns, types) != (["Count"], ["BIGINT"]):
        return True
    return has_word(statement.query, "RETURNING")


def _count(cursor: duckdb.DuckDBPyConnection) -> int:
    row = cursor.fetchone()
    return row[0] if row is not None and isinstance(row[0], int) else -1


def _reader_of(type_: str) -> sql.Reader | None:
    if type_ in _PLAIN:
        return None
    return _document if type_ == "JSON" else to_plain


def _document(text: str | None) -> Any:
    return None if text is None else to_plain(json.loads(text))


def _refuse_open_transaction(cursor: duckdb.DuckDBPyConnection) -> None:
    try:
        cursor.execute("ROLLBACK")
    except duckdb.TransactionException:
        return  # none is open, as it should be
    raise ToolRefused("the SQL begins a transaction and does not end it, so it was rolled back: add COMMIT, or leave BEGIN out")


def _write(write: Write, session: Session, attachments: Sequence[Attachment]) -> list[sql.Entry]:
    cursor = session.cursor
    written = 0
    with reported(f"can't write to {write.table}", attachments, session):
        described = cursor.execute(f"SELECT column_name, column_type FROM (DESCRIBE {write.table})").fetchall()  # noqa: S608  quoted
        columns = [Column(name, type_) for name, type_ in described]
        cursor.execute("BEGIN")
        for command in plan(write, columns, DuckDialect()):
            session.check()
            count = _count(cursor.execute(command.sql, [command.rows_json] if command.rows_json is not None else None))
            written += count if command.rows_json is not None else 0
        cursor.execute("COMMIT")
    return [sql.Entry(row_count=written)]


class DuckDialect:
    """How rows in JSON become columns here."""

    def source(self, columns: Sequence[Column]) -> str:
        structure = json.dumps([{column.name: "VARCHAR" if column.type == "BLOB" else column.type for column in columns}]).replace("'", "''")
        fields = ", ".join(f"{_field(column)} AS {quoted(column.name)}" for column in columns)
        return f"(SELECT {fields} FROM (SELECT unnest(from_json_strict($1::JSON, '{structure}')) AS r)) AS s"  # noqa: S608  names are quoted

    def cell(self, value: Any, column: Column) -> Any:
        return value


def _field(column: Column) -> str:
    name = f"r.{quoted(column.name)}"
    return f"from_base64({name})" if column.type == "BLOB" else name


# Errors


@contextmanager
def reported(doing: str, attachments: Sequence[Attachment], session: Session | None = None) -> Iterator[None]:
    """Raises what the driver raises inside as the error of a call; `doing` says what did not work."""
    try:
        yield
    except duckdb.Error as error:
        if session is not None and isinstance(error, (duckdb.FatalException, duckdb.InternalException)):
            session.database.broken = True
        raise _failure(error, doing, tuple(secret for attachment in attachments for secret in attachment.secrets)) from None
    except OSError as error:
        raise ToolError(f"{doing}: {error.strerror or error}", kind="database") from error


def _failure(error: duckdb.Error, doing: str, secrets: tuple[str, ...]) -> ToolError:
    text = scrubbed(str(error), secrets)
    missing = _EXTENSION.search(text)
    if missing is not None:
        text = f"{text}\n{missing_extension_hint(missing[1])}"
    kind = "limit" if isinstance(error, duckdb.OutOfMemoryException) else "database"
    # another writer, a database that is opened again, another process
    retryable = isinstance(error, (duckdb.TransactionException, duckdb.FatalException)) or "Could not set lock" in text
    return ToolError(f"{doing}: {text}", kind=kind, retryable=retryable, extra={"code": type(error).__name__})
