"""`sink` and `save`: one more task, which stores the result (docs/reference/language.md, 10.3 and 10.5)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from noetl.dsl.kinds import HTTP_BODIES
from noetl.dsl.playbook import Task
from noetl.dsl.read.policy import Pipeline
from noetl.dsl.read.reader import Reader
from noetl.dsl.read.scope import StepScope
from noetl.dsl.read.shapes import ARGS, unfolded, with_kind
from noetl.dsl.read.task import read_task
from noetl.dsl.read.workbook import expanded
from noetl.dsl.tree import Map, Node, Row, Scalar, entry


def read_sinks(scope: StepScope, node: Node, taken: Iterable[str], data: str | None = None) -> Iterator[Task]:
    """The tasks of a `sink` or `save`, which is one or a list of them.

    `taken` are labels that are in use. `data` is a template for what is stored when the author does not say; None leaves it open.
    """
    labels = set(taken)
    for item in node.items if isinstance(node, Row) else (node,):
        given = scope.read.item(item, "sink")
        task = None if given is None else _task(scope.read, given)
        made = None if task is None else expanded(scope, task)
        if made is None:
            continue
        _warn_of_policy(scope.read, made.node)
        label = _free(labels)
        labels.add(label)
        yield replace(read_task(scope, _with_data(made.node, data), Pipeline((label,)), made.workbook, made.declared), sink=True)


def _warn_of_policy(read: Reader, task: Map) -> None:
    spec = task.get("spec")
    if isinstance(spec, Map) and "policy" in spec:
        read.warn(spec.entries["policy"], "the policy of a sink has no effect: its failure fails the step", key="policy")


def _with_data(task: Map, data: str | None) -> Map:
    """The task, given what it stores unless it says so itself."""
    return task if data is None or any(key in task for key in (*ARGS, *HTTP_BODIES)) else task.plus({"args": entry(data, task)})


def _task(read: Reader, node: Map) -> Map | None:
    """`{tool: K, ...}`, `{tool: {kind: K, ...}, ...}`, and the `storage` of a save."""
    for key in ("tool", "storage"):
        if isinstance(node.get(key), Scalar) and "kind" not in node:
            node = node.without(key).plus({"kind": node.entries[key]})
    return with_kind(read, unfolded(read, node, ("tool", "storage")))


def _free(labels: set[str]) -> str:
    """`sink`, or the first of sink_2, sink_3, ... that is free."""
    if "sink" not in labels:
        return "sink"
    number = 2
    while f"sink_{number}" in labels:
        number += 1
    return f"sink_{number}"
