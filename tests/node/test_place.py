"""Where a node keeps its files, and which process owns what."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from noetl.node.incarnation import is_alive, this_process
from noetl.node.place import home_dir, opened_place, store_place


def test_without_a_store_option_the_home_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert home_dir({}) == tmp_path / ".noetl"
    assert home_dir({"NOETL_HOME": ""}) == tmp_path / ".noetl"
    assert home_dir({"NOETL_HOME": "elsewhere"}) == tmp_path / "elsewhere"
    assert store_place(tmp_path / ".noetl", None) == (tmp_path / ".noetl", tmp_path / ".noetl" / "noetl.db")


def test_a_store_may_be_a_directory_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    assert store_place(tmp_path, str(tmp_path / "there")) == (tmp_path / "there", tmp_path / "there" / "noetl.db")
    assert store_place(tmp_path, f"{tmp_path}/new/") == (tmp_path / "new", tmp_path / "new" / "noetl.db")
    assert store_place(tmp_path, str(tmp_path / "new" / "noetl.db")) == (tmp_path / "new", tmp_path / "new" / "noetl.db")
    assert store_place(tmp_path, str(tmp_path / "runs.db")) == (tmp_path / "runs.db-files", tmp_path / "runs.db")


def test_two_files_in_one_directory_share_nothing(tmp_path: Path) -> None:
    assert store_place(tmp_path, str(tmp_path / "a.db"))[0] != store_place(tmp_path, str(tmp_path / "b.db"))[0]


def test_one_file_under_two_names_has_one_directory(tmp_path: Path) -> None:
    (tmp_path / "a.db").touch()
    (tmp_path / "link").symlink_to(tmp_path / "a.db")
    assert store_place(tmp_path, str(tmp_path / "link")) == store_place(tmp_path, str(tmp_path / "a.db"))


def test_a_store_in_memory_has_a_directory_for_as_long_as_it_lives(tmp_path: Path) -> None:
    with opened_place(tmp_path, "memory") as place:
        assert place.file is None
        (place.directory / "artifacts").mkdir()
        assert place.directory.stat().st_mode & 0o077 == 0, "nobody else's business"
    assert not place.directory.exists()
    assert list(tmp_path.iterdir()) == []


def test_a_process_is_alive_until_it_ends() -> None:
    child = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from noetl.node.incarnation import *; import msgspec; print(msgspec.json.encode(this_process('c')).decode()); input()",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    owner = msgspec.json.decode(child.stdout.readline(), type=type(this_process("x")))
    assert is_alive(owner)
    child.kill()
    child.wait()
    assert not is_alive(owner)
    child.stdout.close()
    assert child.stdin is not None
    child.stdin.close()


def test_a_process_that_has_ended_and_was_not_yet_waited_for_is_not_alive() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    me = this_process("n")
    began = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    assert not is_alive(msgspec.structs.replace(me, pid=pid, began=began))
    os.waitpid(pid, 0)


ME = this_process("n")


@pytest.mark.parametrize(
    ("changes", "alive"),
    [
        ({}, True),
        ({"began": "1"}, False),
        ({"pid": 2**22 + 1}, False),
        ({"boot": "before"}, False),
        ({"host": "elsewhere"}, True),
        ({"host": "elsewhere", "began": "1"}, False),
        ({"host": "elsewhere", "boot": "another", "pid": 2**22 + 1}, True),
    ],
    ids=["me", "its number was given again", "gone", "this machine before it was booted", "renamed", "renamed and gone", "can't be asked"],
)
def test_who_is_alive(changes: dict[str, object], alive: bool) -> None:
    assert is_alive(msgspec.structs.replace(ME, **changes)) is alive


def test_an_owner_says_who_it_is() -> None:
    assert str(ME) == f"n (pid {os.getpid()} on {socket.gethostname()})"
