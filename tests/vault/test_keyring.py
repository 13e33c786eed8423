"""The master keys: files, rotation, and keys that somebody else keeps."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from pathlib import Path

import pytest

from noetl.errors import SettingsError
from noetl.settings import VaultSettings
from noetl.vault.keyring import FileKeys, GivenKeys, key_of, open_keys

A, B = b"a" * 32, b"b" * 32


def test_the_id_of_a_key_is_made_from_it_and_does_not_show_it() -> None:
    assert key_of(A) == key_of(A)
    assert key_of(A).id != key_of(B).id
    assert repr(key_of(A)) == f"<key {key_of(A).id}>"
    assert A.hex().startswith(key_of(A).id) is False


def test_the_first_key_is_made_when_it_is_needed(tmp_path: Path) -> None:
    keys = FileKeys(tmp_path / "vault.key")
    assert list(tmp_path.iterdir()) == []
    key = keys.current()
    assert key.secret == (tmp_path / "vault.key").read_bytes()
    assert keys.find(key.id) == key
    assert keys.find("00") is None
    assert keys.find("../../etc/passwd") is None


def test_a_rotation_keeps_every_key_that_there_was(tmp_path: Path) -> None:
    keys = FileKeys(tmp_path / "vault.key")
    were = [keys.current(), keys.rotate(), keys.rotate()]
    assert len({key.id for key in were}) == 3
    assert (tmp_path / "vault.key").read_bytes() == were[-1].secret
    later = FileKeys(tmp_path / "vault.key")
    assert [later.find(key.id) for key in were] == were
    assert later.all()[0] == were[-1]
    assert {key.id for key in later.all()} == {key.id for key in were}
    assert {file.name for file in tmp_path.iterdir()} == {"vault.key", "vault.key.d"}
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "vault.key.d").iterdir()}
    assert (modes, (tmp_path / "vault.key.d").stat().st_mode & 0o777) == ({0o600}, 0o700)


def test_another_process_sees_a_rotation_at_its_next_use(tmp_path: Path) -> None:
    mine, theirs = FileKeys(tmp_path / "vault.key"), FileKeys(tmp_path / "vault.key")
    before = mine.current()
    after = theirs.rotate()
    assert mine.current() == after
    assert mine.find(before.id) == before


def test_a_directory_that_can_not_be_written_is_named_and_the_key_stays(tmp_path: Path) -> None:
    keys = FileKeys(tmp_path / "vault.key")
    before = keys.current()
    (tmp_path / "vault.key.d").write_text("in the way")
    with pytest.raises(SettingsError, match=r"vault\.key can't be replaced: "):
        keys.rotate()
    assert keys.current() == before


async def test_a_variable_may_hold_the_keys_and_the_first_one_seals(tmp_path: Path) -> None:
    text = f" {base64.b64encode(A).decode()}, {B.hex()}\n"
    keys = await open_keys(VaultSettings(key_env="KEYS"), tmp_path, {"KEYS": text})
    assert keys.current() == key_of(A)
    assert keys.find(key_of(B).id) == key_of(B)
    assert list(tmp_path.iterdir()) == [], "no key of our own is made"


async def test_a_command_may_print_the_key(tmp_path: Path) -> None:
    keys = await open_keys(VaultSettings(key_command='echo "$WHAT"'), tmp_path, {"WHAT": A.hex(), "PATH": os.environ["PATH"]})
    assert keys.current() == key_of(A)


async def test_the_keys_of_the_files_still_open_when_somebody_else_keeps_the_current_one(tmp_path: Path) -> None:
    files = FileKeys(tmp_path / "vault.key")
    were = [files.current(), files.rotate()]
    keys = await open_keys(VaultSettings(key_env="KEY"), tmp_path, {"KEY": A.hex()})
    assert [keys.find(key.id) for key in were] == were
    assert keys.all()[0] == key_of(A)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (VaultSettings(key_env="NONE"), "the variable NONE must be 32 bytes in base64 or hex"),
        (VaultSettings(key_env="SHORT"), "the variable SHORT must be 32 bytes in base64 or hex"),
        (VaultSettings(key_env="MIXED"), "the variable MIXED must be 32 bytes in base64 or hex"),
        (VaultSettings(key_command="exit 3"), "vault.key_command: it ended with status 3"),
        (VaultSettings(key_command="echo hunter22"), "vault.key_command: its output must be 32 bytes"),
    ],
)
async def test_what_gives_no_key_is_refused_and_not_shown(tmp_path: Path, settings: VaultSettings, says: str) -> None:
    with pytest.raises(SettingsError, match=says) as caught:
        await open_keys(settings, tmp_path, {"SHORT": "hunter22", "MIXED": f"{A.hex()} hunter22", "PATH": os.environ["PATH"]})
    assert "hunter22" not in str(caught.value)


async def test_a_store_in_memory_has_a_key_of_its_own(tmp_path: Path) -> None:
    first, second = [await open_keys(VaultSettings(), None, {}) for _ in range(2)]
    assert isinstance(first, GivenKeys)
    assert first.current() != second.current()


ROTATE = """
import os, signal, sys
from pathlib import Path
from noetl.vault import key, keyring

left = int(sys.argv[1])

def counting(function):
    def call(*args, **kwargs):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return call

for name in ("open", "write", "fsync", "close", "link"):
    setattr(key.os, name, counting(getattr(os, name)))
Path.replace = counting(Path.replace)
Path.unlink = counting(Path.unlink)
keyring.FileKeys(Path("vault.key")).rotate()
"""


@pytest.mark.parametrize("after", range(0, 24, 2))
def test_a_rotation_that_is_killed_anywhere_leaves_a_key_and_the_one_before(tmp_path: Path, after: int) -> None:
    before = FileKeys(tmp_path / "vault.key").current()
    root = str(Path(__file__).parents[2])
    killed = subprocess.run([sys.executable, "-c", ROTATE, str(after)], cwd=tmp_path, env={"PYTHONPATH": root}, check=False)
    assert killed.returncode == -9, "there is a call left to be killed at"
    keys = FileKeys(tmp_path / "vault.key")
    assert keys.find(before.id) == before
    assert keys.find(keys.current().id) == keys.current()
    after_all = keys.rotate()
    assert (keys.current(), keys.find(before.id)) == (after_all, before)
