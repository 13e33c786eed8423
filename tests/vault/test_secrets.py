"""Secrets: every form in which they travel is found, what is stored is sealed, and nothing is altered."""

from __future__ import annotations

import base64
import html
import importlib.util
import json
import secrets as randomness
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, quote_plus, urlencode

import markupsafe
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noetl.errors import LogCorrupt, ToolRefused
from noetl.values import Sealed, encode, handle_of, pack_leaf
from noetl.vault import secrets as secrets_module
from noetl.vault.keyring import GivenKeys, Key
from noetl.vault.secrets import LEAST_CHARS, MASK, Secrets

KEY = b"k" * 32
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=LEAST_CHARS, max_size=40)
AROUND = st.text("abc xyz-/:=", max_size=8)


def knowing(*secrets: str, key: bytes = KEY) -> Secrets:
    made = Secrets(GivenKeys(key))
    made.learn(secrets)
    return made


FORMS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "JSON": json.dumps,
    "JSON in UTF-8": lambda text: json.dumps(text, ensure_ascii=False),
    "JSON by msgspec": lambda text: msgspec.json.encode(text).decode(),
    "JSON in JSON": lambda text: json.dumps(json.dumps(text)),
    "JSON with its slashes escaped": lambda text: json.dumps(text).replace("/", "\\/"),
    "URL path": quote,
    "URL": lambda text: quote(text, safe=""),
    "URL with everything odd left in": lambda text: quote(text, safe="/?:@!$&'()*,;=+"),
    "URL in lower case": lambda text: quote(text, safe="").lower() if text == text.lower() else quote(text, safe=""),
    "URL in URL": lambda text: quote(quote(text, safe=""), safe=""),
    "form": quote_plus,
    "query": lambda text: urlencode({"q": text}),
    "HTML": html.escape,
    "HTML by Jinja": lambda text: str(markupsafe.escape(text)),
    "Python": repr,
    "Python in ASCII": ascii,
    "bytes of Python": lambda text: repr(text.encode()),
    "hex": lambda text: text.encode().hex(),
    "upper hex": lambda text: text.encode().hex().upper(),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 for URLs": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
}


@pytest.mark.parametrize("form", FORMS)
@given(TEXTS, AROUND, AROUND)
def test_a_secret_is_found_in_every_form(form: str, secret: str, before: str, after: str) -> None:
    text = before + FORMS[form](secret) + after
    secrets = knowing(secret)
    assert secret not in secrets.scrub(text)
    assert MASK in secrets.scrub(text)
    assert secrets.found_in(encode({"a": [text]}))


@given(TEXTS, st.binary(max_size=7), st.binary(max_size=7), st.sampled_from([base64.b64encode, base64.urlsafe_b64encode]))
def test_a_secret_is_found_in_the_base64_of_what_is_around_it(secret: str, before: bytes, after: bytes, encode_: Callable[[bytes], bytes]) -> None:
    """As in `Authorization: Basic`."""
    text = encode_(before + secret.encode() + after).decode()
    assert MASK in knowing(secret).scrub(text)


@given(st.lists(TEXTS, min_size=1, max_size=4), st.text(max_size=60))
def test_a_text_without_a_secret_stays_as_it_is(known: list[str], text: str) -> None:
    secrets = knowing(*known)
    if not secrets.found_in(encode(text)):
        assert secrets.scrub(text) == text
        assert secrets.seal(text) is text


def test_of_two_secrets_the_longer_is_masked_as_a_whole() -> None:
    assert knowing("hunter22", "joe:hunter22").scrub("Basic joe:hunter22!") == "Basic ***!"


def test_short_secrets_are_not_looked_for() -> None:
    secrets = knowing("abc12")
    assert secrets.scrub("abc12") == "abc12"
    assert not secrets.found_in(b"abc12")


PEM = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0B\nAQEFAASCBKcwggSjAgEAAoIB\n-----END PRIVATE KEY-----\n"


def test_each_line_of_a_key_is_a_secret_but_its_armour_is_not() -> None:
    secrets = knowing(PEM)
    assert [secrets.scrub(line) for line in PEM.splitlines()] == ["-----BEGIN PRIVATE KEY-----", "***", "***", "-----END PRIVATE KEY-----"]


