"""Where a server is."""

from __future__ import annotations

from typing import Final
from urllib.parse import SplitResult, urlsplit

from msgspec import Struct

DEFAULT_PORT: Final = 8082
DEFAULT_URL: Final = f"http://127.0.0.1:{DEFAULT_PORT}"


class Address(Struct, frozen=True):
    """`prefix` is what stands before `/api`, for a server behind a proxy: empty, or a path without a slash at its end. `host` has no brackets."""

    scheme: str
    host: str
    port: int
    prefix: str = ""

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.prefix}"


def parse_address(url: str) -> Address:
    """Raises `ValueError` when it is no URL of a server."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url!r} is no URL of a server: it must be like {DEFAULT_URL}")
    if parts.query or parts.fragment or parts.username is not None:
        raise ValueError(f"{_without_user(parts)!r}: a server's URL has no user, no query and no fragment")
    try:
        parts.hostname.encode("idna")
    except UnicodeError as error:
        raise ValueError(f"{url!r}: {parts.hostname!r} is no name of a host") from error
    port = parts.port  # raises ValueError when it is out of range
    return Address(parts.scheme, parts.hostname, port or (443 if parts.scheme == "https" else 80), parts.path.rstrip("/"))


def _without_user(parts: SplitResult) -> str:
    """A password does not belong in a message."""
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
