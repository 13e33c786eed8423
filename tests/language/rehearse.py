"""Short ways to play a playbook and to look at what it did."""

from __future__ import annotations

from typing import Any

from noetl.errors import ToolError
from noetl.events import WarningRaised
from noetl.testing.rehearsal import Rehearsal, SimulatedCall
from tests.engine.playbooks import playbook


def play(workflow: str, tools: Any = None, payload: dict[str, Any] | None = None, *, head: str = "", **more: Any) -> Rehearsal:
    return Rehearsal(playbook(workflow, head), tools, payload, **more).play()


def error_of(run: Rehearsal) -> dict[str, Any]:
    """The error of a run that failed."""
    assert run.status == "failed"
    assert run.state.error is not None
    return run.state.error


def warnings_of(run: Rehearsal) -> list[str]:
    return [event.message for event in run.named(WarningRaised)]


def seen(names: str, *, before: str = "", head: str = "", payload: dict[str, Any] | None = None, step: str = "") -> Any:
    """What a noop's result shows of a comma separated list of expressions: the last step, called `look`, with further keys of that step."""
    shown = "[" + ", ".join(f'"{{{{ {name.strip()} }}}}"' for name in names.split(";")) + "]"
    run = play(f"{before}\n- {{step: look, {step}{', ' if step else ''}tool: {{kind: noop, result: {shown}}}}}", payload=payload, head=head)
    assert run.status == "completed", run.state.error
    return run.result("look")


def gone(call: SimulatedCall) -> Any:
    """A call that is answered with 404."""
    raise ToolError("gone", kind="not_found", result={"status": 404, "data": {"why": "gone"}}, extra={"status": 404, "status_code": 404})


def fails(times: int, kind: str = "server_error", **about: Any) -> Any:
    """A tool that fails so often, then gives the number of its call."""

    def tool(call: SimulatedCall) -> Any:
        if call.number <= times:
            raise ToolError(f"failure {call.number}", kind=kind, **about)
        return {"number": call.number}

    return tool