def test_a_long_run_of_backslashes_does_not_hold_up_the_search() -> None:
    secrets = knowing('\\"' * 20, "\\" * 30 + "x")
    assert secrets.scrub("\\" * 200_000 + "y") == "\\" * 200_000 + "y"


JSONLIKE = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5) | st.sampled_from(["hunter22", "a hunter22 b", "hunter22 s3cr3t-7"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "hunter22"]), inner, max_size=3),
    max_leaves=12,
)


@given(JSONLIKE)
def test_what_is_sealed_holds_no_secret_and_opens_to_what_it_was(value: Any) -> None:
    secrets = knowing("hunter22", "s3cr3t-7")
    encoded = msgspec.msgpack.encode(secrets.seal(value), enc_hook=pack_leaf)
    assert not secrets.found_in(encoded)
    other = Secrets(GivenKeys(KEY))
    assert msgspec.msgpack.decode(encoded, ext_hook=other.open_leaf) == value


@given(JSONLIKE)
def test_what_is_hidden_shows_no_secret_sealed_or_not(value: Any) -> None:
    secrets = knowing("hunter22", "s3cr3t-7")
    for shown in (secrets.hide(value), secrets.hide(secrets.seal(value))):
        text = json.dumps(shown)
        assert "hunter22" not in text
        assert "s3cr3t-7" not in text


def test_only_the_texts_with_a_secret_are_sealed() -> None:
    sealed = knowing("hunter22").seal({"user": "joe", "password": "my hunter22", "n": 1})
    assert sealed["user"] == "joe"
    assert sealed["n"] == 1
    assert isinstance(sealed["password"], Sealed)
    assert sealed["password"].display == "my ***"


def test_a_mapping_with_a_secret_in_a_key_is_sealed_as_a_whole_and_still_names_its_artifacts() -> None:
    handle = handle_of("x" * 300, encode("x" * 300))
    sealed = knowing("hunter22").seal({"hunter22": handle, "b": 1})
    assert isinstance(sealed, Sealed)
    assert handle.hash in sealed.display
    assert "***" in sealed.display
    assert knowing(key=KEY).open(sealed) == {"hunter22": handle, "b": 1}


def test_who_opens_a_sealed_value_knows_its_secrets_from_then_on() -> None:
    """After a kill and a resume no credential has been opened yet, but what was opened before must not be shown."""
    sealed = knowing("hunter22", "another-one").seal("Bearer hunter22")
    later = Secrets(GivenKeys(KEY))
    assert later.scrub("hunter22") == "hunter22"
    assert later.open(sealed) == "Bearer hunter22"
    assert later.scrub("hunter22 another-one") == "*** another-one"


@pytest.mark.parametrize("change", ["key", "cipher", "cut"])
def test_a_sealed_value_that_was_changed_or_has_another_key_is_not_opened(change: str) -> None:
    sealed = knowing("hunter22").seal("hunter22")
    cipher = {"key": sealed.cipher, "cipher": sealed.cipher[:-1] + bytes([sealed.cipher[-1] ^ 1]), "cut": b"short"}[change]
    other = Secrets(GivenKeys(randomness.token_bytes(32))) if change == "key" else knowing()
    with pytest.raises(LogCorrupt, match="the vault's key is not the one"):
        other.open(Sealed("***", cipher))


def test_equal_values_are_sealed_differently() -> None:
    secrets = knowing("hunter22")
    assert secrets.seal("hunter22").cipher != secrets.seal("hunter22").cipher


def test_the_key_is_not_asked_for_before_there_is_something_to_seal() -> None:
    class NoKeys(GivenKeys):
        def current(self) -> Key:
            raise AssertionError

    secrets = Secrets(NoKeys())
    secrets.learn(["hunter22"])
    assert secrets.seal({"a": "b"}) == {"a": "b"}
    assert secrets.scrub("hunter22") == MASK


def test_without_the_cipher_no_secret_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets_module, "find_spec", lambda name: None if name == "cryptography" else importlib.util.find_spec(name))
    with pytest.raises(ToolRefused, match=r"pip install 'noetl\[sealed\]'"):
        knowing("hunter22")
