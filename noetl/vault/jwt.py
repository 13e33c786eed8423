"""Assertions that a service account signs: a JSON Web Token with RS256 (RFC 7515, RFC 7523)."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from noetl.errors import ToolRefused


def signed(claims: Mapping[str, Any], private_key: str, key_id: str | None = None) -> str:
    """`private_key` is an RSA key in PEM. Raises `ToolRefused` when it is none; shows nothing of it."""
    header = {"alg": "RS256", "typ": "JWT", **({"kid": key_id} if key_id else {})}
    text = f"{_part(header)}.{_part(claims)}"
    return f"{text}.{_base64(_signature(text.encode(), private_key))}"


def _signature(text: bytes, private_key: str) -> bytes:
    try:
        from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415  slow to import, and rarely needed
        from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey  # noqa: PLC0415
    except ModuleNotFoundError:
        raise ToolRefused("a service account needs the package 'cryptography': pip install 'noetl[sealed]'", kind="unsupported") from None
    try:
        key = serialization.load_pem_private_key(private_key.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, RSAPrivateKey):
        raise ToolRefused("the service account's private_key is no RSA key in PEM", kind="auth")
    return key.sign(text, PKCS1v15(), hashes.SHA256())


def _part(content: Mapping[str, Any]) -> str:
    return _base64(json.dumps(content, separators=(",", ":")).encode())


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
