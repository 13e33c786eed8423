"""What a server has answered, as the result or the error of a call. Pure."""

from __future__ import annotations

import base64
import datetime as dt
import json
from collections.abc import Iterable
from email.utils import parsedate_to_datetime
from typing import Any, Final

from msgspec import Struct

from noetl.errors import ToolError
from noetl.values import to_plain

_BINARY: Final = ("image/", "audio/", "video/", "font/")
_TEXT: Final = ("text/", "image/svg+xml")
_TEXT_ENDINGS: Final = ("json", "xml", "javascript", "x-www-form-urlencoded", "yaml", "csv")
_NAMELESS: Final = {401: "auth", 403: "auth", 404: "not_found", 429: "rate_limit"}


class Reply(Struct, frozen=True):
    """`headers` have lower-case names; `url` is where the last redirect led to; `content_type` has no parameters and is in lower case."""

    status: int
    reason: str
    headers: dict[str, str]
    content_type: str
    charset: str | None
    raw: bytes
    url: str
    elapsed_s: float


def joined(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Lower-case names; of a header that comes several times the values are joined, as RFC 9110 has it."""
    merged: dict[str, str] = {}
    for name, value in headers:
        key = name.lower()
        merged[key] = f"{merged[key]}, {value}" if key in merged else value
    return merged


def result(reply: Reply) -> dict[str, Any]:
    body, encoding = decode(reply)
    return {
        "status": reply.status,
        "status_code": reply.status,
        "headers": reply.headers,
        "data": body,
        "body": body,
        "url": reply.url,
        "elapsed": reply.elapsed_s,
        **({"encoding": encoding} if encoding else {}),
    }


def decode(reply: Reply) -> tuple[Any, str | None]:
    """The body, and `base64` when it is binary.

    JSON is what its content type calls so, and any text that is a JSON mapping or list. Text that does not say so is UTF-8 without NUL.
    """
    text = as_text(reply)
    if text is None:
        return base64.b64encode(reply.raw).decode("ascii"), "base64"
    if reply.content_type.endswith(("/json", "+json")) or text.lstrip()[:1] in {"{", "["}:
        try:
            return to_plain(json.loads(text)), None
        except (ValueError, RecursionError):  # not JSON after all, or deeper than a value can be
            return text, None
    return text, None


def as_text(reply: Reply) -> str | None:
    """None for a body that is no text."""
    content_type = reply.content_type
    if content_type.startswith(_TEXT) or content_type.endswith(_TEXT_ENDINGS) or reply.charset is not None:
        return _decoded(reply.raw, reply.charset or "utf-8")
    if content_type.startswith(_BINARY) or b"\0" in reply.raw:
        return None
    try:
        return reply.raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None


def _decoded(raw: bytes, charset: str) -> str:
    name = "utf-8-sig" if charset.lower().replace("_", "-") in {"utf-8", "utf8"} else charset
    try:
        return raw.decode(name, errors="replace")
    except LookupError:
        return raw.decode("utf-8-sig", errors="replace")


def failure(asked: str, reply: Reply, now: dt.datetime) -> ToolError:
    """The error of a reply with a status from 400."""
    status = reply.status
    kind = _NAMELESS.get(status) or ("server_error" if status >= 500 else "client_error")
    return ToolError(
        f"{asked} answered {status} {reply.reason}".rstrip(),
        kind=kind,
        retryable=kind in {"rate_limit", "server_error"},
        retry_after_s=retry_after_s(reply.headers.get("retry-after"), now),
        result=result(reply),
        extra={"status": status, "status_code": status, "http": {"status": status, "headers": reply.headers}},
    )


def retry_after_s(header: str | None, now: dt.datetime) -> float | None:
    """Seconds to wait; the header gives them, or an HTTP date. None when it says neither."""
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return None
    aware = until if until.tzinfo is not None else until.replace(tzinfo=dt.UTC)
    return max(0.0, (aware - now).total_seconds())
