"""One step: its older spellings are rewritten, then its parts are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from noetl.dsl.dialects.case import read_case
from noetl.dsl.dialects.flat import OLDER_STEP_KEYS, STEP_KEYS, unflattened
from noetl.dsl.dialects.loops import from_iterator, hoisted
from noetl.dsl.dialects.next_list import read_next_list
from noetl.dsl.dialects.paging import retry_cases, with_paging
from noetl.dsl.dialects.retry import step_retry
from noetl.dsl.dialects.sink import read_sinks
from noetl.dsl.playbook import Admission, Arc, Emit, Join, Rule, Step, Task, Write
from noetl.dsl.read.admission import enabled, read_admission
from noetl.dsl.read.arcs import Routes, read_routes
from noetl.dsl.read.loop import read_failure, read_loop
from noetl.dsl.read.output import read_output
from noetl.dsl.read.pipeline import read_pipeline, stored_by_default
from noetl.dsl.read.reader import Reader
from noetl.dsl.read.scope import StepScope
from noetl.dsl.read.shapes import ARGS
from noetl.dsl.read.writes import read_set, read_sets
from noetl.dsl.tree import Map, Node, Scalar, is_null, table

SPEC_KEYS: Final = (
    *("join", "timeout", "resources", "requires", "pool", "priority", "policy", "duration_hint_s"),
    *("memory_bytes", "retry_on_loss"),
)
POLICY_KEYS: Final = ("admit", "failure", "rules")
JOINS: Final = ("auto", "all", "any")
REFUSED: Final = {
    "when": "a guard on the arcs that lead here, or spec: {policy: {admit: ...}}",
    "pipe": "a list of tasks under 'tool'",
    "eval": "spec: {policy: {rules: [...]}} on a task",
    "expr": "'when' in a rule or on an arc",
    "kind": "tool: {kind: ...}",
}
"""Keys of a step that other versions knew, and what replaces them."""


class Around(Struct, frozen=True):
    """What a step takes from the rest of the playbook. `has_end`: there is a step `end` for the leaves."""

    read: Reader
    spec: Map
    workbook: Mapping[str, Map]
    has_end: bool = False
    final_step: str | None = None


def read_step(around: Around, name: str, node: Map) -> Step:
    read = around.read.part(f"step '{name}'")
    node = _canonical(read, node)
    spec = _spec(read, node)
    policy = _policy(read, spec)
    loop_node = read.mapping(node.get("loop"), "loop")
    args = _args(read, node)
    given = frozenset(key for key, value in args.items() if value is not None)
    scope = StepScope(read, name, _layers(around.spec, spec, loop_node), around.workbook, given)
    tasks = _tasks(scope, node)
    rules = _rules(scope, node, tasks)
    routes = _routes(read, node, rules, has_end=around.has_end and name not in ("end", around.final_step))
    return Step(
        name=name,
        desc=read.text(node.get("desc") or node.get("description"), "desc") or "",
        args=args,
        tasks=tasks,
        rules=rules,
        loop=None if loop_node is None else read_loop(read, loop_node, best_effort=read_failure(read, policy)),
        set=_writes(read, node),
        output=read_output(read, _without_alias(node.get("output"))),
        arcs=routes.arcs,
        inclusive=routes.inclusive,
        fail_on_no_match=routes.fail_on_no_match,
        join=_join(read, spec.get("join")),
        timeout=read.quantity(spec.get("timeout"), "timeout"),
        admission=_admission(read, node, policy),
        pool=read.text(spec.get("pool"), "pool"),
        priority=None if is_null(spec.get("priority")) else read.integer(spec.get("priority"), "priority", 5, most=9),
        resources=_units(read, spec.get("resources")),
        requires=read.raw(read.mapping(spec.get("requires"), "requires")) or {},
        duration_hint_s=None if is_null(spec.get("duration_hint_s")) else read.number(spec.get("duration_hint_s"), "duration_hint_s", 0),
        line=node.line,
        column=node.column,
    )


def _canonical(read: Reader, node: Map) -> Map:
    """The step with its older spellings rewritten, as far as they have a canonical one; unknown keys are noted."""
    node = hoisted(read, unflattened(read, from_iterator(read, node)))
    for key, instead in REFUSED.items():
        if key in node:
            read.error(node.entries[key], f"{read.where}: '{key}' is not understood here", key=key, hint=f"write {instead}")
    node = node.without(*REFUSED)
    read.keys(node, (*STEP_KEYS, *OLDER_STEP_KEYS))
    if "desc" in node and "description" in node:
        read.warn(node.entries["description"], "'desc' and 'description' are two spellings of one key", key="description")
    for key, instead in _INSTEAD.items():
        if key in node:
            read.deprecated(node.entries[key], f"'{key}' of a step", instead)
    return node


_INSTEAD: Final = {
    "case": "policy rules on the task and arcs under 'next'",
    "retry": "a retry rule in spec: {policy: {rules: [...]}} of the task",
    "save": "one more task under 'tool'",
    "sink": "one more task under 'tool'",
    "vars": "set: {ctx.x: ...}",
    "result": 'set: {ctx.x: "{{ result }}"}',
    "enabled": "spec: {policy: {admit: {rules: [...]}}}",
    "input": "'args'",
    "with": "'args'",
}


def _spec(read: Reader, node: Map) -> Map:
    spec = read.mapping(node.get("spec"), "spec") or table({}, node)
    if "next_mode" in spec:
        read.error(spec.entries["next_mode"], "'next_mode' is not understood here", key="next_mode", hint="write next: {spec: {mode: ...}}")
    spec = spec.without("next_mode")
    read.keys(spec, SPEC_KEYS, "the spec")
    return spec


def _policy(read: Reader, spec: Map) -> Map:
    policy = read.mapping(spec.get("policy"), "policy") or table({}, spec)
    read.keys(policy, POLICY_KEYS, "the policy")
    return policy


def _layers(executor: Map, step: Map, loop: Map | None) -> tuple[Map, ...]:
    """The settings around the step's tasks. A step's `timeout` is for the step, not for each task."""
    spec = loop.get("spec") if loop else None
    return (executor, step.without("timeout"), spec) if isinstance(spec, Map) else (executor, step.without("timeout"))


def _args(read: Reader, node: Map) -> dict[str, Any]:
    args = read.mapping(read.either(node, ARGS), "args")
    return {} if args is None else dict(read.raw(args))


def _tasks(scope: StepScope, node: Map) -> tuple[Task, ...]:
    """The pipeline, with the rules of the step's `retry` on its tasks, and the tasks of its sinks."""
    tasks = read_pipeline(scope, node.get("tool"))
    retry = node.get("retry")
    again = step_retry(scope.read, retry)
    tasks = tuple(replace(task, rules=(*again, *task.rules)) for task in with_paging(scope, retry, tasks))
    for key in ("save", "sink"):
        given = node.get(key)
        if given is not None:
            taken = {task.label for task in tasks}
            tasks += tuple(read_sinks(scope, given, taken, stored_by_default(tasks[-1] if tasks else None)))
    return tasks


