"""Opening a store: what is no store is left as it is, and said in words."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from noetl.errors import LogUnavailable, StoreTooNew
from noetl.events import WarningRaised
from noetl.settings import StoreSettings
from noetl.store.logs.sqlite import open_sqlite
from noetl.store.logs.sqlite_schema import APPLICATION_ID, MIGRATIONS
from tests.store.appends import append, keep, owner
from tests.store.conftest import OpenStore


def database(file: Path, *statements: str) -> bytes:
    """An SQLite file made by somebody else; its bytes."""
    connection = sqlite3.connect(file)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()
    return file.read_bytes()


async def refused(file: Path) -> str:
    with pytest.raises(LogUnavailable) as caught:
        await open_sqlite(file, file.parent, StoreSettings())
    assert str(file) in str(caught.value)
    return str(caught.value)


async def test_a_new_store_is_made_with_the_directories_above_it(open_store: OpenStore, tmp_path: Path) -> None:
    file = tmp_path / "a" / "b" / "noetl.db"
    await open_store(file)
    connection = sqlite3.connect(file)
    assert connection.execute("pragma user_version").fetchone() == (len(MIGRATIONS),)
    assert connection.execute("pragma application_id").fetchone() == (APPLICATION_ID,)
    assert connection.execute("pragma journal_mode").fetchone() == ("wal",)
    connection.close()


async def test_commits_are_flushed_to_the_disk_unless_the_operator_gives_that_up(open_store: OpenStore, tmp_path: Path) -> None:
    full = await open_store()
    normal = await open_store(tmp_path / "normal.db", StoreSettings(durability="normal"))
    asked = [await store.log._database.write(lambda connection: connection.execute("pragma synchronous").fetchone()) for store in (full, normal)]  # type: ignore[attr-defined]
    assert asked == [(2,), (1,)]


@pytest.mark.parametrize(
    "statements",
    [("create table theirs (a)",), ("pragma application_id = 7",), ("pragma user_version = 3",)],
    ids=["tables", "application id", "version"],
)
async def test_a_database_of_another_program_is_refused_and_not_touched(tmp_path: Path, statements: tuple[str, ...]) -> None:
    before = database(tmp_path / "theirs.db", *statements)
    assert "the file is a database of another program" in await refused(tmp_path / "theirs.db")
    assert (tmp_path / "theirs.db").read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["theirs.db"]


async def test_a_store_of_a_newer_version_is_refused_and_not_touched(tmp_path: Path) -> None:
    file = tmp_path / "newer.db"
    before = database(file, f"pragma application_id = {APPLICATION_ID}", f"pragma user_version = {len(MIGRATIONS) + 1}")
    with pytest.raises(
        StoreTooNew, match=f"{file}: the store has format {len(MIGRATIONS) + 1}, this NoETL knows formats up to {len(MIGRATIONS)}: use the newer"
    ):
        await open_sqlite(file, tmp_path, StoreSettings())
    assert file.read_bytes() == before


async def test_a_file_that_is_no_database_is_refused_and_not_touched(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("dear diary\n" * 100)
    assert "the file is not a NoETL store" in await refused(file)
    assert file.read_text() == "dear diary\n" * 100


async def test_an_empty_file_becomes_a_store(open_store: OpenStore, tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()
    store = await open_store(tmp_path / "empty.db")
    assert await store.executions.list_executions() == []


async def test_a_directory_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    assert "check that its directory exists and can be written" in await refused(tmp_path / "folder")


async def test_a_path_below_a_file_can_not_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert f"the store can't be made: {tmp_path / 'file'}: Not a directory" in await refused(tmp_path / "file" / "noetl.db")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a file system that takes no files")
async def test_a_place_that_takes_no_files_is_named() -> None:
    assert "/proc/nothing: " in await refused(Path("/proc/nothing/noetl.db"))
    assert "check that its directory exists and can be written" in await refused(Path("/proc/noetl.db"))


async def test_a_damaged_store_is_called_damaged(open_store: OpenStore, tmp_path: Path) -> None:
    file = tmp_path / "noetl.db"
    store = await open_store()
    shard = await store.shards.new_shard(owner())
    for id_ in range(1, 100):
        await keep(store, append(id_, 1, shard))
    await store.close()
    content = bytearray(file.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    file.write_bytes(content)
    with pytest.raises(LogUnavailable, match=f"{file}: the file is damaged"):
        await (await open_store()).executions.list_executions()


async def test_a_store_in_memory_writes_no_file(open_store: OpenStore, tmp_path: Path) -> None:
    store = await open_store(None)
    await keep(store, append(1, 1, await store.shards.new_shard(owner())))
    assert list(tmp_path.iterdir()) == []


APPENDER = """
import asyncio, sys
from pathlib import Path
from noetl.settings import StoreSettings
from noetl.store.logs.sqlite import open_sqlite
from tests.store.appends import append, keep, owner

async def main(number, count):
    store = await open_sqlite(Path("shared.db"), Path("."), StoreSettings())
    shard = await store.shards.new_shard(owner(f"p{number}"))
    ids = [number * 1000 + execution for execution in range(5)]
    for version in range(1, count + 1):
        await asyncio.gather(*(keep(store, append(id_, version, shard, text=f"{id_}.{version}")) for id_ in ids))
    await store.close()

asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
"""


def appender(number: int, versions: int, folder: Path) -> subprocess.Popen[str]:
    environment = {"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-c", APPENDER, str(number), str(versions)]
    return subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)


async def test_many_processes_make_and_write_one_file_at_the_same_time(open_store: OpenStore, tmp_path: Path) -> None:
    processes, versions = 5, 30
    started = [appender(number, versions, tmp_path) for number in range(1, processes + 1)]
    for process in started:
        _, errors = await asyncio.to_thread(process.communicate)
        assert process.returncode == 0, errors
    store = await open_store(tmp_path / "shared.db")
    rows = await store.executions.list_executions(limit=1000)
    assert len(rows) == processes * 5
    assert len({row.shard for row in rows}) == processes
    for row in rows:
        log = await store.log.read(row.id)
        texts = [event.message for stored in log for event in stored.events() if isinstance(event, WarningRaised)]
        assert texts == [f"{row.id}.{version}" for version in range(1, versions + 1)]


async def test_a_writer_waits_for_another_process_only_so_long(open_store: OpenStore, tmp_path: Path) -> None:
    store = await open_store(settings=StoreSettings(lock_wait_s=0.05))
    shard = await store.shards.new_shard(owner())
    other = sqlite3.connect(tmp_path / "noetl.db", isolation_level=None)
    other.execute("begin immediate")
    with pytest.raises(LogUnavailable, match="another process has been writing for too long"):
        await keep(store, append(1, 1, shard))
    other.execute("rollback")
    await keep(store, append(1, 1, shard))
    other.close()
