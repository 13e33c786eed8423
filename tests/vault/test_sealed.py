"""The vault in the store: what is sealed, who may open it, and what a change of the master key does."""

from __future__ import annotations

import datetime as dt
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from noetl.clock import SystemClock
from noetl.errors import CredentialUnreadable, NotAllowed, ToolRefused
from noetl.settings import StoreSettings
from noetl.store.logs.sqlite import open_sqlite
from noetl.store.store import Store
from noetl.vault.credential import CredentialRecord, Use, domain_of
from noetl.vault.keyring import FileKeys, GivenKeys, KeyRing
from noetl.vault.kinds import problems_of
from noetl.vault.secrets import Secrets
from noetl.vault.vaults.file import FileVault
from noetl.vault.vaults.layered import LayeredVault
from noetl.vault.vaults.sealed import SealedVault

USE = Use(7, "fetch", "shop")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with AsyncExitStack() as stack:
        opened = await open_sqlite(tmp_path / "noetl.db", tmp_path, StoreSettings())
        stack.push_async_callback(opened.close)
        yield opened


@pytest.fixture
def keys(tmp_path: Path) -> FileKeys:
    return FileKeys(tmp_path / "vault.key")


@pytest.fixture
def vault(store: Store, keys: FileKeys) -> SealedVault:
    return SealedVault(store.credentials, keys, SystemClock())


def on_disk(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("noetl.db*"))


def change(folder: Path, statement: str, *values: Any) -> None:
    """Somebody writes into the file."""
    connection = sqlite3.connect(folder / "noetl.db", timeout=10)
    connection.execute(statement, values)
    connection.commit()
    connection.close()


async def test_what_is_put_can_be_opened_and_lies_nowhere_in_clear(vault: SealedVault, tmp_path: Path) -> None:
    data = {"token": "s3cr3t-value", "extra": {"deep": ["hunter-2222", 7, None]}}
    info = await vault.put("api", "bearer", data, description="the shop's", by="joe")
    assert (info.name, info.kind, info.version, info.fields, info.updated_by) == ("api", "bearer", 1, ("token", "extra"), "joe")
    assert await vault.open("api", USE) == CredentialRecord("api", "bearer", data, version=1)
    assert b"s3cr3t-value" not in on_disk(tmp_path)
    assert b"hunter-2222" not in on_disk(tmp_path)


async def test_the_newest_version_is_opened_and_the_information_says_since_when(vault: SealedVault) -> None:
    first = await vault.put("api", "bearer", {"token": "one"}, by="joe")
    second = await vault.put("api", "basic", {"username": "u", "password": "two"}, by="ann")
    assert (second.version, second.created_at, second.updated_by) == (2, first.created_at, "ann")
    assert second.updated_at >= first.updated_at
    opened = await vault.open("api", USE)
    assert opened is not None
    assert (opened.kind, opened.data["password"]) == ("basic", "two")
    assert await vault.info("api") == second
    assert await vault.list() == [second]


async def test_what_is_not_there_is_none(vault: SealedVault) -> None:
    assert (await vault.open("none", USE), await vault.info("none"), await vault.list()) == (None, None, [])
    assert not await vault.delete("none")


async def test_what_was_deleted_can_not_be_opened(vault: SealedVault) -> None:
    await vault.put("api", "bearer", {"token": "one"})
    assert await vault.delete("api", by="joe")
    assert (await vault.open("api", USE), await vault.info("api"), await vault.list()) == (None, None, [])


async def test_an_opening_is_on_record_with_version_execution_and_step(vault: SealedVault, store: Store) -> None:
    await vault.put("api", "bearer", {"token": "one"})
    await vault.put("api", "bearer", {"token": "two"})
    await vault.open("api", USE)
    (opening,) = await store.credentials.openings("api")
    assert (opening.name, opening.version, opening.execution_id, opening.step) == ("api", 2, 7, "fetch")
    assert dt.datetime.now(dt.UTC) - opening.at < dt.timedelta(minutes=1)


async def test_a_credential_of_other_domains_is_refused_and_not_on_record_as_opened(vault: SealedVault, store: Store) -> None:
    await vault.put("api", "bearer", {"token": "s3cr3t-value"}, domains=["billing", "tax"])
    with pytest.raises(NotAllowed, match="credential 'api' is for playbooks of the domains billing, tax; this one's is 'shop'"):
        await vault.open("api", USE)
    assert await store.credentials.openings("api") == []
    assert await vault.open("api", Use(7, "fetch", "tax")) is not None


def test_the_domain_of_a_playbook_is_the_first_part_of_its_path() -> None:
    assert [domain_of(path) for path in ("shop/orders/sync", "/shop/x", "shop", "")] == ["shop", "shop", "shop", ""]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("kind", "basic"),
        ("domains", "[]"),
        ("hosts", '["evil.example"]'),
        ("version", 9),
        ("name", "other"),
        ("sealed", b"x" * 60),
        ("data_key", b"y" * 60),
    ],
)
async def test_a_row_that_was_changed_does_not_open(vault: SealedVault, tmp_path: Path, column: str, value: Any) -> None:
    await vault.put("api", "bearer", {"token": "one"}, domains=["shop"], hosts=["api.example"])
    change(tmp_path, f"update credentials set {column} = ?", value)
    name = str(value) if column == "name" else "api"
    with pytest.raises(CredentialUnreadable, match=f"credential '{name}' does not hold what was sealed"):
        await vault.open(name, USE)


