"""The whole playbook: what stands at the root, and its steps."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any, Final

from noetl.dsl.playbook import Keychain, Playbook, Step
from noetl.dsl.problem import nearest
from noetl.dsl.read.executor import Executor, read_executor
from noetl.dsl.read.pipeline import read_with_sinks
from noetl.dsl.read.policy import Pipeline
from noetl.dsl.read.reader import Reader
from noetl.dsl.read.scope import StepScope
from noetl.dsl.read.step import Around, read_step
from noetl.dsl.read.workbook import Expanded, read_workbook
from noetl.dsl.tree import Map, Node, Row, Scalar, is_null, plain, table, word

API: Final = "noetl.io/v2"
OLDER_API: Final = "noetl.io/v1"
ROOT_KEYS: Final = (
    *("apiVersion", "kind", "metadata", "keychain", "executor", "workload", "workbook", "workflow"),
    *("spec", "vars", "tracing"),
)
KEYCHAIN_KINDS: Final = (
    *("credential", "postgres_credential", "static", "bearer", "secrets", "secret_manager", "oauth2"),
    "google_id_token",
)


def read_document(read: Reader, root: Map, *, path: str, tools: frozenset[str] | None) -> Playbook:
    """The playbook in a document. It is of use only when the report holds no errors."""
    read.keys(root, ROOT_KEYS)
    _check_versions(read, root)
    metadata = _metadata(read, root)
    executor = read_executor(read, root.get("executor"), tools)
    variables = _values(read, root, "vars")
    steps = _steps(read, root, executor)
    name = read.text(metadata.get("name"), "metadata.name") or ""
    return Playbook(
        name=name,
        path=(read.text(metadata.get("path"), "metadata.path") or path or name).strip("/"),
        steps=steps,
        entry=_entry(executor, steps),
        description=read.text(metadata.get("description"), "metadata.description") or "",
        labels=_labels(read, metadata),
        tags=read.texts(metadata.get("tags"), "metadata.tags"),
        payload_schema=read.text(metadata.get("payload_schema"), "metadata.payload_schema"),
        workload=merged(variables, _values(read, root, "workload")),
        vars=variables,
        spec=_values(read, root, "spec"),
        keychain=_keychain(read, root.get("keychain")),
        final_step=executor.final_step,
        no_next_is_error=executor.no_next_is_error,
        drain_on_failure=executor.drain_on_failure,
        cancel_grace_s=executor.cancel_grace_s,
        limits=executor.limits,
        priority=executor.priority,
        fair_key=executor.fair_key,
        requires=executor.requires,
    )


def _check_versions(read: Reader, root: Map) -> None:
    if is_null(root.get("apiVersion")):
        read.require(root, "apiVersion")
    elif word(root.get("apiVersion")) == OLDER_API:
        read.warn(root.entries["apiVersion"], f"apiVersion '{OLDER_API}' is the older one", key="apiVersion", hint=f"write {API}")
    elif word(root.get("apiVersion")) != API:
        read.error(root.entries["apiVersion"], f"apiVersion must be '{API}', not '{word(root.get('apiVersion'))}'", key="apiVersion")
    if is_null(root.get("kind")):
        read.require(root, "kind")
    elif word(root.get("kind")) != "Playbook":
        read.error(root.entries["kind"], f"kind must be 'Playbook', not '{word(root.get('kind'))}'", key="kind")


def _metadata(read: Reader, root: Map) -> Map:
    metadata = read.mapping(root.get("metadata"), "metadata")
    if metadata is None:
        if is_null(root.get("metadata")):
            read.error(root, "'metadata.name' is required", key="metadata")
        return table({}, root)
    if is_null(metadata.get("name")):
        read.error(metadata, "'metadata.name' is required", key="name")
    read.flag(metadata.get("exposes_as_mcp"), "metadata.exposes_as_mcp", default=False)
    return metadata


def _labels(read: Reader, metadata: Map) -> dict[str, Any]:
    labels = read.mapping(metadata.get("labels"), "metadata.labels")
    return {} if labels is None else dict(plain(labels))


def _values(read: Reader, root: Map, key: str) -> dict[str, Any]:
    """A mapping of values with templates."""
    values = read.mapping(root.get(key), key)
    if values is None:
        return {}
    if key in ("vars", "spec"):
        read.deprecated(root.entries[key], f"'{key}' of the playbook", "'workload'")
    return dict(read.raw(values))


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above` over `below`: mappings merge, anything else is replaced."""
    result = dict(below)
    for key, value in above.items():
        under = result.get(key)
        result[key] = merged(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return result


def _keychain(read: Reader, node: Node | None) -> tuple[Keychain, ...]:
    found: dict[str, Keychain] = {}
    for item in read.rows(node, "keychain"):
        entry = read.item(item, "a keychain entry")
        if entry is None:
            continue
        name = read.text(entry.get("name"), "name")
        kind = read.text(read.either(entry, ("kind", "type")), "kind")
        if name is None or kind is None:
            read.require(entry, "name" if name is None else "kind", f"a keychain entry needs '{'name' if name is None else 'kind'}'")
            continue
        if kind not in KEYCHAIN_KINDS:
            read.warn(entry, f"unknown keychain kind '{kind}'", key="kind", hint=nearest(kind, KEYCHAIN_KINDS))
        if name in found:
            read.warn(entry, f"keychain entry '{name}' is defined twice (first on line {found[name].line})", key="name")
        found[name] = Keychain(name, kind, read.raw(entry.without("name", "kind", "type")), entry.line)
    return tuple(found.values())


def _steps(read: Reader, root: Map, executor: Executor) -> tuple[Step, ...]:
    workbook = read_workbook(read, root.get("workbook"))
    named = _named(read, root)
    first: dict[str, Map] = {}
    for name, node in named:
        if name and name in first:
            read.error(node.entries["step"], f"step '{name}' is defined twice (first on line {first[name].line})", key="step")
        first.setdefault(name, node)
    around = Around(read, executor.spec, workbook, "end" in first, executor.final_step)
    steps = tuple(read_step(around, name, node) for name, node in named)
    _check_uncalled(read, workbook, {task.workbook for step in steps for task in step.tasks})
    for mention in read.mentions:
        if mention.step not in first:
            read.error(mention.at, f"{mention.what} '{mention.step}' is not defined", key="step", hint=nearest(mention.step, first))
    return steps


def _check_uncalled(read: Reader, workbook: Mapping[str, Map], called: Container[str | None]) -> None:
    """Workbook tasks that no step calls. What their templates read is not looked at: the args come from a call."""
    for name, task in workbook.items():
        if name not in called:
            part = Reader(read.report).part(f"workbook task '{name}'")
            read_with_sinks(StepScope(part, name), Expanded(task), Pipeline((name,)), taken={name})


def _named(read: Reader, root: Map) -> list[tuple[str, Map]]:
    """Name and node of each step. One without a name is read all the same, for what else is wrong in it."""
    given = root.get("workflow")
    if is_null(given):
        read.require(root, "workflow")
        return []
    if isinstance(given, Row) and not given.items:
        read.error(given, "'workflow' needs at least one step", key="workflow")
    if isinstance(given, Map):
        read.error(given, "workflow must be a list of steps, not a mapping", key="workflow", hint="begin each step with '- step: name'")
        return []
    nodes = (read.item(item, "a step") for item in read.rows(given, "workflow"))
    return [(_step_name(read, node), node) for node in nodes if node is not None]


def _step_name(read: Reader, node: Map) -> str:
    given = node.get("step")
    name = read.text(given, "step")
    if given is None or (name is None and isinstance(given, Scalar)):
        read.require(node, "step")
    elif name is not None and (any(character.isspace() for character in name) or not name.isprintable()):
        read.error(given, f"step '{name}' must be a name without spaces", key="step", hint=f"write {'_'.join(name.split())}")
    return name or ""


def _entry(executor: Executor, steps: tuple[Step, ...]) -> str:
    """The step that gets the first token: the one that is named, else `start`, else the first."""
    names = [step.name for step in steps]
    return executor.entry_step or ("start" if "start" in names else next(iter(names), ""))
