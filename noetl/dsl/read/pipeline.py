"""The tasks of a step: those under `tool`, with those of the workbook and of their own sinks in place."""

from __future__ import annotations

from noetl.dsl.dialects.sink import read_sinks
from noetl.dsl.playbook import Task
from noetl.dsl.read.policy import Pipeline
from noetl.dsl.read.scope import StepScope
from noetl.dsl.read.shapes import shapes
from noetl.dsl.read.task import read_task
from noetl.dsl.read.workbook import Expanded, expanded
from noetl.dsl.tree import Node


def read_pipeline(scope: StepScope, tool: Node | None) -> tuple[Task, ...]:
    found = [(label, expanded(scope, node)) for label, node in shapes(scope.read, tool, scope.name)]
    planned = [(label, task) for label, task in found if task is not None]
    labels = tuple(label for label, _ in planned)
    tasks: list[Task] = []
    for index, (_, task) in enumerate(planned):
        tasks += read_with_sinks(scope, task, Pipeline(labels, index), taken={*labels, *(done.label for done in tasks)})
    return tuple(tasks)


def read_with_sinks(scope: StepScope, made: Expanded, pipeline: Pipeline, *, taken: set[str]) -> tuple[Task, ...]:
    """A task, and the tasks of the `sink` or `save` in it."""
    task = read_task(scope, made.node, pipeline, made.workbook, made.declared)
    given = scope.read.either(made.node, ("sink", "save"))
    return (task,) if given is None else (task, *read_sinks(scope, given, taken, stored_by_default(task)))


def stored_by_default(task: Task | None) -> str:
    """What a sink stores when its author does not say: the data of the result before it, which for an HTTP call is the body."""
    return "{{ result.data }}" if task is not None and task.kind == "http" else "{{ result }}"
