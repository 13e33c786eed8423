"""`noetl store`: the local store as a whole."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

import click

from noetl.cli.stores import find_store, or_fail, store_option


@click.group()
def store() -> None:
    """Keep the local store safe."""


@store.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@store_option
def backup(file: Path, store: str | None) -> None:
    """Copy the store's database to FILE, as it is at one moment, while nodes go on with it. FILE must not be there.

    Large results are files beside the database: copy the directory `artifacts` afterwards, and the vault's key.
    """
    from noetl.cli.problems import fail

    async def backed_up() -> Path:
        directory, database = find_store(store)
        _copy(database, file)
        return directory

    try:
        directory = or_fail(backed_up)
    except FileExistsError:
        fail(f"{file} is there already: name another file", 2)
    except (OSError, sqlite3.Error) as error:
        fail(f"the store can't be copied to {file}: {getattr(error, 'strerror', None) or error}")
    click.echo(f"{file}  {file.stat().st_size:,} bytes; the files of the store are in {directory}")


def _copy(database: Path, file: Path) -> None:
    """To a file beside it first: FILE is whole, or not there. Raises `FileExistsError`, `OSError`, `sqlite3.Error`."""
    if file.exists():
        raise FileExistsError
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))  # as secret as the store
    try:
        with contextlib.closing(sqlite3.connect(database)) as source, contextlib.closing(sqlite3.connect(part)) as copy:
            source.backup(copy)
            copy.execute("pragma journal_mode = delete")  # one file, without the others of a write-ahead log
        with part.open("rb") as written:
            os.fsync(written.fileno())
        os.link(part, file)  # fails when somebody has made it meanwhile
    finally:
        part.unlink(missing_ok=True)
