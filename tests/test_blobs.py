"""Blobs: whole or not at all, durable, checked when read."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from noetl.blobs import blob_path, make_directory, read_blob, write_blob
from noetl.errors import LogCorrupt, NotFound

HELLO_HASH = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"


def files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(data=st.binary(max_size=10_000))
def test_what_was_written_is_read_back(tmp_path: Path, data: bytes) -> None:
    assert bytes(read_blob(tmp_path, write_blob(tmp_path, data))) == data


def test_a_blob_lies_under_the_first_two_digits_of_its_hash(tmp_path: Path) -> None:
    assert write_blob(tmp_path, b"hello") == HELLO_HASH
    assert files(tmp_path) == [tmp_path / "2c" / HELLO_HASH]
    assert blob_path(tmp_path, HELLO_HASH).read_bytes() == b"hello"


def test_a_blob_is_read_only_and_memory_mapped(tmp_path: Path) -> None:
    view = read_blob(tmp_path, write_blob(tmp_path, memoryview(b"hello")))
    assert view.readonly
    assert type(view.obj).__name__ == "mmap"


def test_writing_the_same_again_keeps_the_file_and_makes_it_young(tmp_path: Path) -> None:
    path = blob_path(tmp_path, write_blob(tmp_path, b"hello"))
    os.utime(path, (1, 1))
    inode = path.stat().st_ino
    write_blob(tmp_path, b"hello")
    assert path.stat().st_ino == inode
    assert path.stat().st_mtime > 1


def test_a_changed_blob_is_detected_when_it_is_read(tmp_path: Path) -> None:
    path = blob_path(tmp_path, write_blob(tmp_path, b"hello"))
    path.write_bytes(b"hellO")
    with pytest.raises(LogCorrupt, match="another hash"):
        read_blob(tmp_path, HELLO_HASH)


def test_a_cut_blob_is_written_again(tmp_path: Path) -> None:
    path = blob_path(tmp_path, write_blob(tmp_path, b"hello"))
    path.write_bytes(b"hel")
    write_blob(tmp_path, b"hello")
    assert bytes(read_blob(tmp_path, HELLO_HASH)) == b"hello"


@pytest.mark.parametrize("name", ["", "..", "../../etc/passwd", HELLO_HASH[:-1], HELLO_HASH.upper(), HELLO_HASH + "0", "/" * 64])
def test_a_name_that_is_no_hash_never_leaves_the_root(tmp_path: Path, name: str) -> None:
    with pytest.raises(NotFound):
        read_blob(tmp_path, name)


def test_a_blob_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=HELLO_HASH):
        read_blob(tmp_path, HELLO_HASH)


def test_a_disk_that_is_full_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    (tmp_path / "2c").mkdir()
    with pytest.raises(OSError, match="No space left"):
        write_blob(tmp_path, b"hello")
    assert files(tmp_path) == []


def test_file_and_directory_are_flushed_in_the_order_that_survives_a_power_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = blob_path(tmp_path, HELLO_HASH)
    seen: list[tuple[str, bool]] = []
    fsync = os.fsync

    def recorded(descriptor: int) -> None:
        seen.append((str(Path(f"/proc/self/fd/{descriptor}").readlink()), path.exists()))
        fsync(descriptor)

    path.parent.mkdir()
    monkeypatch.setattr(os, "fsync", recorded)
    write_blob(tmp_path, b"hello")
    (file, renamed_before), (directory, renamed_after) = seen
    assert Path(file).name.startswith(f".{HELLO_HASH}.")
    assert not renamed_before
    assert directory == str(path.parent)
    assert renamed_after


def write_often(root: Path, seed: int) -> None:
    for number in range(200):
        write_blob(root, f"{(number * seed) % 50}".encode() * 1_000)


def test_many_processes_may_write_the_same_blobs_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_often, args=(tmp_path, seed)) for seed in (1, 3, 7)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert len(files(tmp_path)) == 50
    for path in files(tmp_path):
        assert len(read_blob(tmp_path, path.name)) > 0


KILLED = """
import pathlib, sys
from noetl.blobs import write_blob
print("ready", flush=True)
for number in range(100_000):
    write_blob(pathlib.Path(sys.argv[1]), str(number).encode() * 50_000)
    print(number, flush=True)
"""


def test_a_writer_that_is_killed_leaves_whole_blobs_only(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        for _ in range(20):
            writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
    blobs = [path for path in files(tmp_path) if not path.name.startswith(".")]
    assert len(blobs) >= 19
    for path in blobs:
        read_blob(tmp_path, path.name)


def test_a_directory_is_made_with_those_above_it_and_one_that_is_there_is_left(tmp_path: Path) -> None:
    make_directory(tmp_path / "a" / "b")
    (tmp_path / "a" / "b" / "file").touch()
    make_directory(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b" / "file").exists()


def test_no_directory_is_made_where_a_file_is(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(NotADirectoryError) as caught:
            make_directory(path)
        assert caught.value.filename == str(tmp_path / "file")
