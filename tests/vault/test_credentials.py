"""Which texts of a credential are secret, and the file that holds credentials."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from noetl.errors import SettingsError
from noetl.vault.credential import CredentialRecord, Use, secrets_of
from noetl.vault.key import read_or_make_key
from noetl.vault.vaults.file import FileVault, read_credentials

USE = Use(1, "start", "shop")


@pytest.mark.parametrize(
    ("kind", "data", "expected"),
    [
        ("bearer", {"token": "t-123456"}, {"t-123456"}),
        ("api_key", {"header": "X-Key", "value": "v-123456"}, {"v-123456"}),
        ("basic", {"username": "joe", "password": "hunter22"}, {"hunter22", "joe:hunter22"}),
        ("postgres", {"host": "db", "port": 5432, "user": "joe", "password": "hunter22"}, {"hunter22", "joe:hunter22"}),
        ("postgres", {"db_host": "db", "db_user": "joe", "db_password": "hunter22"}, {"hunter22"}),
        ("postgres", {"dsn": "postgres://joe:h%21nter22@db/x"}, {"postgres://joe:h%21nter22@db/x", "h!nter22"}),
        ("postgres", {"dsn": "host=db password=hunter22"}, {"host=db password=hunter22", "hunter22"}),
        ("postgres", {"dsn": "host=db password='hunter 22'"}, {"host=db password='hunter 22'", "hunter 22"}),
        ("http", {"url": "https://joe:hunter22@host/"}, {"hunter22"}),
        ("http", {"url": "https://[broken"}, set()),
        ("gcs", {"service_account": {"client_id": "x", "keys": ["a-secret", 123456]}}, {"x", "a-secret", "123456"}),
        ("odd", {"pin": 12345678, "on": True, "nothing": None, "HOST": "db"}, {"12345678"}),
    ],
)
def test_the_secrets_of_a_credential(kind: str, data: dict[str, Any], expected: set[str]) -> None:
    assert set(secrets_of(CredentialRecord("name", kind, data))) == expected


def test_a_credential_does_not_print_its_data() -> None:
    assert repr(CredentialRecord("api", "bearer", {"token": "t-123456"})) == "<credential api (bearer)>"


def written(folder: Path, content: str | bytes) -> Path:
    file = folder / "credentials.json"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


async def test_credentials_are_found_by_name(tmp_path: Path) -> None:
    entries = [{"name": "api", "type": "bearer", "data": {"token": "t"}}, {"name": "db", "type": "postgres", "data": {}, "description": "kept apart"}]
    vault = FileVault(read_credentials(written(tmp_path, json.dumps(entries))))
    assert await vault.open("api", USE) == CredentialRecord("api", "bearer", {"token": "t"})
    assert await vault.open("none", USE) is None


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "must hold a list"),
        ('{"api": {}}', "Expected `array`, got `object`"),
        ('[{"name": "api", "data": {"token": "hunter22"}}]', r"missing required field `type` - at `\$\[0\]`"),
        ('[{"name": "api", "type": "bearer", "data": "hunter22"}]', r"Expected `object`, got `str` - at `\$\[0\].data`"),
        (b'\xff["hunter22"]', "must hold a list"),
        ('[{"name": "a", "type": "t", "data": {}}, {"name": "a", "type": "t", "data": {}}]', "has two credentials called 'a'"),
    ],
)
def test_a_file_that_is_none_is_refused_without_a_value_of_it(tmp_path: Path, content: str | bytes, says: str) -> None:
    with pytest.raises(SettingsError, match=says) as caught:
        read_credentials(written(tmp_path, content))
    assert str(caught.value).startswith(f"NOETL_CREDENTIALS: {tmp_path / 'credentials.json'} ")
    assert "hunter22" not in str(caught.value)


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=f"{tmp_path / 'none'} can't be read: No such file or directory"):
        read_credentials(tmp_path / "none")


def test_the_key_is_made_once_and_is_its_owners_only(tmp_path: Path) -> None:
    path = tmp_path / "new" / "vault.key"
    with ThreadPoolExecutor(8) as threads:
        keys = set(threads.map(lambda _: read_or_make_key(path), range(32)))
    assert keys == {path.read_bytes()}
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path], "no half of one is left"


def test_a_file_that_is_no_key_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "vault.key").write_bytes(b"short")
    with pytest.raises(SettingsError, match="must have 32 bytes, it has 5"):
        read_or_make_key(tmp_path / "vault.key")
    with pytest.raises(SettingsError, match="can't be read or made: Not a directory"):
        read_or_make_key(tmp_path / "vault.key" / "below")
