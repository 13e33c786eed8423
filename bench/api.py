"""The HTTP API of one node under load on loopback, beside a bare aiohttp server in the same run.

python bench/api.py [--json]

The node is a process of its own with its store on disk; this process makes the load, on connections that stay open.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import uvloop

THREE = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: three, path: bench/three}
workflow:
  - {step: start, tool: {kind: noop, result: 1}, next: b}
  - {step: b, tool: {kind: noop, result: 2}, next: c}
  - {step: c, tool: {kind: noop, result: 3}}
"""
WAITING = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: waiting, path: bench/waiting}
workflow:
  - {step: start, tool: {kind: python, code: "import time; time.sleep(600)"}}
"""
TICKING = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: ticking, path: bench/ticking}
workflow:
  - step: start
    loop: {in: "{{ range(50) | list }}", iterator: n, spec: {mode: sequential}}
    tool: {kind: python, code: "import time; time.sleep(0.02); result = 1"}
"""
BARE = """
import asyncio
from aiohttp import web
async def main():
    app = web.Application()
    async def hello(request): return web.Response(body=b'{"status":"ok"}', content_type="application/json")
    app.router.add_get("/", hello)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print("listens at http://127.0.0.1:%d" % runner.addresses[0][1], flush=True)
    await asyncio.sleep(1e6)
import uvloop
uvloop.run(main())
"""
CONNECTIONS = 64
WATCHERS = 5_000


@contextmanager
def process(command: list[str], **environment: str) -> Iterator[tuple[subprocess.Popen[str], int, float]]:
    """A server, its port, and how long it took until it listened."""
    began = time.perf_counter()
    started = subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert started.stdout is not None
    try:
        for line in started.stdout:
            if found := re.search(r"listens at http://127.0.0.1:(\d+)", line):
                yield started, int(found[1]), time.perf_counter() - began
                return
        raise RuntimeError("the server did not start")
    finally:
        started.send_signal(signal.SIGTERM)
        started.wait(30)
        started.stdout.close()


@contextmanager
def node(cores: str | None = None) -> Iterator[tuple[subprocess.Popen[str], int, float]]:
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as folder:
        pinned = [] if cores is None else ["taskset", "-c", cores]
        command = [*pinned, sys.executable, "-m", "noetl", "node", "start", "solo", "--port", "0"]
        with process(command, NOETL_HOME=str(Path(folder, "home"))) as started:
            yield started


class Line:
    """One connection that stays open."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def ask(self, request: bytes) -> bytes:
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        status = head[9:12]
        body = await self._reader.readexactly(int(re.search(rb"(?i)content-length: (\d+)", head)[1]))  # type: ignore[index]
        if status not in (b"200", b"201", b"202"):
            raise RuntimeError(f"{status!r}: {body[:300]!r}")
        return body


async def line(port: int) -> Line:
    return Line(*await asyncio.open_connection("127.0.0.1", port, limit=1 << 22))


def get(path: str, **headers: str) -> bytes:
    more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n".encode()


def post(path: str, body: Any) -> bytes:
    encoded = json.dumps(body)
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(encoded)}\r\n\r\n{encoded}".encode()


async def load(port: int, request: bytes, count: int, connections: int = CONNECTIONS) -> tuple[float, list[float]]:
    """Seconds for all of it, and each request's seconds."""
    lines = [await line(port) for _ in range(connections)]
    left = count
    times: list[float] = []

    async def caller(own: Line) -> None:
        nonlocal left
        while left > 0:
            left -= 1
            began = time.perf_counter()
            await own.ask(request)
            times.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(caller(own) for own in lines))
    return time.perf_counter() - began, times


async def paced(port: int, request: bytes, per_s: float, seconds: float) -> list[float]:
    """Each request's seconds, when they come at a steady rate whether or not the ones before were answered."""
    lines = [await line(port) for _ in range(CONNECTIONS)]
    free: asyncio.Queue[Line] = asyncio.Queue()
    for own in lines:
        free.put_nowait(own)
    times: list[float] = []

    async def one(due: float) -> None:
        own = await free.get()
        await own.ask(request)
        times.append(time.perf_counter() - due)
        free.put_nowait(own)

    begin = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for number in range(int(per_s * seconds)):
            due = begin + number / per_s
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            tasks.create_task(one(due))
    return times


async def prepared(port: int) -> Line:
    own = await line(port)
    for text in (THREE, WAITING, TICKING):
        await own.ask(post("/api/catalog/register", {"content": text}))
    return own


