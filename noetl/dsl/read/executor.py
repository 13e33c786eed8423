"""`executor`: how the whole playbook runs."""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct

from noetl.dsl.kinds import KINDS, LOADED_KIND, SAME_KINDS, canonical_kind
from noetl.dsl.playbook import Limits
from noetl.dsl.problem import nearest
from noetl.dsl.read.reader import Mention, Reader
from noetl.dsl.tree import Map, Node, Scalar, plain, table, word

EXECUTOR_KEYS: Final = ("kind", "profile", "version", "requires", "spec")
REQUIRES_KEYS: Final = ("tools", "features")
SPEC_KEYS: Final = (
    *("entry_step", "final_step", "no_next_is_error", "policy", "limits", "priority", "fair_key"),
    *("timeout", "memory_bytes", "retry_on_loss"),
)
POLICY_KEYS: Final = ("cancel_grace_s", "on_failure", "rules")
LIMITS: Final = ("max_step_runs", "max_tasks_per_run", "max_depth")


class Executor(Struct, frozen=True):
    """`spec` is also the outermost layer of the settings of tasks."""

    spec: Map
    entry_step: str | None
    final_step: str | None
    no_next_is_error: bool
    drain_on_failure: bool
    cancel_grace_s: float
    limits: Limits
    priority: int
    fair_key: Any
    requires: dict[str, Any]


def read_executor(read: Reader, node: Node | None, tools: frozenset[str] | None) -> Executor:
    """`tools` are the kinds that are available here; None: not known."""
    executor = read.mapping(node, "executor") or Map({}, 1, 1, "executor")
    read.keys(executor, EXECUTOR_KEYS, "executor", fatal=False)
    spec = read.mapping(executor.get("spec"), "executor.spec") or table({}, executor)
    read.keys(spec, SPEC_KEYS, "executor.spec", fatal=False)
    policy = read.mapping(spec.get("policy"), "executor.spec.policy") or table({}, spec)
    read.keys(policy, POLICY_KEYS, "executor.spec.policy", fatal=False)
    return Executor(
        spec=spec,
        entry_step=_step(read, spec, "entry_step"),
        final_step=_step(read, spec, "final_step"),
        no_next_is_error=read.flag(spec.get("no_next_is_error"), "no_next_is_error", default=False),
        drain_on_failure=read.choice(policy.get("on_failure"), "on_failure", ("cancel", "drain"), "cancel") == "drain",
        cancel_grace_s=read.number(policy.get("cancel_grace_s"), "cancel_grace_s", 5.0),
        limits=_limits(read, spec.get("limits")),
        priority=read.integer(spec.get("priority"), "priority", 5, most=9),
        fair_key=read.raw(spec.get("fair_key")),
        requires=_requires(read, executor.get("requires"), tools),
    )


def _step(read: Reader, spec: Map, key: str) -> str | None:
    given = spec.get(key)
    name = read.text(given, key)
    if name is not None and isinstance(given, Scalar):
        read.mentions.append(Mention(name, given, key))
    return name


def _limits(read: Reader, node: Node | None) -> Limits:
    limits = read.mapping(node, "limits")
    if limits is None:
        return Limits()
    read.keys(limits, LIMITS, "limits")
    default = Limits()
    return Limits(**{name: read.integer(limits.get(name), name, getattr(default, name), least=1) for name in LIMITS})


def _requires(read: Reader, node: Node | None, tools: frozenset[str] | None) -> dict[str, Any]:
    requires = read.mapping(node, "requires")
    if requires is None:
        return {}
    read.keys(requires, REQUIRES_KEYS, "requires", fatal=False)
    for item in read.rows(requires.get("tools"), "tools"):
        kind = canonical_kind(word(item))
        if not isinstance(item, Scalar):
            read.mistyped(item, "tools", "a list of tool kinds")
        elif kind is None:
            read.warn(item, f"unknown tool kind '{word(item)}'", key="tools", hint=nearest(word(item), (*KINDS, *SAME_KINDS)))
        elif tools is not None and kind not in (*tools, LOADED_KIND):
            read.warn(item, f"tool kind '{word(item)}' is not available here: a run fails", key="tools")
    return dict(plain(requires))
