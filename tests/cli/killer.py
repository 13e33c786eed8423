"""`noetl`, in a process that kills itself at one of its appends. Run as: killer.py N before|after ARGUMENTS..."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from noetl.cli.main import main
from noetl.store.logs import sqlite_writer

fatal, when = int(sys.argv[1]), sys.argv[2]
sys.argv = ["noetl", *sys.argv[3:]]
insert = sqlite_writer._carry_out
seen = 0


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def counted(connection: Any, jobs: Any) -> Any:
    """Stands in for the writer's own step: each batch holds one append here, since the playbook has one branch."""
    global seen
    appends = sum(isinstance(job, sqlite_writer.AppendJob) for job in jobs)
    seen += appends
    hit = appends and seen >= fatal
    if hit and when == "before":
        _die()
    outcomes = insert(connection, jobs)
    if hit:
        connection.execute("commit")
        _die()
    return outcomes


sqlite_writer._carry_out = counted
main()
