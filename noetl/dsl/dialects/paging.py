"""A step's `retry` where it is more than trying again: calls after a success, and lists of conditions (docs/reference/language.md, 10.4)."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from noetl.dsl.dialects.case import ACTION_KEYS, Actions, called, read_actions
from noetl.dsl.playbook import Rule, Task
from noetl.dsl.read.scope import StepScope
from noetl.dsl.template import has_template
from noetl.dsl.tree import Entry, Map, Node, Row, Scalar, entry, is_null, table

_GUARDS: Final = ("while", "when", "retry_when")
_AFTER_CALL: Final = "event.name == 'call.done'"


def with_paging(scope: StepScope, retry: Node | None, tasks: tuple[Task, ...]) -> tuple[Task, ...]:
    """The tasks, with the rule of `on_success` on the one that it calls again."""
    node = retry.get("on_success") if isinstance(retry, Map) else None
    given = scope.read.mapping(node, "on_success")
    if given is None:
        return tasks
    rule, again = _paging(scope, given, tasks), called(tasks)
    return tuple(replace(task, rules=(rule, *task.rules)) if task is again else task for task in tasks)


def _paging(scope: StepScope, given: Map, tasks: tuple[Task, ...]) -> Rule:
    """Call again while the guard holds, with other fields, gathering pages."""
    guard = scope.read.either(given, _GUARDS)
    if guard is None:
        scope.read.require(given, "while", "on_success needs 'while'")
    about = Actions(scope, tasks, taken={task.label for task in tasks})
    actions = tuple(read_actions(about, _as_actions(given.without(*_GUARDS))))
    return Rule(actions, scope.read.guard(guard), legacy=True, line=given.line)


def retry_cases(node: Node | None) -> tuple[Node, ...]:
    """The `case` rules that a list under `retry` stands for."""
    return tuple(_as_case(item) for item in node.items) if isinstance(node, Row) else ()


def _as_case(item: Node) -> Node:
    if not isinstance(item, Map):
        return item
    entries = dict(item.entries)
    for key in ("then", "else"):
        inner = entries.get(key)
        if inner is not None and isinstance(inner.value, Map) and "then" not in inner.value:
            entries[key] = Entry(inner.line, inner.column, _as_actions(inner.value))
    when = entries.get("when")
    if when is not None and isinstance(when.value, Scalar) and not is_null(when.value):
        entries["when"] = Entry(when.line, when.column, _after_call(when.value))
    return replace(item, entries=entries)


def _after_call(guard: Scalar) -> Scalar:
    """The guard, for the events of a call only."""
    text = guard.value.strip() if isinstance(guard.value, str) else guard.text
    if text.startswith("{{") and text.endswith("}}") and text.count("{{") == 1:
        text = text[2:-2].strip()
    return guard if has_template(text) else replace(guard, value=f"{{{{ {_AFTER_CALL} and ({text}) }}}}")


def _as_actions(node: Map) -> Map:
    """The actions of a `then` that holds the settings of a retry: those go under `retry`."""
    settings = node.without(*ACTION_KEYS)
    if not settings.entries and "retry" in node:
        return node
    call = settings.get("next_call")
    if isinstance(call, Map):
        settings = settings.without("next_call").plus(call.entries)
    actions = node.only(ACTION_KEYS)
    return actions.plus({"retry": entry(table(settings.entries, node), node)}) if settings.entries else actions
