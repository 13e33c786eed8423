"""A credential of kind `postgres` as what a driver connects with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from msgspec import Struct

from noetl.errors import ToolRefused
from noetl.tools.tool import Credential

_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "dsn": ("dsn", "connection_string", "url"),
    "host": ("host", "db_host"),
    "port": ("port", "db_port"),
    "user": ("user", "db_user", "username"),
    "password": ("password", "db_password"),
    "database": ("database", "db_name", "dbname", "db_database"),
    "ssl": ("sslmode",),
}


class Login(Struct, frozen=True):
    """A server and who we are there. `name` is what messages may show; `options`, the driver's, hold the password, maybe inside the `dsn`."""

    name: str
    options: dict[str, Any]
    password: str

    def __repr__(self) -> str:
        return f"<postgres {self.name}>"


def login_of(credential: Credential) -> Login:
    """Raises ToolRefused when the credential lacks a field."""
    fields = {name: _first(credential.data, keys) for name, keys in _FIELDS.items()}
    given = {name: value for name, value in fields.items() if value is not None}
    given.setdefault("password", "")  # else the driver would look for one in the environment and in files of the operator
    if "dsn" in given:
        return _from_dsn(credential, given)
    missing = [name for name in ("host", "user", "database") if name not in given]
    if missing:
        raise ToolRefused(f"credential '{credential.name}' has no {', '.join(missing)}: give host, user, password and database, or dsn")
    try:
        given["port"] = int(given.get("port", 5432))
    except ValueError:
        raise ToolRefused(f"credential '{credential.name}': port is not a number") from None
    return Login(f"{given['host']}:{given['port']}/{given['database']}", given, str(given["password"]))


def _first(data: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    return next((data[key] for key in keys if data.get(key) is not None and data[key] != ""), None)


def _from_dsn(credential: Credential, given: dict[str, Any]) -> Login:
    """The DSN decides; other fields fill what it leaves out."""
    refused = ToolRefused(f"credential '{credential.name}': dsn must look like postgresql://user:password@host:5432/database")
    try:
        parts = urlsplit(str(given["dsn"]))
        port = parts.port or int(given.get("port", 5432))
    except ValueError:
        raise refused from None
    if parts.scheme not in {"postgres", "postgresql"} or not parts.hostname or not (parts.username or given.get("user")):
        raise refused
    database = unquote(parts.path.strip("/")) or given.get("database") or parts.username or given.get("user")
    password = unquote(parts.password or "") or "".join(parse_qs(parts.query).get("password", []))
    named = {"host": parts.hostname, "port": parts.port, "user": parts.username, "password": password}
    options = {name: value for name, value in given.items() if not named.get(name)}
    return Login(f"{parts.hostname}:{port}/{database}", {**options, "database": database}, password or str(given["password"]))
