"""Steps per second, and what one execution costs, beside a bare SQLite loop on the same disk in the same run.

python bench/engine.py [--json]
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from noetl.engine.library import Found, compile_text
from noetl.node.boot import Node, run_on_loop, running_node
from noetl.node.profile import load_profile
from noetl.settings import Settings

CHAIN = 500
MANY = 200
ROUNDS = 9


def chain(steps: int) -> str:
    """A playbook of `steps` noop steps in a row."""
    lines = ["apiVersion: noetl.io/v2", "kind: Playbook", f"metadata: {{name: chain-{steps}}}", "workflow:"]
    for number in range(steps):
        following = f", next: {{arcs: [{{step: s{number + 1}}}]}}" if number + 1 < steps else ""
        lines.append(f"  - {{step: s{number}, tool: {{kind: noop}}{following}}}")
    return "\n".join(lines)


def bare_commits_per_s(directory: Path, count: int = 1000) -> float:
    """Commits of one small row each, one after the other, with the same durability."""
    connection = sqlite3.connect(directory / "bare.db", isolation_level=None)
    connection.execute("pragma journal_mode = wal")
    connection.execute("pragma synchronous = full")
    connection.execute("create table t (a integer primary key, b blob)")
    body = os.urandom(300)
    started = time.perf_counter()
    for _ in range(count):
        connection.execute("begin immediate")
        connection.execute("insert into t (b) values (?)", (body,))
        connection.execute("commit")
    rate = count / (time.perf_counter() - started)
    connection.close()
    return rate


@asynccontextmanager
async def node(directory: Path) -> AsyncIterator[Node]:
    async with running_node(load_profile("solo"), Settings(), home=directory, store=None, environment={}) as running:
        yield running


async def kept(running: Node, text: str) -> Found:
    found = compile_text(text, Path("bench.yaml"))
    file = running.parts.directory / f"{found.program.playbook.name}.yaml"
    file.write_text(text)
    return await running.client.load(file)


async def run_once(running: Node, found: Found) -> float:
    started = time.perf_counter()
    state = await running.client.ended(await running.client.start(found))
    assert state.status == "completed", state.error
    return time.perf_counter() - started


async def measure(directory: Path) -> dict[str, float]:
    async with node(directory) as running:
        short, long = await kept(running, chain(3)), await kept(running, chain(CHAIN))
        for _ in range(20):
            await run_once(running, short)
        singles = [await run_once(running, short) for _ in range(200)]
        chained = [await run_once(running, long) for _ in range(ROUNDS)]
        rounds = [await _many(running, short) for _ in range(ROUNDS)]
    return {
        "chain_steps_per_s": CHAIN / statistics.median(chained),
        "many_steps_per_s": 3 * MANY / statistics.median(rounds),
        "one_execution_ms_p50": 1000 * statistics.median(singles),
    }


async def _many(running: Node, found: Found) -> float:
    """Seconds for MANY executions at once."""
    started = time.perf_counter()
    await asyncio.gather(*(run_once(running, found) for _ in range(MANY)))
    return time.perf_counter() - started


def main() -> None:
    with tempfile.TemporaryDirectory(dir=".") as name:
        directory = Path(name)
        bare = bare_commits_per_s(directory)
        figures = run_on_loop(lambda: measure(directory / "home"))
    figures = {"bare_commits_per_s": bare, **figures, "chain_to_bare": figures["chain_steps_per_s"] / bare}
    if "--json" in sys.argv:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:24} {value:12.2f}")


if __name__ == "__main__":
    main()
