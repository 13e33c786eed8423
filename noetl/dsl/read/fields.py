"""The fields of a task that belong to its tool, under their canonical names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from noetl.dsl.kinds import COMMON_FIELDS, SQL_KINDS, Kind
from noetl.dsl.problem import nearest
from noetl.dsl.read.reader import Reader, listed
from noetl.dsl.template import has_template
from noetl.dsl.tree import Entry, Map, Node, Row, Scalar, entry, is_null, table, word


def read_fields(read: Reader, name: str, kind: Kind, node: Map, args: Map | None) -> dict[str, Any]:
    """The tool's fields of a task; `node` holds nothing else. `args` are the task's arguments, for the kinds that find fields there."""
    node = _renamed(read, kind, _with_gcs_credential(node) if name == "duckdb" else node)
    _check_unknown(read, name, kind, node)
    _check_groups(read, name, kind, node, args)
    _check_choices(read, kind, node)
    _check_auth(read, node)
    return {key: read.code(item.value, python=name == "python") if key in kind.code else read.raw(item.value) for key, item in node.entries.items()}


def is_table_write(kind: str, node: Map) -> bool:
    """Whether an SQL task writes its arguments as rows."""
    return kind in SQL_KINDS and "table" in node and not any(key in node for key in ("command", "commands", "query", "statement", "script"))


def _renamed(read: Reader, kind: Kind, node: Map) -> Map:
    """With canonical names for the older ones."""
    entries: dict[str, Entry] = {}
    for key, item in node.entries.items():
        name = kind.same.get(key, key)
        if name != key:
            read.deprecated(item, f"'{key}'", f"'{name}'")
        if name in entries:
            read.error(item, f"'{name}' is given twice: '{key}' is another spelling of it", key=key, hint="keep one of the two")
        entries[name] = item
    return Map(entries, node.line, node.column, node.path)


def _with_gcs_credential(node: Map) -> Map:
    """`gcs_credential: K` is an `auth` entry of kind hmac."""
    if "gcs_credential" not in node:
        return node
    given = node.entries["gcs_credential"]
    hmac = table({"source": entry("credential", given), "type": entry("hmac", given), "key": given}, given)
    aliases = {**_aliases(node.get("auth")), "gcs_credential": entry(hmac, given)}
    return node.without("gcs_credential").plus({"auth": entry(table(aliases, given), given)})


def _aliases(auth: Node | None) -> Mapping[str, Entry]:
    """`auth` as alias -> entry."""
    if auth is None or is_null(auth):
        return {}
    if not isinstance(auth, Map):
        return {"auth": entry(table({"key": entry(auth, auth)}, auth), auth)}
    return {"auth": entry(auth, auth)} if isinstance(auth.get("key"), Scalar) else auth.entries


def _check_unknown(read: Reader, name: str, kind: Kind, node: Map) -> None:
    for key, item in node.entries.items():
        if key not in kind.fields and not (name == "http" and key == "timeout"):
            read.warn(item, f"{name} has no field '{key}'", key=key, hint=nearest(key, (*kind.fields, *COMMON_FIELDS, "next", "loop")))


def _check_groups(read: Reader, name: str, kind: Kind, node: Map, args: Map | None) -> None:
    if not (kind.free and word(node.get(kind.free[0])) == kind.free[1]):
        for group in kind.needs:
            in_args = kind.args_count and args is not None and any(key in args for key in group)
            if not in_args and all(is_null(node.get(key)) for key in group):
                read.error(node, f"{name} needs {_quoted(group)}", key=group[0])
    for group in kind.one_of:
        present = [key for key in group if not is_null(node.get(key))]
        for key in present[1:]:
            read.error(node.entries[key], f"{name} takes only one of {_quoted(group)}; '{present[0]}' is given too", key=key)


def _check_choices(read: Reader, kind: Kind, node: Map) -> None:
    for key, options in kind.choices.items():
        given = node.get(key)
        if given is not None and not isinstance(given, Scalar):
            read.mistyped(given, key, listed(options))
        if not isinstance(given, Scalar) or given.value is None or has_template(given.text):
            continue
        if given.text.lower() not in {option.lower() for option in options}:
            note = read.error if key == "mode" else read.warn
            note(given, f"{key} must be {listed(options)}, not '{given.text}'", key=key, hint=nearest(given.text, options))


def _check_auth(read: Reader, node: Map) -> None:
    auth = node.get("auth")
    if isinstance(auth, Row):
        read.error(auth, "auth must be the name of a credential or a mapping, not a list", key="auth")


def _quoted(words: tuple[str, ...]) -> str:
    return listed([f"'{word}'" for word in words])
