"""`loop`: run the pipeline once for each element."""

from __future__ import annotations

import keyword
from typing import Any, Final

from noetl.dsl.kinds import SQL_KINDS
from noetl.dsl.playbook import Loop
from noetl.dsl.read.reader import Reader
from noetl.dsl.tree import Map, Node, Scalar, is_null, table

ELEMENTS: Final = ("in", "collection", "items")
ITERATOR: Final = ("iterator", "element")
WINDOW: Final = ("max_in_flight", "concurrency")
LOOP_KEYS: Final = (*ELEMENTS, *ITERATOR, *WINDOW, "spec", "mode", "cursor")
SPEC_KEYS: Final = ("mode", *WINDOW, "policy", "frame", "timeout", "memory_bytes", "retry_on_loss")
POLICY_KEYS: Final = ("exec", "results", "failure", "rules")
CURSOR_KEYS: Final = ("kind", "auth", "credential", "claim", "params", "database")
FRAME_KEYS: Final = ("process", "max_rows", "row_concurrency", "max_seconds", "max_bytes", "lease_seconds", "heartbeat_seconds")
MODES: Final = ("sequential", "parallel", "cursor")
FAILURE_MODES: Final = ("fail_fast", "best_effort")


def read_loop(read: Reader, node: Map, *, best_effort: bool = False) -> Loop:
    """`best_effort` is what the step's own failure policy says; the loop's wins."""
    read.keys(node, LOOP_KEYS, "loop")
    spec = read.mapping(node.get("spec"), "loop.spec") or table({}, node)
    read.keys(spec, SPEC_KEYS, "loop.spec")
    _note_older(read, node)
    cursor = _cursor(read, node)
    return Loop(
        items=_elements(read, node),
        iterator=_iterator(read, node),
        mode=_mode(read, node, spec),
        max_in_flight=read.quantity(_window(read, node, spec), "max_in_flight", 8, least=1),
        best_effort=_best_effort(read, spec, default=best_effort),
        cursor=cursor,
        frame=_frame(read, spec),
        line=node.line,
    )


def _note_older(read: Reader, node: Map) -> None:
    for key, instead in (("collection", "in"), ("items", "in"), ("element", "iterator"), ("concurrency", "max_in_flight")):
        if key in node:
            read.deprecated(node.entries[key], f"'{key}' of a loop", f"'{instead}'")


def _elements(read: Reader, node: Map) -> Any:
    given = read.either(node, ELEMENTS)
    if given is None and "cursor" not in node:
        read.require(node, "in", f"{read.where}: loop needs 'in' or 'cursor'")
    if given is not None and "cursor" in node:
        read.error(given, "loop has 'in' or 'cursor', not both", key="in")
    return read.raw(given)


def _iterator(read: Reader, node: Map) -> str:
    given = read.either(node, ITERATOR)
    name = read.text(given, "iterator") or "item"
    if given is not None and (not name.isidentifier() or keyword.iskeyword(name)):
        read.error(given, f"iterator must be a name such as 'item', not '{name}'", key="iterator")
    return name


def _mode(read: Reader, node: Map, spec: Map) -> Any:
    given = spec.get("mode") or node.get("mode")
    is_cursor = "cursor" in node
    mode = read.choice(given, "mode", MODES, "cursor" if is_cursor else "sequential", same={"async": "parallel"})
    if given is not None and is_cursor != (mode == "cursor"):
        read.error(given, "a loop with 'cursor' has mode cursor, and only such a loop", key="mode")
    return mode


def _window(read: Reader, node: Map, spec: Map) -> Node | None:
    return read.either(spec, WINDOW) or read.either(node, WINDOW)


def _best_effort(read: Reader, spec: Map, *, default: bool) -> bool:
    policy = read.mapping(spec.get("policy"), "loop.spec.policy")
    if policy is None:
        return default
    read.keys(policy, POLICY_KEYS, "a loop's policy")
    return read_failure(read, policy, default=default)


def read_failure(read: Reader, policy: Map, *, default: bool = False) -> bool:
    """Whether `failure: {mode}` of a policy says best_effort."""
    failure = read.mapping(policy.get("failure"), "failure")
    if failure is None:
        return default
    read.keys(failure, ("mode",), "failure")
    mode: str = read.choice(failure.get("mode"), "mode", FAILURE_MODES, "fail_fast")
    return mode == "best_effort"


def _cursor(read: Reader, node: Map) -> dict[str, Any] | None:
    cursor = read.mapping(node.get("cursor"), "cursor")
    if cursor is None:
        return None
    read.keys(cursor, CURSOR_KEYS, "a cursor")
    for key in ("kind", "claim"):
        if is_null(cursor.get(key)):
            read.require(cursor, key, f"cursor needs '{key}'")
    if isinstance(cursor.get("kind"), Scalar):
        read.choice(cursor.get("kind"), "kind", sorted(SQL_KINDS), "postgres")
    raw: dict[str, Any] = read.raw(cursor)
    return {("auth" if key == "credential" else key): value for key, value in raw.items()}


def _frame(read: Reader, spec: Map) -> dict[str, Any]:
    frame = read.mapping(spec.get("frame"), "frame")
    if frame is None:
        return {}
    read.keys(frame, FRAME_KEYS, "a frame")
    read.choice(frame.get("process"), "process", ("row", "frame"), "row")
    for key in FRAME_KEYS[1:]:
        read.quantity(frame.get(key), key, least=0)
    return dict(read.raw(frame))
