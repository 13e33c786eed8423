"""What the SQL tools share: the fields that give the text, the shape of the result, and the bound on its size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from msgspec import Struct

from noetl.errors import ToolError, ToolRefused
from noetl.tools.tool import ToolContext
from noetl.values import encode

Reader = Callable[[Any], Any]
"""Turns a driver's value into a plain one."""

ROWS_MAX: Final = 1_000_000
"""A result steers a playbook; more rows than these belong in a table or a file."""

CHUNK_ROWS: Final = 1_000
"""Rows that are fetched, converted and counted at a time: a few milliseconds."""


class Entry(Struct, frozen=True):
    """What one statement gave. `columns` is empty when it returns no rows; `row_count` is -1 where the driver has none."""

    columns: list[str] = []
    rows: list[dict[str, Any]] = []
    row_count: int = -1

    def to_mapping(self) -> dict[str, Any]:
        return {"status": "success", "rows": self.rows, "row_count": self.row_count, "columns": self.columns}


class RowBudget:
    """Counts the rows of one call while they arrive, so that a result that nobody could keep ends early."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._rows = 0

    def spend(self, rows: Sequence[dict[str, Any]]) -> None:
        """Raises ToolError of kind `limit`."""
        self._rows += len(rows)
        if self._rows > ROWS_MAX:
            raise _too_large(f"{ROWS_MAX:,} rows")
        self._bytes += len(encode(rows))
        if self._bytes > self._max_bytes:
            raise _too_large(f"{self._max_bytes:,} bytes")


def _too_large(bound: str) -> ToolError:
    return ToolError(f"the result has more than {bound}: select less, or write it to a table or a file instead", kind="limit")


def result(entries: Sequence[Entry]) -> dict[str, Any]:
    """One entry, of at least one, per statement in `command_0`, `command_1`, …; at the top the rows of the last statement that returned any."""
    last = next((entry for entry in reversed(entries) if entry.columns), Entry())
    return {
        "status": "success",
        **{f"command_{index}": entry.to_mapping() for index, entry in enumerate(entries)},
        "rows": last.rows,
        "columns": last.columns,
        "row_count": entries[-1].row_count,
    }


def read_rows(columns: Sequence[str], readers: Sequence[Reader | None], records: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
    """The records as mappings of plain values; a column without a reader holds such values already. Of two columns with one name the last is seen."""
    if not any(readers):
        return [dict(zip(columns, record, strict=True)) for record in records]
    fields = list(zip(columns, readers, strict=True))
    return [{column: reader(value) if reader else value for (column, reader), value in zip(fields, record, strict=True)} for record in records]


async def texts(command: str | Sequence[str] | None, script: Any, ctx: ToolContext) -> list[str]:
    """The SQL of a task: text, a list of texts, or a `script` source whose text is a template."""
    if script is not None:
        from noetl.tools.script import fetch  # noqa: PLC0415  few tasks have one, and its sources bring an HTTP client

        text, _ = await fetch(script, ctx)
        return [await ctx.render(text)]
    return [command] if isinstance(command, str) else list(command or ())


def nothing_to_run() -> ToolRefused:
    return ToolRefused("there is no SQL to run: give 'command' (one text, or a list of texts), 'script', or 'table' with rows")
