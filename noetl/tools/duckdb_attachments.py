"""What a credential becomes in DuckDB: an attached PostgreSQL database, or a secret for files in object storage."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import duckdb
from msgspec import Struct

from noetl.errors import ToolError, ToolRefused
from noetl.tools.postgres_login import Login, login_of
from noetl.tools.table import quoted
from noetl.tools.tool import Credential

_CONNECT_S: Final = 10
_KEYWORDS: Final = {"database": "dbname", "ssl": "sslmode"}
"""Names of libpq where they are not ours."""

_OBJECT_STORES: Final[Mapping[str, tuple[str, ...]]] = {
    "KEY_ID": ("access_key_id", "key_id"),
    "SECRET": ("secret_access_key", "secret_key", "secret"),
    "SESSION_TOKEN": ("session_token",),
    "REGION": ("region",),
    "ENDPOINT": ("endpoint",),
    "URL_STYLE": ("url_style",),
    "USE_SSL": ("use_ssl",),
}


class Attachment(Struct, frozen=True):
    """SQL that makes a credential usable under its alias, and SQL that ends it. `secrets` must not be seen in any message."""

    alias: str
    extension: str
    enter: str
    leave: str
    secrets: tuple[str, ...]

    def __repr__(self) -> str:
        return f"<{self.extension} {self.alias}>"


def attachment_of(alias: str, credential: Credential) -> Attachment:
    """Its field `scope` is the prefix of the addresses that a secret is for, like `gs://bucket`.

    Raises:
        ToolRefused: the kind has no use in DuckDB, or a field is missing.
    """
    if credential.kind == "postgres":
        return _postgres(alias, login_of(credential))
    scope = credential.data.get("scope")
    store = {"s3": "s3", "gcs": "gcs", "hmac": "s3" if (scope or "").startswith("s3:") else "gcs"}.get(credential.kind)
    if store is None:
        raise ToolRefused(f"duckdb can't use credential '{credential.name}' of kind '{credential.kind}': only postgres, s3, gcs and hmac")
    return _secret(alias, credential, store, scope)


def _postgres(alias: str, login: Login) -> Attachment:
    options = login.options
    conninfo = str(options.get("dsn") or " ".join(f"{_KEYWORDS.get(key, key)}={_conninfo_value(value)}" for key, value in options.items()))
    timed = conninfo if "dsn" in options else f"{conninfo} connect_timeout={_CONNECT_S}"
    return Attachment(
        alias=alias,
        extension="postgres_scanner",
        enter=f"ATTACH {_literal(timed)} AS {quoted(alias)} (TYPE postgres)",
        leave=f"DETACH DATABASE IF EXISTS {quoted(alias)}",
        secrets=tuple(text for text in (timed, login.password) if text),
    )


def _secret(alias: str, credential: Credential, store: str, scope: str | None) -> Attachment:
    fields = {name: next((str(credential.data[key]) for key in keys if credential.data.get(key)), None) for name, keys in _OBJECT_STORES.items()}
    if not (fields["KEY_ID"] and fields["SECRET"]):
        raise ToolRefused(f"credential '{credential.name}' has no key id and secret (hmac: key_id, secret_key; s3: access_key_id, secret_access_key)")
    given = {name: value for name, value in {**fields, **_endpoint(fields), "SCOPE": scope}.items() if value}
    settings = ", ".join(f"{name} {_literal(value)}" for name, value in given.items())
    return Attachment(
        alias=alias,
        extension="httpfs",
        enter=f"CREATE OR REPLACE TEMPORARY SECRET {quoted(alias)} (TYPE {store}, {settings})",
        leave=f"DROP TEMPORARY SECRET IF EXISTS {quoted(alias)}",
        secrets=tuple(value for name, value in given.items() if name in {"SECRET", "SESSION_TOKEN"}),
    )


def _endpoint(fields: Mapping[str, str | None]) -> dict[str, str | None]:
    """DuckDB takes an endpoint without its scheme, and finds buckets on one of one's own by path."""
    scheme, _, host = (fields["ENDPOINT"] or "").rpartition("://")
    if not host:
        return {}
    plain = "false" if scheme == "http" else None
    return {"ENDPOINT": host, "URL_STYLE": fields["URL_STYLE"] or "path", "USE_SSL": fields["USE_SSL"] or plain}


def _conninfo_value(value: object) -> str:
    return "'" + str(value).replace("\\", "\\\\").replace("'", "\\'") + "'"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def load_extension(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    """Load from where it is: DuckDB itself or its own directory, the package `duckdb-extension-…`, else the network.

    Raises:
        ToolError: `database`: it is nowhere to be had; says what to do.
    """
    known = connection.execute("SELECT loaded, installed FROM duckdb_extensions() WHERE extension_name = $1", [name]).fetchone()
    loaded, installed = known or (False, False)
    if loaded:
        return
    file = extension_file(name)
    try:
        if not installed:
            connection.execute(f"INSTALL {name if file is None else _literal(str(file))}")
        connection.execute(f"LOAD {name}")
    except duckdb.Error as error:
        raise ToolError(f"DuckDB's extension '{name}' can't be loaded: {missing_extension_hint(name)}", kind="database") from error


def extension_file(name: str) -> Path | None:
    """The extension in the package that carries it for this version of DuckDB, if that is installed."""
    spec = importlib.util.find_spec(f"duckdb_extension_{name}")
    if spec is None or spec.origin is None:
        return None
    file = Path(spec.origin).parent / "extensions" / f"v{duckdb.__version__}" / f"{name}.duckdb_extension"
    return file if file.is_file() else None


def missing_extension_hint(name: str) -> str:
    package = f"duckdb-extension-{name.replace('_', '-')}"
    return f"this node can't download it; run INSTALL {name} where there is a network, or pip install {package} for DuckDB {duckdb.__version__}"


def scrubbed(text: str, secrets: tuple[str, ...]) -> str:
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


def attachments_of(credentials: Mapping[str, Credential]) -> list[Attachment]:
    """One for each credential of a call; one without an alias goes by its name."""
    return [attachment_of(alias or credential.name or credential.kind, credential) for alias, credential in credentials.items()]
