"""`noetl`, in a process that kills itself when an event of a step has just been committed. Run as: kill_after.py EVENT STEP ARGUMENTS..."""

from __future__ import annotations

import os
import signal
import sys

from noetl.cli.main import main
from noetl.engine.execution import ExecutionAdvanced
from noetl.probe import Happening, Probe

_emit = Probe.emit
_, EVENT, STEP, *ARGUMENTS = sys.argv


def emit(self: Probe, happening: Happening) -> None:
    if isinstance(happening, ExecutionAdvanced) and any(
        type(event).__name__ == EVENT and getattr(event, "step", None) == STEP for event in happening.events
    ):
        os.kill(os.getpid(), signal.SIGKILL)
    _emit(self, happening)


Probe.emit = emit  # type: ignore[method-assign]
sys.argv = ["noetl", *ARGUMENTS]
main()
