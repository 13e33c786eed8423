"""What must not be seen, and how it is kept from being seen.

A secret is known from the moment its credential is opened. Every text on its way to a reader is scrubbed of the known secrets and of the forms in which they travel
(base64, URL, JSON, hex). What is stored keeps its value, sealed: encrypted, with the scrubbed text for readers.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable
from typing import Any, Final
from urllib.parse import quote, quote_plus

import msgspec

from noetl.errors import LogCorrupt
from noetl.values import SEALED_CODE, Sealed, pack_leaf, unpack_leaf

MASK: Final = "***"
_LEAST: Final = 6
"""Shorter secrets would mask half of what people write."""
_NONCE_BYTES: Final = 12


class Secrets:
    """One per node. `key` gives the 32 bytes that seal; it is asked for when something is sealed or opened for the first time."""

    def __init__(self, key: Callable[[], bytes]) -> None:
        self._key = key
        self._known: set[str] = set()
        self._text: re.Pattern[str] | None = None
        self._bytes: re.Pattern[bytes] | None = None
        self._cipher: Any = None

    def learn(self, values: Iterable[str]) -> None:
        """Remember secrets from now on."""
        new = {value for value in values if len(value) >= _LEAST} - self._known
        if not new:
            return
        self._known |= new
        forms = sorted({form for secret in self._known for form in forms_of(secret)}, key=len, reverse=True)
        pattern = "|".join(re.escape(form) for form in forms)
        self._text = re.compile(pattern)
        self._bytes = re.compile(pattern.encode())

    def scrub(self, text: str) -> str:
        return text if self._text is None else self._text.sub(MASK, text)

    def found_in(self, encoded: bytes) -> bool:
        """Whether encoded values hold a secret in any form."""
        return self._bytes is not None and self._bytes.search(encoded) is not None

    def hide(self, value: Any) -> Any:
        """JSON-like data for readers: scrubbed texts, sealed leaves as what may be seen of them."""
        if isinstance(value, str):
            return self.scrub(value)
        if isinstance(value, dict):
            return {self.scrub(key) if isinstance(key, str) else key: self.hide(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.hide(item) for item in value]
        return value.display if isinstance(value, Sealed) else value

    def seal(self, value: Any) -> Any:
        """JSON-like data for the store: each text that holds a secret is sealed; a mapping with a secret in a key as a whole."""
        if self._text is None:
            return value
        if isinstance(value, str):
            return self._sealed(value) if self._text.search(value) else value
        if isinstance(value, dict):
            if any(isinstance(key, str) and self._text.search(key) for key in value):
                return self._sealed(value)
            return {key: self.seal(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.seal(item) for item in value]
        return value

    def open_leaf(self, code: int, data: memoryview) -> object:
        """The `ext_hook` of a decoder that sees sealed values in clear."""
        leaf = unpack_leaf(code, data)
        return self.open(leaf) if code == SEALED_CODE and isinstance(leaf, Sealed) else leaf

    def open(self, sealed: Sealed) -> Any:
        """Raises `LogCorrupt` when it was sealed with another key, or changed."""
        from cryptography.exceptions import InvalidTag

        try:
            packed = self._aead().decrypt(sealed.cipher[:_NONCE_BYTES], sealed.cipher[_NONCE_BYTES:], None)
        except (InvalidTag, ValueError):
            raise LogCorrupt("a sealed value can't be opened: the vault's key is not the one that it was sealed with") from None
        value, secrets = msgspec.msgpack.decode(packed, ext_hook=unpack_leaf)
        self.learn(secrets)
        return value

    def _sealed(self, value: Any) -> Sealed:
        import secrets as randomness

        nonce = randomness.token_bytes(_NONCE_BYTES)
        shown = self.hide(value)
        text = shown if isinstance(shown, str) else json.dumps(shown, default=str)
        inside = [secret for secret in self._known if any(form in (value if isinstance(value, str) else text_of(value)) for form in forms_of(secret))]
        packed = msgspec.msgpack.encode((value, inside), enc_hook=pack_leaf)
        return Sealed(text, nonce + self._aead().encrypt(nonce, packed, None))

    def _aead(self) -> Any:
        if self._cipher is None:
            from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

            self._cipher = ChaCha20Poly1305(self._key())
        return self._cipher


def text_of(value: Any) -> str:
    return json.dumps(value, default=str, ensure_ascii=False)


def forms_of(secret: str) -> set[str]:
    """The texts as which a secret travels."""
    raw = secret.encode()
    forms = {secret, quote(secret), quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    forms |= {raw.hex(), raw.hex().upper()}
    forms |= {base64.b64encode(raw).decode().rstrip("="), base64.urlsafe_b64encode(raw).decode().rstrip("=")}
    forms |= {form for lead in (1, 2) for form in _base64_inside(raw, lead)}
    return {form for form in forms if len(form) >= _LEAST}


def _base64_inside(raw: bytes, lead: int) -> Iterable[str]:
    """The characters that the secret alone decides when `lead` bytes (modulo 3) stand before it."""
    skip = {1: 2, 2: 3}[lead]
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        encoded = encode(b"\0" * lead + raw).decode().rstrip("=")
        end = (lead + len(raw)) * 8 // 6
        yield encoded[skip:end]
