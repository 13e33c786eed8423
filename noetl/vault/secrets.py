"""What must not be seen, and how it is kept from being seen.

A secret is known from the moment its credential is opened. Every text on its way to a reader is scrubbed of the known secrets, in all forms in which
they travel. What is stored keeps its value, sealed: encrypted, with the scrubbed text for readers.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from typing import Any, Final

import msgspec

from noetl.errors import LogCorrupt, LogUnavailable, ToolRefused
from noetl.values import SEALED_CODE, Sealed, pack_leaf, unpack_leaf
from noetl.vault.keyring import ID_BYTES, Key, KeyRing

MASK: Final = "***"
NO_CIPHER: Final = "a secret can't be kept safe without the package 'cryptography': pip install 'noetl[sealed]'"
LEAST_CHARS: Final = 6
"""Shorter secrets would mask half of what people write."""
_NONCE_BYTES: Final = 12
_MARK: Final = b"noetl\1"
"""How a sealed value begins: then follows the id of the key."""
_IN_HTML: Final = {"&": "amp|#38|#x26", "<": "lt|#60|#x3[cC]", ">": "gt|#62|#x3[eE]", '"': "quot|#34|#x22", "'": "apos|#39|#x27"}


class Secrets:
    """One per node. The keys are asked for when something is sealed or opened for the first time."""

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys
        self._known: dict[str, re.Pattern[str]] = {}
        self._text: re.Pattern[str] | None = None
        self._bytes: re.Pattern[bytes] | None = None

    def learn(self, values: Iterable[str]) -> None:
        """Remember secrets from now on. Raises `ToolRefused` when they could not be sealed here."""
        new = {value: re.compile(pattern_of(value)) for value in values if len(value) >= LEAST_CHARS and value not in self._known}
        if not new:
            return
        if find_spec("cryptography") is None:
            raise ToolRefused(NO_CIPHER, kind="unsupported")
        self._known |= new
        longest_first = sorted(self._known, key=len, reverse=True)
        pattern = "|".join(self._known[secret].pattern for secret in longest_first)
        self._text = re.compile(pattern)
        self._bytes = re.compile(pattern.encode())

    @property
    def known(self) -> bool:
        """Whether there is anything to hide."""
        return self._text is not None

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
        packed = _opened(sealed.cipher, self._keys)
        if packed is None:
            raise LogCorrupt("a sealed value can't be opened: the vault's key is not the one that it was sealed with")
        value, secrets = msgspec.msgpack.decode(packed, ext_hook=unpack_leaf)
        self.learn(secrets)
        return value

    def _sealed(self, value: Any) -> Sealed:
        nonce = os.urandom(_NONCE_BYTES)
        shown = self.hide(value)
        text = shown if isinstance(shown, str) else json.dumps(shown, default=str)
        clear = value if isinstance(value, str) else json.dumps(value, default=str)
        inside = [secret for secret, pattern in self._known.items() if pattern.search(clear)]
        packed = msgspec.msgpack.encode((value, inside), enc_hook=pack_leaf)
        key = self._keys.current()
        return Sealed(text, _MARK + bytes.fromhex(key.id) + nonce + _cipher(key).encrypt(nonce, packed, None))


def _opened(sealed: bytes, keys: KeyRing) -> bytes | None:
    """None when none of the keys opens it."""
    start = len(_MARK) + ID_BYTES
    if sealed.startswith(_MARK):
        key = keys.find(sealed[len(_MARK) : start].hex())
        return None if key is None else _decrypted(sealed[start:], key)
    tried = (_decrypted(sealed, key) for key in keys.all())  # sealed by a version that did not say by which key
    return next((packed for packed in tried if packed is not None), None)


def _decrypted(sealed: bytes, key: Key) -> bytes | None:
    cipher = _cipher(key)
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415  slow to import, and rarely needed

    try:
        return bytes(cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], None))
    except (InvalidTag, ValueError):
        return None


def _cipher(key: Key) -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305  # noqa: PLC0415  as above
    except ModuleNotFoundError:
        raise LogUnavailable(NO_CIPHER) from None
    return ChaCha20Poly1305(key.secret)


def pattern_of(secret: str) -> str:
    """A regular expression for a secret in the forms in which it travels.

    As text, each character as it is or escaped for URLs, JSON, HTML, Python or by a backslash, also several times over; the same for each line of a
    secret that has several, since logs have lines; as hex; and as base64, alone or in the midst of other bytes.
    """
    raw = secret.encode()
    texts = [_spelled(text) for text in (secret, *_lines(secret)) if len(text) >= LEAST_CHARS]
    return "|".join([*texts, *_in_base64(raw), f"(?i:{raw.hex()})"])


def _spelled(text: str) -> str:
    """A run of backslashes counts as one, since escaping multiplies them, and goes with the character that follows: that one may be escaped, too."""
    return "".join(_spelled_piece(run, char) for run, char in re.findall(r"(\\*)([^\\]?)", text) if run or char)


def _spelled_piece(run: str, char: str) -> str:
    if not run and char.isascii() and char.isalnum():
        return char
    backslashes = rf"(?:(?<!\\)\\++|{_in_url(run)})" if run else r"(?:(?<!\\)\\++)?+"
    return backslashes + (f"(?:{'|'.join(_spellings(char))})" if char else "")


def _spellings(char: str) -> Iterator[str]:
    """One character, after as many backslashes as there are."""
    yield re.escape(char)
    if char in _IN_HTML:
        yield f"&(?:{_IN_HTML[char]});"
    yield _in_url(char)
    if char == " ":
        yield r"\+"
    in_json = json.dumps(char)[1:-1]
    if in_json.startswith("\\"):
        yield rf"(?<=\\)(?i:{in_json[1:]})".replace("\\u", r"\\++u")  # one that is no letter of our alphabets has two escapes
    if not (char.isascii() and char.isprintable()):
        yield from _in_python(char)


def _in_python(char: str) -> Iterator[str]:
    """Escapes that only Python writes, of a text and of its bytes; those of JSON are the others."""
    code = ord(char)
    if code < 0x100:
        yield rf"(?<=\\)(?i:x{code:02x})"
    elif code > 0xFFFF:
        yield rf"(?<=\\)(?i:u{code:08x})"
    yield r"(?<=\\)" + r"\\++".join(f"(?i:x{byte:02x})" for byte in char.encode())


def _in_url(text: str) -> str:
    return f"(?i:{''.join(f'%(?:25)*{byte:02x}' for byte in text.encode())})"


def _lines(secret: str) -> Iterator[str]:
    """Without the first and last line of a PEM file, which are no secret."""
    lines = secret.splitlines()
    return (line for line in lines if not line.startswith("-----")) if len(lines) > 1 else iter(())


def _in_base64(raw: bytes) -> Iterator[str]:
    """What the secret alone decides, when 0, 1 or 2 bytes (modulo 3) stand before it; and the last character, which it decides in part."""
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for lead, foreign in ((0, 0), (1, 2), (2, 3)):
            text = encode(b"\0" * lead + raw).decode()[foreign : (lead + len(raw)) * 8 // 6]
            if len(text) >= LEAST_CHARS:
                yield _spelled(text) + ("[\\w+/-]?={0,2}" if (lead + len(raw)) % 3 else "")
