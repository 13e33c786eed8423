"""Where a node keeps its files."""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from msgspec import Struct

DATABASE: Final = "noetl.db"
_ID: Final = "directory.id"
MEMORY: Final = "memory"
"""The store that is gone with the process."""


class Place(Struct, frozen=True):
    """The directory of a store (artifacts, logs, state of executions, the vault's key), and its file. `file` None: it is in memory."""

    directory: Path
    file: Path | None


def directory_id(directory: Path) -> str:
    """What tells a directory from all others, wherever it is seen from: it is written into it when it is first asked for."""
    file = directory / _ID
    directory.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError), tempfile.NamedTemporaryFile("w", dir=directory, prefix=f".{_ID}.") as fresh:
        fresh.write(secrets.token_hex(8))
        fresh.flush()
        os.link(fresh.name, file)  # whole, or not at all; of several who make one, one does
    return file.read_text()


def home_dir(environment: Mapping[str, str]) -> Path:
    """`NOETL_HOME`, default ./.noetl."""
    return Path(environment.get("NOETL_HOME") or ".noetl").absolute()


def store_place(home: Path, store: str | None) -> tuple[Path, Path]:
    """The directory and the file of a store: of the one in `home`, of a directory, or of a file.

    A file that is not called noetl.db has a directory of its own beside it, so that two stores never share artifacts.
    """
    if store is None:
        return home, home / DATABASE
    path = Path(store).resolve()
    if path.is_dir() or store.endswith("/"):
        return path, path / DATABASE
    return (path.parent if path.name == DATABASE else path.with_name(f"{path.name}-files")), path


@contextlib.contextmanager
def opened_place(home: Path, store: str | None) -> Iterator[Place]:
    """As `store_place`; for `memory` a directory that is deleted at the end."""
    if store != MEMORY:
        yield Place(*store_place(home, store))
        return
    with tempfile.TemporaryDirectory(prefix="noetl-", ignore_cleanup_errors=True) as directory:
        yield Place(Path(directory), None)
