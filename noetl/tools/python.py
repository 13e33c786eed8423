"""python: run the author's code in a process of its own.

- {step: total, args: {prices: "{{ fetch.prices }}"}, tool: {kind: python, code: "result = sum(prices)"}}
- step: total
  tool:
    kind: python
    args: {prices: "{{ fetch.prices }}"}
    code: |
      def main(prices, workload):
          return sum(prices) * workload["rate"]
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from noetl.errors import ToolRefused, ToolTimeout
from noetl.tools import script
from noetl.tools.sandbox.messages import Job, encode_named
from noetl.tools.sandbox.pool import open_sandbox
from noetl.tools.sandbox.source import names_needed
from noetl.tools.tool import ToolContext

NAME = "python"


class Input(Struct, frozen=True, forbid_unknown_fields=True):
    code: str | None = None
    script: Any = None
    """Where the code lies, see `noetl.tools.script`."""
    libs: Any = None
    """alias -> module, or alias -> {from, import}: bound as globals. A list: packages that should be there."""


def names(fields: Mapping[str, Any]) -> frozenset[str] | None:
    """Which names of the scope the code may look at; None when it may be any: it reads `context`, or can't be read yet."""
    code = fields.get("code")
    if not isinstance(code, str):
        return None
    try:
        return names_needed(code)
    except (SyntaxError, ValueError):
        return None if "{{" in code else frozenset()


async def run(given: Input, ctx: ToolContext) -> Any:
    """The result of the code: JSON-like, or a handle when it is large.

    Raises:
        ToolError: kind `python` (it raised, or ended its process), `limit`, `timeout`, `not_found` (no such script), `worker_lost`.
    """
    source, file = await _source(given, ctx)
    settings = ctx.resources.settings
    job = Job(
        source=source,
        file=file,
        args=encode_named(ctx.args),
        names=encode_named(_visible(ctx.names)),
        iterator=ctx.iterator,
        execution_id=str(ctx.call.execution_id),
        env=dict(ctx.env),
        libs=given.libs,
        artifacts_dir=str(ctx.resources.artifacts_dir),
        inline_max_bytes=settings.values.result_max_bytes if ctx.sensitive else settings.values.inline_max_bytes,
        result_max_bytes=settings.values.result_max_bytes,
    )
    sandbox = await ctx.resources.get(NAME, open_sandbox)
    timeout_s = settings.python.timeout_s if ctx.timeout_s is None else None  # the engine keeps the time that the playbook sets
    try:
        async with asyncio.timeout(timeout_s):
            return await sandbox.call(job, log=ctx.log, scrub=ctx.scrub, memory_bytes=ctx.memory_bytes)
    except TimeoutError:
        raise ToolTimeout(f"the code was stopped after {timeout_s:g} s; set 'timeout' if it may take longer") from None


async def _source(given: Input, ctx: ToolContext) -> tuple[str, str]:
    """The code, and how its tracebacks call it."""
    if (given.code is None) == (given.script is None):
        raise ToolRefused("python needs one of 'code' and 'script'")
    return (given.code, f"<{ctx.call.step}>") if given.code is not None else await script.fetch(given.script, ctx)


def _visible(names: Mapping[str, Any]) -> dict[str, Any]:
    """The names of the scope, with those by which the code reaches the same: keys of the workload, `vars` for `ctx`."""
    workload = names.get("workload")
    inner = workload if isinstance(workload, Mapping) else {}
    return {**inner, **({"vars": names["ctx"]} if "ctx" in names else {}), **names}
