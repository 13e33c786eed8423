"""What an http task asks for, made ready to be sent. Pure: nothing here talks to anybody."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from msgspec import Struct
from yarl import URL

from noetl import __version__
from noetl.errors import ToolRefused
from noetl.tools.tool import Credential
from noetl.values import to_plain

DEFAULT_TIMEOUT_S: Final = 30.0

_BODIES: Final = ("json", "payload", "body", "data", "form")
_JSON_FIELDS: Final = frozenset({"json", "payload"})
_CHANGING: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_BREAK: Final = re.compile(r"[\r\n\0]")
_SECRET_NAME: Final = re.compile(r"token|key|secret|passw|pwd|sig|auth|cred|session|code|jwt|assertion", re.IGNORECASE)
_FORM: Final = "application/x-www-form-urlencoded"
_JSON: Final = "application/json"


class Timeout(Struct, frozen=True):
    """Seconds to get a connection, and seconds without a byte of the reply."""

    connect: float | None = None
    read: float | None = None


class Input(Struct, frozen=True):
    url: str
    method: str = "GET"
    params: Any = None
    headers: dict[str, Any] | None = None
    json: Any = None
    payload: Any = None
    body: Any = None
    data: Any = None
    form: Any = None
    follow_redirects: bool = True
    verify_ssl: bool = True
    timeout: float | Timeout | None = None
    """Seconds for the whole call, connection to last byte; by default the task's own, else 30."""


class Request(Struct, frozen=True):
    """`proof` is the header that the credential gives; it goes to the host of `url` only, never along with a redirect to another one."""

    method: str
    url: URL
    headers: dict[str, str]
    body: bytes | None
    proof: tuple[str, str] | None
    follow_redirects: bool
    verify_ssl: bool
    timeout: float | Timeout | None

    def __str__(self) -> str:
        return f"{self.method} {safe_url(str(self.url))}"

    __repr__ = __str__


def request_of(given: Input, credential: Credential | None, call_id: str | None) -> Request:
    """Raises ToolRefused when the call can't be made as written."""
    method = given.method.strip().upper()
    if not _TOKEN.fullmatch(method):
        raise ToolRefused("'method' must be a word such as GET or POST")
    headers = _headers(given.headers or {})
    names = {name.lower() for name in headers}
    body, content_type = _body(given, _header(headers, "content-type"))
    defaults = {"User-Agent": f"noetl/{__version__}"}
    if content_type is not None:
        defaults["Content-Type"] = content_type
    if method in _CHANGING and call_id is not None:
        defaults["Idempotency-Key"] = call_id
    url = _url(given.url, given.params)
    if url.user is not None and "authorization" in names:
        raise ToolRefused("the url has a login and 'headers' has Authorization: give one of them")
    proof = None if credential is None else proof_of(credential)
    return Request(
        method=method,
        url=url,
        headers={**{name: value for name, value in defaults.items() if name.lower() not in names}, **headers},
        body=body,
        proof=None if proof is None or proof[0].lower() in names else proof,
        follow_redirects=given.follow_redirects,
        verify_ssl=given.verify_ssl,
        timeout=given.timeout,
    )


# Address


def _url(text: str, params: Any) -> URL:
    shown = safe_url(text)
    try:
        url = URL(text.strip())
    except ValueError:
        raise ToolRefused(f"url '{shown}' is not a valid address") from None
    if not url.scheme:
        raise ToolRefused(f"url '{shown}' has no scheme: write https://… or http://…")
    if url.scheme not in {"http", "https"}:
        raise ToolRefused(f"url '{shown}' has the scheme '{url.scheme}': http calls http and https only")
    if not url.host:
        raise ToolRefused(f"url '{shown}' names no host")
    return url.extend_query(_query(params))


def _query(params: Any) -> list[tuple[str, str]]:
    given = _json_or_none(params) if isinstance(params, str) and params.strip() else params or {}
    if not isinstance(given, Mapping):
        raise ToolRefused("'params' must be a mapping of names to values")
    pairs = [(str(name), item) for name, value in given.items() for item in (value if isinstance(value, list) else [value])]
    return [(name, _scalar(value)) for name, value in pairs if value is not None]


def _scalar(value: Any) -> str:
    """Booleans as JSON writes them, mappings and lists as JSON."""
    return json.dumps(to_plain(value)) if isinstance(value, (bool, dict, list)) else str(value)


def _json_or_none(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def safe_url(text: str) -> str:
    """The address as a message may show it: without user and password, and without the values of query fields that are named like secrets."""
    try:
        parts = urlsplit(text.strip())
        query = parse_qsl(parts.query, keep_blank_values=True)
    except ValueError:
        return text.partition("?")[0].rpartition("@")[2]
    shown = urlencode([(name, "***" if _SECRET_NAME.search(name) else value) for name, value in query], safe="*/:,")
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query=shown, fragment="").geturl()


# Headers and body


def _headers(given: Mapping[str, Any]) -> dict[str, str]:
    headers = {str(name): _scalar(value) for name, value in given.items() if value is not None}
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name):
            raise ToolRefused(f"'headers' has {name!r}, which is not the name of a header")
        if _BREAK.search(value):
            raise ToolRefused(f"header '{name}' has a line break in its value")
    return headers


def _header(headers: Mapping[str, str], name: str) -> str | None:
    return next((value for key, value in headers.items() if key.lower() == name), None)


def _body(given: Input, content_type: str | None) -> tuple[bytes | None, str | None]:
    """The bytes of the body, and the content type that they have unless the author gives one."""
    fields = [name for name in _BODIES if getattr(given, name) is not None]
    if len(fields) > 1:
        raise ToolRefused(f"a call has one body, not {len(fields)}: {', '.join(fields)}")
    if not fields:
        return None, None
    field, value = fields[0], getattr(given, fields[0])
    if field == "form" or (field == "data" and isinstance(value, Mapping) and _FORM in (content_type or "").lower()):
        return _form(value), _FORM
    if isinstance(value, str):
        return value.encode(), _JSON if field in _JSON_FIELDS else "text/plain; charset=utf-8"
    return json.dumps(to_plain(value), ensure_ascii=False).encode(), _JSON


def _form(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if not isinstance(value, Mapping):
        raise ToolRefused("'form' must be a mapping of names to values")
    return urlencode(_query(value)).encode()


# Credentials


def proof_of(credential: Credential) -> tuple[str, str]:
    """The header that shows who is calling.

    Raises:
        ToolRefused: the kind is not one for http, or a field is missing.
    """
    data = credential.data
    match credential.kind:
        case "bearer":
            return "Authorization", f"Bearer {_field(credential, 'token', 'access_token')}"
        case "oauth2":
            return "Authorization", f"Bearer {_field(credential, 'access_token', 'token')}"
        case "basic":
            login = f"{_field(credential, 'username', 'user')}:{data.get('password') or ''}"
            return "Authorization", f"Basic {base64.b64encode(login.encode()).decode()}"
        case "api_key":
            return str(data.get("header") or "X-API-Key"), _field(credential, "value", "key", "api_key")
    raise ToolRefused(f"http can't use credential '{credential.name}' of kind '{credential.kind}': only bearer, basic, api_key and oauth2")


def _field(credential: Credential, *names: str) -> str:
    value = next((credential.data[name] for name in names if credential.data.get(name)), None)
    if value is None:
        raise ToolRefused(f"credential '{credential.name}' of kind '{credential.kind}' has no '{names[0]}'")
    if _BREAK.search(str(value)):
        raise ToolRefused(f"credential '{credential.name}': '{names[0]}' has a line break")
    return str(value)
