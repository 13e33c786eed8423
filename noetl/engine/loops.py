"""How a loop goes on: which iterations may start, and when it is over."""

from __future__ import annotations

from noetl.engine.pipeline import LOOP_FRAME, enter, fail, leave_loop
from noetl.engine.state import LoopState, Run
from noetl.engine.turn import Turn


def advance(turn: Turn, run: Run) -> None:
    """Start the iterations that the window has room for; when none is left, end the loop."""
    loop = run.loop
    if loop is None or LOOP_FRAME in run.frames:
        return
    active = sum(1 for frame in run.frames.values() if frame.phase in ("attempting", "settling"))
    if loop.error is not None and not loop.best_effort:
        if active == 0:
            fail(turn, run, _loop_error(run, loop))
        return
    while loop.next < loop.total and active < loop.in_flight:
        enter(turn, run, loop.next)
        if loop.error is not None and not loop.best_effort:
            turn.do("advance", run.id)
            return
        active = sum(1 for frame in run.frames.values() if frame.phase in ("attempting", "settling"))
    if active == 0 and loop.next >= loop.total and run.phase == "running":
        leave_loop(turn, run)


def _loop_error(run: Run, loop: LoopState) -> dict[str, object]:
    """The first failed iteration's error, with how far the loop came."""
    return {**(loop.error or {}), "step": run.step, "stats": {"total": loop.total, "success": loop.success, "failed": loop.failed}}
