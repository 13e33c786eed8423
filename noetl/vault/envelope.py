"""Envelope encryption of credentials: each version has a data key of its own, and the master key wraps only that.

Both encryptions are bound to what the row says in clear: moved to another name, version or kind, or with a wider scope, a credential does not open.
"""

from __future__ import annotations

import os
from typing import Any, Final

import msgspec

from noetl.errors import CredentialUnreadable, ToolRefused
from noetl.store.credentials import Sealing, StoredCredential
from noetl.vault.keyring import Key, KeyRing
from noetl.vault.secrets import NO_CIPHER

_NONCE_BYTES: Final = 12


class Label(msgspec.Struct, frozen=True, array_like=True):
    """What a sealing is bound to."""

    name: str
    version: int
    kind: str
    domains: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()

    def bytes(self, purpose: str) -> bytes:
        return msgspec.msgpack.encode((purpose, self))


def label_of(stored: StoredCredential) -> Label:
    return Label(stored.name, stored.version, stored.kind, stored.domains, stored.hosts)


def seal(data: dict[str, Any], label: Label, key: Key) -> Sealing:
    data_key = os.urandom(32)
    encrypted = _encrypt(data_key, msgspec.msgpack.encode(data), label.bytes("data"))
    return Sealing(encrypted, _encrypt(key.secret, data_key, label.bytes("key")), key.id)


def unseal(stored: StoredCredential, keys: KeyRing) -> dict[str, Any]:
    """Raises `CredentialUnreadable`: its key is not there, or the row was changed."""
    label = label_of(stored)
    data: dict[str, Any] = msgspec.msgpack.decode(_decrypt(data_key_of(stored, keys), stored.sealing.data, label.bytes("data"), stored))
    return data


def data_key_of(stored: StoredCredential, keys: KeyRing) -> bytes:
    """Raises as `unseal`."""
    key = keys.find(stored.sealing.key_id)
    if key is None:
        raise CredentialUnreadable(f"credential '{stored.name}' is sealed with the key {stored.sealing.key_id}, which is not here")
    return _decrypt(key.secret, stored.sealing.data_key, label_of(stored).bytes("key"), stored)


def wrap(data_key: bytes, stored: StoredCredential, key: Key) -> bytes:
    """The data key under another master key."""
    return _encrypt(key.secret, data_key, label_of(stored).bytes("key"))


def _encrypt(key: bytes, clear: bytes, bound_to: bytes) -> bytes:
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + bytes(_cipher(key).encrypt(nonce, clear, bound_to))


def _decrypt(key: bytes, sealed: bytes, bound_to: bytes, stored: StoredCredential) -> bytes:
    cipher = _cipher(key)
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415  slow to import, and rarely needed

    try:
        return bytes(cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], bound_to))
    except (InvalidTag, ValueError):
        raise CredentialUnreadable(f"credential '{stored.name}' does not hold what was sealed: its row in the store was changed") from None


def _cipher(key: bytes) -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305  # noqa: PLC0415  as above
    except ModuleNotFoundError:
        raise ToolRefused(NO_CIPHER, kind="unsupported") from None
    return ChaCha20Poly1305(key)