async def execute(port: int, count: int = 3_000) -> dict[str, float]:
    """Accepted and completed executions in a second, with as many requests as there are connections; how long one request takes when nothing else
    is there, and when 500 come in a second."""
    own = await prepared(port)
    request = post("/api/execute", {"path": "bench/three"})
    await load(port, request, 300)
    await until_over(own)
    quiet = []
    for _ in range(200):
        began = time.perf_counter()
        await own.ask(request)
        quiet.append(time.perf_counter() - began)
    await until_over(own)
    loaded = await paced(port, request, 500, 4.0)
    await until_over(own)
    began = time.perf_counter()
    await load(port, request, count)
    await until_over(own)
    return {
        "executions_per_s": count / (time.perf_counter() - began),
        "execute_ms_quiet_p50": 1e3 * statistics.median(quiet),
        "execute_ms_quiet_p99": 1e3 * percentile(quiet, 0.99),
        "execute_ms_500_per_s_p99": 1e3 * percentile(loaded, 0.99),
    }


async def until_over(own: Line) -> None:
    for status in ("pending", "running", "waiting"):
        while json.loads(await own.ask(get(f"/api/executions?status={status}&path=bench/three&limit=1")))["entries"]:
            await asyncio.sleep(0.005)


async def reads(port: int, count: int = 20_000) -> dict[str, float]:
    own = await prepared(port)
    execution_id = json.loads(await own.ask(post("/api/execute?wait=10", {"path": "bench/three"})))["execution_id"]
    seconds, times = await load(port, get(f"/api/executions/{execution_id}"), count)
    return {"reads_per_s": count / seconds, "read_ms_p99": 1e3 * percentile(times, 0.99)}


async def events(port: int) -> dict[str, float]:
    """Milliseconds from the decision, which is before the commit, to the client."""
    own = await prepared(port)
    execution_id = json.loads(await own.ask(post("/api/execute", {"path": "bench/ticking"})))["execution_id"]
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 22)
    writer.write(get(f"/api/executions/{execution_id}/events", Accept="text/event-stream"))
    late: list[float] = []
    async for text in reader:
        if text.startswith(b"event: end"):
            break
        if text.startswith(b"data: {"):
            at = datetime.fromisoformat(json.loads(text[6:])["at"])
            late.append(1e3 * (time.time() - at.timestamp()))
    writer.close()
    return {"event_ms_p50": statistics.median(late[10:]), "event_ms_p99": percentile(late[10:], 0.99)}


async def watchers(port: int, pid: int, count: int = WATCHERS) -> dict[str, float]:
    own = await prepared(port)
    execution_id = json.loads(await own.ask(post("/api/execute", {"path": "bench/waiting"})))["execution_id"]
    before = resident_mib(pid)
    request = get(f"/api/executions/{execution_id}/events", Accept="text/event-stream")
    lines = []
    for _ in range(count):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        await reader.readuntil(b"TaskScheduled")
        lines.append(writer)
    figures = {"watchers": float(count), "watchers_mib": resident_mib(pid) - before, "node_with_watchers_mib": resident_mib(pid)}
    await own.ask(post(f"/api/executions/{execution_id}/cancel", {}))
    for writer in lines:
        writer.close()
    return figures


async def bare(port: int, count: int = 30_000) -> dict[str, float]:
    seconds, _ = await load(port, get("/"), count)
    return {"bare_aiohttp_per_s": count / seconds}


def resident_mib(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[int(share * (len(values) - 1))]


def run(work: Callable[[], Awaitable[dict[str, float]]]) -> dict[str, float]:
    async def main() -> dict[str, float]:
        return await work()

    return uvloop.run(main())


def main() -> None:
    figures: dict[str, float] = {}
    with process([sys.executable, "-c", BARE]) as (_, port, _):
        figures |= run(lambda: bare(port))
    starts = []
    for _ in range(5):
        with node() as (_, _, seconds):
            starts.append(seconds)
    figures["start_s"] = statistics.median(starts)
    with node() as (_, port, _):
        figures |= run(lambda: execute(port))
        figures |= run(lambda: reads(port))
        figures |= run(lambda: events(port))
    with node(cores="0") as (_, port, _):
        figures |= {f"one_core_{name}": value for name, value in run(lambda: execute(port)).items()}
    with node() as (started, port, _):
        figures |= run(lambda: watchers(port, started.pid))
    if "--json" in sys.argv:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:34} {value:12,.2f}")


if __name__ == "__main__":
    main()
