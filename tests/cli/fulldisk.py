"""`noetl` on a disk that is full soon. Run as: fulldisk.py PAGES ARGUMENTS..."""

from __future__ import annotations

import sys
from typing import Any

from noetl.cli.main import main
from noetl.store.logs import sqlite_writer

_carry_out = sqlite_writer._carry_out


class Limit:
    """Stands in for the writer's own step: the first that holds an append sets how many pages the file may still grow."""

    def __init__(self, pages: int) -> None:
        self._pages = pages
        self._is_set = False

    def __call__(self, connection: Any, jobs: Any) -> Any:
        if not self._is_set and any(isinstance(job, sqlite_writer.AppendJob) for job in jobs):
            self._is_set = True
            count = connection.execute("pragma page_count").fetchone()[0]
            connection.execute(f"pragma max_page_count = {count + self._pages}")
        return _carry_out(connection, jobs)


sqlite_writer._carry_out = Limit(int(sys.argv[1]))
sys.argv = ["noetl", *sys.argv[2:]]
main()
