"""One thing that is asked of the API, apart from how it gets there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Generic, TypeVar
from urllib.parse import urlencode

import msgspec
from msgspec import Struct

from noetl import __version__
from noetl.client.address import Address
from noetl.client.connection import Request

T = TypeVar("T")
TIMEOUT_S: Final = 30.0


class Call(Struct, Generic[T], frozen=True, kw_only=True):
    """`returns` is the type of the answer's body, None when there is none. `repeatable`: done twice it changes no more than once."""

    method: str
    path: str
    returns: Any
    query: Mapping[str, str] = {}
    body: bytes | None = None
    repeatable: bool = False


def request_of(call: Call[Any], address: Address, token: str | None, *, accept: str = "application/json", **more: str) -> Request:
    """`more` are further headers, with `_` for `-`."""
    headers = {"accept": accept, "user-agent": f"noetl/{__version__}"} | {name.replace("_", "-"): text for name, text in more.items()}
    if token is not None:
        headers["authorization"] = f"Bearer {token}"
    if call.body is not None:
        headers["content-type"] = "application/json"
    query = f"?{urlencode(call.query)}" if call.query else ""
    return Request(call.method, f"{address.prefix}{call.path}{query}", headers, call.body, TIMEOUT_S)


def checked_token(token: str | None) -> str | None:
    """Raises `ValueError` for one that can't stand in a header. It is not repeated in the message."""
    if token is not None and not (token.isascii() and token.isprintable() and token == token.strip()):
        raise ValueError("a token is of visible ASCII characters")
    return token


def encoded(body: Struct) -> bytes:
    return msgspec.json.encode(body)


def query_of(fields: Mapping[str, Any]) -> dict[str, str]:
    """What is None is not said."""
    return {name: _text(value) for name, value in fields.items() if value is not None}


def _text(value: Any) -> str:
    plain = msgspec.to_builtins(value)
    return str(plain).lower() if isinstance(plain, bool) else str(plain)
