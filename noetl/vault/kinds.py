"""The kinds of credentials, and the fields that each knows (docs/reference/credentials.md)."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, Final

from msgspec import Struct


class Kind(Struct, frozen=True):
    """`fields` maps each field to its synonyms. One of the sets in `needs` must be complete; none: nothing is needed."""

    fields: Mapping[str, tuple[str, ...]]
    needs: tuple[tuple[str, ...], ...] = ()


_OAUTH: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys(("token_url", "client_id", "client_secret", "scope", "audience", "refresh_token"), ()),
    **dict.fromkeys(("code", "redirect_uri", "code_verifier", "client_auth"), ()),
    "access_token": ("token",),
}

KINDS: Final[Mapping[str, Kind]] = {
    "api_key": Kind({"header": (), "value": ("key", "api_key")}, (("value",),)),
    "basic": Kind({"username": ("user",), "password": ()}, (("username",),)),
    "bearer": Kind({"token": ("access_token",)}, (("token",),)),
    "gcs": Kind(
        {"service_account": (), "key_id": ("access_key_id",), "secret_key": ("secret_access_key", "secret"), "endpoint": (), "scope": ()},
        (("service_account",), ("key_id", "secret_key")),
    ),
    "hmac": Kind(
        {"key_id": ("access_key_id",), "secret_key": ("secret_access_key", "secret"), "endpoint": (), "region": (), "scope": ()},
        (("key_id", "secret_key"),),
    ),
    "oauth2": Kind(_OAUTH, (("access_token",), ("token_url", "client_id"))),
    "postgres": Kind(
        {
            "dsn": ("connection_string", "url"),
            "host": ("db_host",),
            "port": ("db_port",),
            "user": ("db_user", "username"),
            "password": ("db_password",),
            "database": ("db_name", "dbname", "db_database"),
            "sslmode": (),
        },
        (("dsn",), ("host", "user", "database")),
    ),
    "s3": Kind(
        {
            "access_key_id": ("key_id",),
            "secret_access_key": ("secret_key", "secret"),
            **dict.fromkeys(("session_token", "region", "endpoint", "url_style", "use_ssl", "scope"), ()),
        },
        (("access_key_id", "secret_access_key"),),
    ),
    "snowflake": Kind(
        dict.fromkeys(("account", "user", "password", "warehouse", "database", "schema", "role", "private_key"), ()),
        (("account", "user"),),
    ),
}


def problems_of(kind: str, data: Mapping[str, Any]) -> list[str]:
    """What is odd about a credential: a kind or fields that nothing reads, fields that are missing. It is kept all the same. Shows no value."""
    known = KINDS.get(kind)
    if known is None:
        return [f"kind '{kind}' is not known{_near(kind, KINDS)}: its fields are kept as they are"]
    return [*_unknown(kind, known, data), *_missing(kind, known, data)]


def _unknown(kind: str, known: Kind, data: Mapping[str, Any]) -> Iterator[str]:
    names = {*known.fields, *(synonym for synonyms in known.fields.values() for synonym in synonyms)}
    return (f"kind '{kind}' does not know the field '{name}'{_near(name, names)}" for name in data if name not in names)


def _missing(kind: str, known: Kind, data: Mapping[str, Any]) -> list[str]:
    lacks = [[name for name in wanted if not _given(name, known, data)] for wanted in known.needs]
    if not lacks or not all(lacks):
        return []
    wanted = " or ".join(" and ".join(f"'{name}'" for name in names) for names in known.needs)
    return [f"kind '{kind}' needs {wanted}"]


def _given(name: str, known: Kind, data: Mapping[str, Any]) -> bool:
    return any(data.get(spelling) not in (None, "") for spelling in (name, *known.fields[name]))


def _near(word: str, words: Mapping[str, Any] | set[str]) -> str:
    found = difflib.get_close_matches(word, words, n=1)
    return f" (did you mean '{found[0]}'?)" if found else ""
