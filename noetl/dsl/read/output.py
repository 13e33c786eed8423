"""`output`: how a large result is kept."""

from __future__ import annotations

from typing import Final

from noetl.dsl.playbook import Output
from noetl.dsl.problem import nearest
from noetl.dsl.read.reader import Reader, listed
from noetl.dsl.tree import Map, Node, is_null

OUTPUT_KEYS: Final = ("output_select", "select", "store", "inline_max_bytes")
STORES: Final = ("auto", "inline", "kv", "disk", "object", "gcs", "s3")
SELECT_KEYS: Final = ("strategy", "threshold_kb", "keys")


def read_output(read: Reader, node: Node | None) -> Output | None:
    table = read.mapping(node, "output")
    if table is None:
        return None
    read.keys(table, OUTPUT_KEYS, "output", fatal=False)
    select, threshold = _selection(read, read.either(table, ("output_select", "select")))
    limit = read.integer(table.get("inline_max_bytes"), "inline_max_bytes", -1)
    return Output(select, _store(read, table.get("store")), limit if limit >= 0 else threshold)


def _selection(read: Reader, node: Node | None) -> tuple[tuple[str, ...] | None, int | None]:
    """Selected keys and the threshold in bytes, each None when not given."""
    if not isinstance(node, Map):
        return (None if is_null(node) else read.texts(node, "output_select")), None
    read.keys(node, SELECT_KEYS, "output_select", fatal=False)
    threshold = read.integer(node.get("threshold_kb"), "threshold_kb", -1)
    select = read.texts(node.get("keys"), "keys") if "keys" in node else None
    return select, threshold * 1024 if threshold >= 0 else None


def _store(read: Reader, node: Node | None) -> str:
    kind = node.get("kind") if isinstance(node, Map) else node
    store = read.text(kind, "store") or "auto"
    if kind is not None and store not in STORES:
        read.warn(kind, f"store must be {listed(STORES)}, not '{store}'", key="store", hint=nearest(store, STORES))
    return store
