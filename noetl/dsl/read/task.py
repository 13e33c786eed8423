"""One task: a call of a tool with its inputs, policy and writes."""

from __future__ import annotations

from typing import Any, Final

from noetl.dsl.dialects.retry import tool_retry
from noetl.dsl.kinds import KINDS, Kind
from noetl.dsl.playbook import Output, Rule, Task
from noetl.dsl.read.fields import is_table_write, read_fields
from noetl.dsl.read.output import read_output
from noetl.dsl.read.policy import Pipeline, read_rules
from noetl.dsl.read.reader import Reader
from noetl.dsl.read.scope import StepScope
from noetl.dsl.read.shapes import ARGS
from noetl.dsl.read.writes import SET_KEYS, read_sets
from noetl.dsl.tree import Map, entry, is_null, table, word

TIMEOUTS: Final = ("timeout", "timeout_seconds")
POLICY_KEYS: Final = ("rules",)
ASSERT_KEYS: Final = ("expects", "returns")
REFUSED: Final = {
    "eval": "spec: {policy: {rules: [...]}}",
    "expr": "'when' in a rule of spec: {policy: {rules: [...]}}",
    "policy": "spec: {policy: ...}",
}
"""Keys that earlier versions knew, and what replaces them."""

OWN_KEYS: Final = (
    *("kind", "name", "desc", "description", "spec", "retry", "assert", "output", "output_select", "sink", "save"),
    *(*SET_KEYS, *TIMEOUTS, *ARGS),
)
"""Keys of a task that are not fields of its tool, unless its kind says so."""


def read_task(scope: StepScope, node: Map, pipeline: Pipeline, workbook: str | None = None, declared: Map | None = None) -> Task:
    """The task in a mapping that `shapes` has put in order. `declared` are the args of the workbook task that it calls."""
    read = scope.read
    name = word(node.get("kind"))
    kind = KINDS[name]
    node = _known(read, kind, node)
    args, fields = _inputs(name, kind, node)
    given = node.get("spec")
    own = given if isinstance(given, Map) else table({}, node)
    expects, returns = _assert(read, node)
    return Task(
        label=pipeline.labels[pipeline.current],
        kind=name,
        fields=read_fields(read, name, kind, fields, args),
        args={} if args is None else read.raw(args),
        defaults={} if declared is None else read.raw(declared),
        timeout=_timeout(scope, name, node, own),
        rules=(*tool_retry(read, node.get("retry")), *_policy(scope, own, pipeline)),
        set=read_sets(read, node, "step"),
        output=_output(read, node),
        retry_on_loss=read.flag(scope.setting(own, "retry_on_loss"), "retry_on_loss", default=True),
        memory_bytes=read.quantity(scope.setting(own, "memory_bytes"), "memory_bytes", least=1),
        expects=expects,
        returns=returns,
        workbook=workbook,
        line=node.line,
        column=node.column,
    )


def _known(read: Reader, kind: Kind, node: Map) -> Map:
    """Without the keys that are refused, and those that have no effect."""
    for key, instead in REFUSED.items():
        if key in node and key not in kind.fields:
            read.error(node.entries[key], f"'{key}' is not understood here", key=key, hint=f"write {instead}")
    for key, reason in kind.ignored.items():
        if key in node and reason:
            read.warn(node.entries[key], f"'{key}': {reason}", key=key)
    return node.without(*(key for key in REFUSED if key not in kind.fields), *kind.ignored)


def _inputs(name: str, kind: Kind, node: Map) -> tuple[Map | None, Map]:
    """The arguments of a task and the fields of its tool. A table write has its rows in the field `data`, however they were given."""
    args = node.get("input" if "args" in kind.fields else "args")
    fields = node.without(*(key for key in OWN_KEYS if key not in kind.fields))
    if name == "http" and isinstance(node.get("timeout"), Map):
        fields = fields.plus({"timeout": node.entries["timeout"]})
    if args is None or is_null(args):
        return None, fields
    if is_table_write(name, fields) and "data" not in fields:
        return None, fields.plus({"data": entry(args, args)})
    return (args if isinstance(args, Map) else table({"data": entry(args, args)}, args)), fields


def _timeout(scope: StepScope, name: str, node: Map, own: Map) -> Any:
    """Seconds for one attempt. The {connect, read} of http is a field of the tool."""
    given = scope.read.either(node, TIMEOUTS)
    if name == "http" and isinstance(given, Map):
        scope.read.keys(given, ("connect", "read"), "timeout")
        given = None
    return scope.read.quantity(given or scope.setting(own, "timeout"), "timeout")


def _policy(scope: StepScope, own: Map, pipeline: Pipeline) -> tuple[Rule, ...]:
    policy = scope.read.mapping(own.get("policy"), "policy")
    if policy is not None:
        scope.read.keys(policy, POLICY_KEYS, "a task's policy")
    return read_rules(scope.read, scope.setting(own, "policy", "rules"), pipeline)


def _output(read: Reader, node: Map) -> Output | None:
    select = node.entries.get("output_select")
    output = read.mapping(node.get("output"), "output")
    if select is None:
        return read_output(read, output)
    return read_output(read, (output or table({}, select)).plus({"output_select": select}))


def _assert(read: Reader, node: Map) -> tuple[tuple[str, ...], tuple[str, ...]]:
    checks = read.mapping(node.get("assert"), "assert")
    if checks is None:
        return (), ()
    read.keys(checks, ASSERT_KEYS, "assert")
    return read.texts(checks.get("expects"), "expects"), read.texts(checks.get("returns"), "returns")
