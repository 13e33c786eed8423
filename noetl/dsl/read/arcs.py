"""`next` in its canonical form: arcs, and how they are chosen."""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct

from noetl.dsl.playbook import Arc
from noetl.dsl.read.reader import Mention, Reader
from noetl.dsl.read.writes import SET_KEYS, read_sets
from noetl.dsl.tree import Map, Node, Scalar, is_null, word

NEXT_KEYS: Final = ("spec", "arcs", "mode", "on_no_match")
NEXT_SPEC_KEYS: Final = ("mode", "on_no_match", "policy")
ARC_KEYS: Final = ("step", "when", "cond", "args", "input", "with", "data", "desc", *SET_KEYS)
ARGS: Final = ("args", "input", "with", "data")
MODES: Final = ("exclusive", "inclusive")


class Routes(Struct, frozen=True):
    """The arcs of a step and how they are chosen."""

    arcs: tuple[Arc, ...] = ()
    inclusive: bool = False
    fail_on_no_match: bool = False


def read_routes(read: Reader, node: Map) -> Routes:
    """`{spec: {mode}, arcs: [...]}`."""
    read.keys(node, NEXT_KEYS, "next")
    spec = read.mapping(node.get("spec"), "next.spec")
    policy = read.mapping(spec.get("policy"), "next.spec.policy") if spec else None
    layers = [layer for layer in (node, spec, policy) if layer is not None]
    if spec is not None:
        read.keys(spec, NEXT_SPEC_KEYS, "next.spec")
    if policy is not None:
        read.keys(policy, ("mode", "on_no_match"), "next.spec.policy")
    mode = read.choice(_first(layers, "mode"), "mode", MODES, "exclusive")
    no_match = read.choice(_first(layers, "on_no_match"), "on_no_match", ("quiet", "fail"), "quiet")
    tables = (read.item(item, "an arc") for item in read.rows(node.get("arcs"), "arcs"))
    return Routes(tuple(read_arc(read, table) for table in tables if table is not None), mode == "inclusive", no_match == "fail")


def _first(layers: list[Map], key: str) -> Node | None:
    return next((layer.get(key) for layer in layers if key in layer), None)


def read_arc(read: Reader, node: Map) -> Arc:
    read.keys(node, ARC_KEYS, "an arc")
    if "cond" in node:
        read.deprecated(node.entries["cond"], "'cond'", "'when'")
    return Arc(
        step=read_step_name(read, node),
        when=read.guard(read.either(node, ("when", "cond"))),
        args=read_args(read, node),
        set=read_sets(read, node, "ctx"),
        line=node.line,
    )


def read_step_name(read: Reader, node: Map) -> str:
    """The step that `{step: ...}` names; it must exist."""
    given = node.get("step")
    if is_null(given):
        read.require(node, "step")
        return ""
    return mention(read, given)


def mention(read: Reader, node: Node | None) -> str:
    """The name of a step that must exist, once all steps are known."""
    name = word(node)
    if name and isinstance(node, Scalar):
        read.mentions.append(Mention(name, node, "next step"))
    else:
        read.mistyped(node, "next", "the name of a step")
    return name


def read_args(read: Reader, node: Map) -> dict[str, Any]:
    table = read.mapping(read.either(node, ARGS), "args")
    return {} if table is None else dict(read.raw(table))
