"""A cluster on this machine: `make cluster` runs the Procfile until Ctrl-C and logs the command line in; `make cluster-demo` shows one survive."""

from __future__ import annotations

import argparse
import collections
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prepare import ROOT, home_dir, prepare, read_env

from noetl.client import SyncClient
from noetl.engine.client import ExecuteRequest, ExecutionFilter, Registration
from noetl.errors import NoetlError

READY_S = 60.0
VICTIM = "worker-python"
PLAYBOOK = ROOT / "examples" / "cluster" / "cluster.yaml"


class Processes:
    """The lines of the Procfile, each a process group of its own, so that one can be killed and the others go on. As foreman and honcho run them."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment
        self._running: dict[str, subprocess.Popen[str]] = {}
        self._width = 0

    def start(self) -> None:
        lines = [line.split(":", 1) for line in (ROOT / "Procfile").read_text().splitlines() if line]
        self._width = max(len(name) for name, _ in lines)
        for name, command in lines:
            self._running[name] = subprocess.Popen(
                f"exec env {command.strip()}" if "=" in command.split()[0] else f"exec {command.strip()}",
                shell=True,
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
            threading.Thread(target=self._show, args=(name, self._running[name]), daemon=True).start()

    def _show(self, name: str, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            print(f"{name:>{self._width}} | {line}", end="", flush=True)

    def kill(self, name: str) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._running[name].pid, signal.SIGKILL)

    def check(self) -> None:
        """Raises when one that should run has ended."""
        for name, process in self._running.items():
            if process.poll() is not None:
                raise SystemExit(f"{name} has ended with status {process.returncode}")

    def stop(self) -> None:
        """In reverse order: what leans on others goes first."""
        for process in reversed(self._running.values()):
            if process.poll() is None:
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(40)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def environment_of(file: Path) -> dict[str, str]:
    return {**os.environ, **read_env(file)}


def logged_in(home: Path, url: str, check: Any) -> SyncClient:
    """A client with the token that the first server has made; and the command line uses it from now on."""
    until = time.monotonic() + READY_S
    while time.monotonic() < until:
        check()
        with contextlib.suppress(OSError, NoetlError):
            token = (home / "admin.token").read_text().strip()
            client = SyncClient(url, token=token)
            client.executions(ExecutionFilter())
            return client
        time.sleep(0.1)
    raise SystemExit(f"{url} is not ready after {READY_S:g} s")


def login(home: Path, environment: dict[str, str], url: str) -> None:
    token = (home / "admin.token").read_text().strip()
    command = [sys.executable, "-m", "noetl", "login", "--token", token, "--url", url]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)


def up() -> None:
    """With honcho, whose output and signals are those of this terminal."""
    home = home_dir()
    file = prepare(home)
    environment = environment_of(file)
    honcho = subprocess.Popen([sys.executable, "-m", "honcho", "-e", str(file), "start"], cwd=ROOT, env=environment)

    def check() -> None:
        if honcho.poll() is not None:
            raise SystemExit(honcho.returncode)

    try:
        urls = [f"http://127.0.0.1:{environment[name]}" for name in ("LOCAL_PORT_1", "LOCAL_PORT_2")]
        for url in urls:
            logged_in(home, url, check)
            login(home, environment, url)
        print(f"\nthe cluster is ready: {urls[0]} and {urls[1]}; the command line is logged in. Ctrl-C ends it.\n", flush=True)
        honcho.wait()
    except KeyboardInterrupt:
        honcho.wait()
    finally:
        if honcho.poll() is None:
            honcho.terminate()
            honcho.wait()


def demo() -> None:
    """Begin a fan-out, kill a worker with -9 in its midst, and say who has run what."""
    home = home_dir() / "demo"
    shutil.rmtree(home, ignore_errors=True)
    nats, postgres, *ports = free_ports(4)
    file = prepare(home, nats_port=nats, postgres_port=postgres, ports=(ports[0], ports[1]))
    environment = environment_of(file)
    processes = Processes(environment)
    try:
        processes.start()
        client = logged_in(home, f"http://127.0.0.1:{ports[0]}", processes.check)
        logged_in(home, f"http://127.0.0.1:{ports[1]}", processes.check)
        client.register(Registration(content=PLAYBOOK.read_text()))
        begun = client.execute(ExecuteRequest(path="examples/cluster"))
        say(f"execution {begun.execution_id} has begun")
        killed = watch(client, begun.execution_id, processes)
        report = client.ended(begun.execution_id, timeout_s=120.0)
        say(f"{report.status}: {report.result}")
        tell(client, begun.execution_id, killed)
        if report.status != "completed":
            raise SystemExit(1)
    finally:
        processes.stop()
        shutil.rmtree(home, ignore_errors=True)


def watch(client: SyncClient, execution_id: str, processes: Processes) -> bool:
    """Until a third of the items are done: then the worker that has most of them is killed."""
    done = 0
    for event in client.watch(execution_id):
        done += event.name == "IterationCompleted"
        if done == 20:
            say(f"{done} items are done: kill -9 {VICTIM}")
            processes.kill(VICTIM)
            return True
    return False


def tell(client: SyncClient, execution_id: str, killed: bool) -> None:
    ran: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    lost = 0
    for event in every_event(client, execution_id):
        if event.name in ("AttemptSucceeded", "AttemptFailed"):
            ran[str(event.data.get("node"))][str(event.step)] += 1
        lost += event.name == "AttemptLost"
    for node, steps in sorted(ran.items()):
        note = "  (killed)" if killed and node == VICTIM else ""
        say(f"{node:>{16}} ran {', '.join(f'{step} x {count}' for step, count in steps.items())}{note}")
    say(f"{lost} attempts were lost with the worker, and ran again elsewhere")


def every_event(client: SyncClient, execution_id: str) -> Iterator[Any]:
    after: int | None = 0
    while after is not None:
        page = client.events(execution_id, after=after)
        yield from page.entries
        after = page.next


def free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def say(text: str) -> None:
    print(f"--- {text}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["up", "demo"])
    {"up": up, "demo": demo}[parser.parse_args().what]()
