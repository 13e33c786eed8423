"""`noetl`, in a process that kills itself at one of its appends. Run as: killer.py N before|after ARGUMENTS..."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from noetl.cli.main import main
from noetl.store.logs import sqlite_writer

_carry_out = sqlite_writer._carry_out


class Killer:
    """Stands in for the writer's own step: each batch holds one append here, since the playbook has one branch."""

    def __init__(self, fatal: int, when: str) -> None:
        self._left = fatal
        self._when = when

    def __call__(self, connection: Any, jobs: Any) -> Any:
        appends = sum(isinstance(job, sqlite_writer.AppendJob) for job in jobs)
        self._left -= appends
        hit = appends > 0 and self._left <= 0
        if hit and self._when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        outcomes = _carry_out(connection, jobs)
        if hit:
            connection.execute("commit")
            os.kill(os.getpid(), signal.SIGKILL)
        return outcomes


sqlite_writer._carry_out = Killer(int(sys.argv[1]), sys.argv[2])
sys.argv = ["noetl", *sys.argv[3:]]
main()