def _rules(scope: StepScope, node: Map, tasks: tuple[Task, ...]) -> tuple[Rule, ...]:
    case = node.get("case")
    cases = (case,) if isinstance(case, Map) else scope.read.rows(case, "case")
    return read_case(scope, (*retry_cases(node.get("retry")), *cases), tasks)


def _routes(read: Reader, node: Map, rules: tuple[Rule, ...], *, has_end: bool) -> Routes:
    """The arcs of the step. A leaf has one to the step `end`, when there is one for it."""
    given = node.get("next")
    if isinstance(given, Map) and ("arcs" in given or "spec" in given):
        return read_routes(read, given)
    if given is not None and not is_null(given):
        read.deprecated(node.entries["next"], "'next' without arcs", "next: {arcs: [{step: ...}]}")
        return read_next_list(read, given)
    chosen = any(isinstance(action, Emit) for rule in rules for action in rule.actions)
    return Routes((Arc("end", line=node.line),)) if has_end and not chosen else Routes()


def _writes(read: Reader, node: Map) -> tuple[Write, ...]:
    """`set`, and the older `vars`, `output: {as: x}` and `result: {as: x}`."""
    writes = (*read_sets(read, node, "ctx"), *read_set(read, node.get("vars"), "ctx", "vars"))
    for key in ("output", "result"):
        holder = node.get(key)
        alias = read.text(holder.get("as"), "as") if isinstance(holder, Map) else None
        if alias is not None:
            writes += (Write("ctx", alias.removeprefix("ctx."), "{{ result }}"),)
    return writes


def _without_alias(output: Node | None) -> Node | None:
    rest = output.without("as") if isinstance(output, Map) else output
    return None if isinstance(rest, Map) and not rest.entries else rest


def _join(read: Reader, node: Node | None) -> Join:
    if isinstance(node, Scalar) and node.text.isdecimal():
        return read.integer(node, "join", 1, least=1)
    join: Join = read.choice(node, "join", JOINS, "auto", beside="a number of steps")
    return join


def _admission(read: Reader, node: Map, policy: Map) -> Admission | None:
    admission = read_admission(read, policy.get("admit"))
    older = node.get("enabled")
    closed = None if older is None else enabled(read, older)
    return admission if closed is None else closed


def _units(read: Reader, node: Node | None) -> dict[str, Any]:
    units = read.mapping(node, "resources")
    return {} if units is None else {name: read.quantity(item.value, name) for name, item in units.entries.items()}
