"""docs/reference/store.md says what the schema says."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

from noetl.store.logs.sqlite_schema import migrate

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "store.md"


def documented() -> dict[str, list[str]]:
    """Table -> columns, in the order of the page."""
    tables: dict[str, list[str]] = {}
    for line in PAGE.read_text().splitlines():
        if heading := re.match(r"### `(\w+)`", line):
            columns = tables.setdefault(heading[1], [])
        elif tables and (cell := re.match(r"\| `(\w+)` \|", line)):
            columns.append(cell[1])
    return tables


def test_the_page_lists_every_table_and_column() -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection)
    names = [name for (name,) in connection.execute("select name from sqlite_master where type = 'table' and name not like 'sqlite_%'")]
    found = {name: [column[1] for column in connection.execute(f"pragma table_info({name})")] for name in names}
    connection.close()
    assert documented() == found
