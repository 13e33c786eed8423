"""noop: no call; the result is what the task says.

- {step: note, tool: {kind: noop, result: {total: "{{ ctx.total }}"}}}
"""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Struct, UnsetType

from noetl.tools.tool import ToolContext

NAME = "noop"


class Input(Struct, frozen=True, forbid_unknown_fields=True):
    result: Any | UnsetType = UNSET


async def run(given: Input, ctx: ToolContext) -> Any:
    return {} if given.result is UNSET else given.result
