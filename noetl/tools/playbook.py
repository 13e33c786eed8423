"""playbook: run another playbook as a child execution, and wait for its result.

    - {step: load, tool: {kind: playbook, path: flights/load, args: {day: "{{ item }}"}, return_step: stored}}

The tool only says which child is wanted: the engine starts it, cancels it and takes its result.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from noetl.blobs import read_blob
from noetl.errors import ToolRefused
from noetl.tools.tool import StartChild, ToolContext
from noetl.values import Handle, decode

NAME = "playbook"


class Input(Struct, frozen=True, forbid_unknown_fields=True):
    path: str
    """Catalog path, or a file relative to the calling playbook."""
    payload: Any = None
    """A mapping. Bound args are laid over it."""
    return_step: str | None = None
    """The step whose result is the child's; default: `end`, else the last that completed."""
    name: str | None = None
    """A label, like `task`: for the reader only."""
    task: str | None = None


async def run(given: Input, ctx: ToolContext) -> StartChild:
    payload = given.payload
    if isinstance(payload, Handle):
        payload = decode(await ctx.resources.run_blocking(read_blob, ctx.resources.artifacts_dir, payload.hash))
    if payload is not None and not isinstance(payload, dict):
        raise ToolRefused(f"playbook '{given.path}': 'payload' must be a mapping, not {type(payload).__name__}")
    if not given.path.strip():
        raise ToolRefused("playbook needs a 'path'; the one given is empty")
    return StartChild(given.path.strip(), {**(payload or {}), **ctx.args}, given.return_step)
