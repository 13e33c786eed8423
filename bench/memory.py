"""Resident memory: of a run while one step waits, and of 10,000 executions that each wait an hour for a retry.

python bench/memory.py [--json]
"""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from noetl.node.boot import run_on_loop, running_node
from noetl.node.profile import load_profile
from noetl.settings import Settings
from noetl.store.store import Store

EXECUTIONS = 10_000

WAITING = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: waiting}
workflow:
  - step: start
    tool:
      kind: noop
      spec: {policy: {rules: [{when: "{{ _attempt < 2 }}", then: {do: retry, attempts: 2, delay: 3600, max_delay: 3600}}]}}
"""
SLEEPING = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: sleeping}
workflow:
  - {step: start, tool: {kind: python, code: "import time; print('here', flush=True); time.sleep(60)"}}
"""


async def waiting_executions(directory: Path) -> float:
    """KiB that each execution adds to the process."""
    directory.mkdir()
    async with running_node(load_profile("solo"), Settings(), home=directory, store=None, environment={}) as node:
        file = directory / "waiting.yaml"
        file.write_text(WAITING)
        found = await node.client.load(file)
        store = node.parts.store
        assert store is not None
        await asyncio.gather(*(node.client.start(found) for _ in range(200)))
        await _all_wait(store, 200)
        before = _rss()
        for _ in range(EXECUTIONS // 500):
            await asyncio.gather(*(node.client.start(found) for _ in range(500)))
        await _all_wait(store, 200 + EXECUTIONS)
        return (_rss() - before) / EXECUTIONS / 1024


async def _all_wait(store: Store, count: int) -> None:
    while len(await store.executions.list_executions(limit=count + 1, status="waiting")) < count:
        await asyncio.sleep(0.05)


def _rss() -> int:
    gc.collect()
    resident: int = psutil.Process().memory_info().rss
    return resident


def waiting_run(directory: Path) -> float:
    """MiB of `noetl run` while its only step sleeps, its worker processes apart."""
    (directory / "sleeping.yaml").write_text(SLEEPING)
    command = [sys.executable, "-m", "noetl", "run", "sleeping.yaml"]
    process = subprocess.Popen(command, cwd=directory, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    while "here" not in process.stderr.readline():
        pass
    time.sleep(0.2)
    resident = psutil.Process(process.pid).memory_info().rss / 2**20
    process.kill()
    process.wait()
    return resident


def main() -> None:
    with tempfile.TemporaryDirectory(dir=".") as name:
        directory = Path(name).absolute()
        figures = {"waiting_run_mib": waiting_run(directory), "waiting_execution_kib": run_on_loop(lambda: waiting_executions(directory / "home"))}
    if "--json" in sys.argv:
        print(json.dumps(figures))
        return
    for key, value in figures.items():
        print(f"{key:24} {value:12.2f}")


if __name__ == "__main__":
    main()
