"""postgres: run SQL on a PostgreSQL server, or write rows into one of its tables.

    - step: total
      tool: {kind: postgres, auth: pg_local, command: "SELECT sum(amount) AS total FROM orders WHERE day = $1", params: ["{{ workload.day }}"]}
    - step: keep
      tool: {kind: postgres, auth: pg_local, table: orders, mode: upsert, key: id, data: "{{ fetch.data }}"}

All statements of a task run on one connection and in one transaction, unless the text begins or ends transactions itself or holds a statement
that the server refuses inside one (VACUUM, CREATE DATABASE, CREATE INDEX CONCURRENTLY, …): then each statement stands for itself. `params` as a
list are the values of `$1`, `$2`, …; as a mapping those of `:name`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from msgspec import Struct

from noetl.errors import ToolRefused
from noetl.tools import sql
from noetl.tools.postgres_pool import MAX_SIZE, Pool, open_pool, reported
from noetl.tools.postgres_types import PostgresDialect, reader_of, write_params
from noetl.tools.statements import Statement, bind, fits_one_transaction, split
from noetl.tools.table import Column, Command, Mode, Write, key_names, plan, quoted_table, rows_of
from noetl.tools.tool import ToolContext

NAME = "postgres"

_COLUMNS: Final = """
    SELECT attname AS name, format_type(atttypid, atttypmod) AS type FROM pg_attribute
    WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""


class Input(Struct, frozen=True):
    command: str | list[str] | None = None
    params: list[Any] | dict[str, Any] | None = None
    script: Any = None
    table: str | None = None
    mode: Mode = "insert"
    key: str | list[str] | None = None
    data: Any = None
    pool: dict[str, Any] | None = None


async def run(given: Input, ctx: ToolContext) -> dict[str, Any]:
    """See `sql.result` for the shape.

    Raises:
        ToolError: `database` with `code` and `sqlstate`, `connection`, `auth`, `timeout`, `limit`.
        ToolRefused: the task or its credential lacks something.
    """
    pool = await _pool(given, ctx)
    if given.table is not None:
        return await _write(given, pool, ctx)
    statements = [statement for text in await sql.texts(given.command, given.script, ctx) for statement in split(text)]
    if not statements:
        raise sql.nothing_to_run()
    _refuse_copy(statements)
    return await _execute(statements, given.params, pool, ctx)


async def _pool(given: Input, ctx: ToolContext) -> Pool:
    credential = ctx.credential()
    if credential is None:
        raise ToolRefused("postgres needs 'auth' with the name of one credential: host, user, password, database, or dsn")
    max_size = (given.pool or {}).get("max_size", MAX_SIZE)
    if not isinstance(max_size, int) or max_size < 1:
        raise ToolRefused("'pool.max_size' must be a whole number of connections")
    return await open_pool(ctx.resources, credential, max_size)


def _refuse_copy(statements: Sequence[Statement]) -> None:
    for statement in statements:
        if statement.starts("COPY") and not {"STDIN", "STDOUT"}.isdisjoint(statement.words):
            raise ToolRefused("COPY to or from the client is not available: select the rows, or write them with 'table' and 'data'")


async def _execute(statements: Sequence[Statement], params: Any, pool: Pool, ctx: ToolContext) -> dict[str, Any]:
    ours = fits_one_transaction(statements)
    budget = sql.RowBudget(ctx.resources.settings.values.result_max_bytes)
    entries: list[sql.Entry] = []
    async with pool.session("BEGIN" if ours else "SELECT") as connection:
        for number, statement in enumerate(statements, 1):
            with reported(f"statement {number} of {len(statements)}" if len(statements) > 1 else "the statement failed"):
                entries.append(await _statement(connection, statement, params, budget))
        await _finish(connection, ours)
    return sql.result(entries)


async def _finish(connection: Any, ours: bool) -> None:
    if ours:
        with reported("the commit failed"):
            await connection.execute("COMMIT")
    elif connection.is_in_transaction():
        raise ToolRefused("the SQL begins a transaction and does not end it, so it was rolled back: add COMMIT, or leave BEGIN out")


async def _statement(connection: Any, statement: Statement, params: Any, budget: sql.RowBudget) -> sql.Entry:
    text, values = (statement.text, []) if params is None else bind(statement, params)
    prepared = await connection.prepare(text)
    types = [type_.name for type_ in prepared.get_parameters()]
    if len(types) != len(values):
        raise ToolRefused(f"the SQL takes {len(types)} values and 'params' gives {len(values)}: $1, $2, … need a list, :name needs a mapping")
    arguments = write_params(values, types)
    attributes = prepared.get_attributes()
    if not attributes:
        await prepared.fetch(*arguments)
        return sql.Entry(row_count=_affected(prepared.get_statusmsg()))
    columns = [attribute.name for attribute in attributes]
    readers = [reader_of(attribute.type.name) for attribute in attributes]
    rows: list[dict[str, Any]] = []
    async for records in _chunks(connection, prepared, arguments):
        chunk = sql.read_rows(columns, readers, records)
        budget.spend(chunk)
        rows += chunk
    return sql.Entry(columns, rows, len(rows))


async def _chunks(connection: Any, prepared: Any, arguments: Sequence[Any]) -> AsyncIterator[Sequence[Any]]:
    """The records a piece at a time; outside a transaction, where the server keeps no cursor, all at once."""
    if not connection.is_in_transaction():
        yield await prepared.fetch(*arguments)
        return
    cursor = await prepared.cursor(*arguments)
    while records := await cursor.fetch(sql.CHUNK_ROWS):
        yield records


def _affected(status: str) -> int:
    """`INSERT 0 3` -> 3; a status without a count has none."""
    count = status.rpartition(" ")[2]
    return int(count) if count.isdigit() else -1


async def _write(given: Input, pool: Pool, ctx: ToolContext) -> dict[str, Any]:
    if given.command is not None or given.script is not None:
        raise ToolRefused("a task runs SQL ('command', 'script') or writes rows ('table'), not both")
    table = quoted_table(given.table or "")
    rows = await ctx.resources.run_blocking(rows_of, given.data, ctx)
    written = 0
    async with pool.session("BEGIN") as connection:
        with reported(f"can't write to {table}"):
            columns = [Column(record["name"], record["type"]) for record in await connection.fetch(_COLUMNS, table)]
            write = Write(table, given.mode, key_names(given.key), rows)
            commands: list[Command] = await ctx.resources.run_blocking(list, plan(write, columns, PostgresDialect()))
            for command in commands:
                arguments = () if command.rows_json is None else (command.rows_json,)
                status = await connection.execute(command.sql, *arguments)
                written += _affected(status) if command.rows_json is not None else 0
        await _finish(connection, ours=True)
    return sql.result([sql.Entry(row_count=written)])