async def test_without_its_key_a_credential_does_not_open_and_the_key_is_named(vault: SealedVault, store: Store, keys: FileKeys) -> None:
    await vault.put("api", "bearer", {"token": "one"})
    with pytest.raises(CredentialUnreadable, match=f"sealed with the key {keys.current().id}, which is not here"):
        await SealedVault(store.credentials, GivenKeys(b"k" * 32), SystemClock()).open("api", USE)


async def test_after_a_rotation_everything_is_under_the_new_key_and_nodes_that_run_go_on(vault: SealedVault, store: Store, tmp_path: Path) -> None:
    running = SealedVault(store.credentials, FileKeys(tmp_path / "vault.key"), SystemClock())
    for number in range(3):
        await vault.put("api", "bearer", {"token": f"value {number}"})
        await vault.put(f"api {number}", "bearer", {"token": f"value {number}"})
    await running.open("api", USE)

    after = FileKeys(tmp_path / "vault.key").rotate()
    opened = await running.open("api", USE)
    assert opened is not None, "the keys are changed, the store is not yet"
    await running.put("between", "bearer", {"token": "x"})

    assert await vault.rewrap() == (6, ())
    assert await store.credentials.not_under(after.id) == []
    assert await vault.rewrap() == (0, ())
    for number in range(3):
        opened = await running.open(f"api {number}", USE)
        assert opened is not None
        assert opened.data == {"token": f"value {number}"}
    await running.put("api", "bearer", {"token": "after"})
    assert await store.credentials.not_under(after.id) == [], "a running node seals with the new key"


async def test_many_are_wrapped_anew_in_batches_and_one_without_a_key_is_named(store: Store, keys: FileKeys) -> None:
    lost = SealedVault(store.credentials, GivenKeys(b"l" * 32), SystemClock())
    await lost.put("lost", "bearer", {"token": "x"})
    vault = SealedVault(store.credentials, keys, SystemClock())
    for _ in range(501):
        await vault.put("api", "bearer", {"token": "x"})
    keys.rotate()
    assert await vault.rewrap() == (501, ("lost",))


@pytest.mark.parametrize("older", [True, False], ids=["a value that names no key", "a value that names its key"])
def test_sealed_values_of_the_log_open_after_a_rotation(keys: FileKeys, tmp_path: Path, older: bool) -> None:
    writer = Secrets(keys)
    writer.learn(["hunter22"])
    sealed = writer.seal("my hunter22")
    if older:
        sealed = type(sealed)(sealed.display, sealed.cipher[len(b"noetl\1") + 8 :])
    FileKeys(tmp_path / "vault.key").rotate()
    assert Secrets(FileKeys(tmp_path / "vault.key")).open(sealed) == "my hunter22"
    assert writer.open(sealed) == "my hunter22"


async def test_the_file_of_the_operator_comes_before_the_store(vault: SealedVault) -> None:
    await vault.put("api", "bearer", {"token": "store"})
    await vault.put("other", "bearer", {"token": "store"})
    layered = LayeredVault(FileVault({"api": CredentialRecord("api", "bearer", {"token": "file"})}), vault)
    found = [await layered.open(name, USE) for name in ("api", "other", "none")]
    assert [None if record is None else record.data["token"] for record in found] == ["file", "store", None]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"name": ""}, "the name of a credential is a text of 1 to 200 characters"),
        ({"name": "a\nb"}, "the name of a credential"),
        ({"kind": " bearer"}, "the kind of a credential"),
        ({"domains": ["shop/orders"]}, "'shop/orders' is no domain: it is the first part of a catalog path"),
        ({"hosts": ["https://api.example"]}, "'https://api.example' is no host"),
        ({"hosts": ["a.*.example"]}, "is no host"),
    ],
)
async def test_what_can_not_be_is_refused_in_words(vault: SealedVault, given: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        await vault.put(**({"name": "api", "kind": "bearer", "data": {"token": "hunter22"}} | given))
    assert await vault.list() == []


async def test_without_the_cipher_nothing_is_put(store: Store, keys: KeyRing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    with pytest.raises(ToolRefused, match=r"pip install 'noetl\[sealed\]'"):
        await SealedVault(store.credentials, keys, SystemClock()).put("api", "bearer", {"token": "x"})


@pytest.mark.parametrize(
    ("kind", "data", "expected"),
    [
        ("bearer", {"token": "x"}, []),
        ("bearer", {"access_token": "x"}, []),
        ("bearer", {"tokn": "x"}, ["kind 'bearer' does not know the field 'tokn' (did you mean 'token'?)", "kind 'bearer' needs 'token'"]),
        ("postgres", {"dsn": "x"}, []),
        ("postgres", {"db_host": "h", "db_user": "u", "db_name": "d", "db_password": "p", "db_port": 1, "sslmode": "require"}, []),
        ("postgres", {"host": "h", "user": ""}, ["kind 'postgres' needs 'dsn' or 'host' and 'user' and 'database'"]),
        ("oauth2", {"token_url": "u", "client_id": "c", "client_secret": "s", "scope": "x", "refresh_token": "r"}, []),
        ("gcs", {"service_account": {"client_email": "x"}}, []),
        ("snowflake", {"account": "a", "user": "u", "password": "p", "warehouse": "w", "database": "d", "schema": "s"}, []),
        ("barer", {"token": "x"}, ["kind 'barer' is not known (did you mean 'bearer'?): its fields are kept as they are"]),
        ("vendor", {}, ["kind 'vendor' is not known: its fields are kept as they are"]),
    ],
)
def test_what_is_odd_about_a_credential_is_said(kind: str, data: dict[str, Any], expected: list[str]) -> None:
    assert problems_of(kind, data) == expected
