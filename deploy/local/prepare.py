"""What a cluster on one machine needs before it starts: directories, passwords, and the variables that the Procfile reads, in
`$NOETL_HOME/cluster.env`.

python deploy/local/prepare.py          then  honcho -e .noetl/cluster.env start    (or foreman start -e .noetl/cluster.env)
"""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def home_dir() -> Path:
    return Path(os.environ.get("NOETL_HOME") or ROOT / ".noetl").resolve()


def read_env(file: Path) -> dict[str, str]:
    """The variables of an env file: `NAME=value` lines."""
    pairs = (line.partition("=") for line in file.read_text().splitlines() if "=" in line)
    return {name: value for name, _, value in pairs}


def prepare(home: Path, *, nats_port: int = 4222, postgres_port: int = 5439, ports: tuple[int, int] = (8082, 8083)) -> Path:
    """The env file. Passwords that were made once stay."""
    (home / "logs").mkdir(parents=True, exist_ok=True)
    file = home / "cluster.env"
    before = read_env(file) if file.exists() else {}
    password = {
        name: before.get(f"LOCAL_{name}_PASSWORD") or secrets.token_hex(16) for name in ("POSTGRES", "NATS_SERVER", "NATS_WORKER", "NATS_OBSERVER")
    }
    variables = {
        "NOETL_HOME": str(home),
        "NOETL_ENV": "cluster",
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", ""))),
        "PYTHONUNBUFFERED": "1",
        "LOCAL_POSTGRES_PORT": str(postgres_port),
        "LOCAL_NATS_LISTEN": f"127.0.0.1:{nats_port}",
        "LOCAL_NATS_DIR": str(home / "nats"),
        "LOCAL_NATS_LOG": str(home / "logs" / "nats.log"),
        "LOCAL_PORT_1": str(ports[0]),
        "LOCAL_PORT_2": str(ports[1]),
        **{f"LOCAL_{name}_PASSWORD": value for name, value in password.items()},
        "LOCAL_NATS_SERVER": f"nats://server:{password['NATS_SERVER']}@127.0.0.1:{nats_port}",
        "LOCAL_NATS_WORKER": f"nats://worker:{password['NATS_WORKER']}@127.0.0.1:{nats_port}",
        "NOETL_POSTGRES_DSN": f"postgresql://noetl:{password['POSTGRES']}@127.0.0.1:{postgres_port}/postgres",
    }
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as opened:
        opened.writelines(f"{name}={value}\n" for name, value in variables.items())
    return file


if __name__ == "__main__":
    print(prepare(home_dir()))
