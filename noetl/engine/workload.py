"""The values that an execution starts with: the playbook's defaults, rendered, with the payload over them.

Only the playbook's own texts are templates; a payload is data. A default may read other defaults: they are rendered in the order of what they read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from noetl.dsl.template import compile_raw, paths
from noetl.engine.rules import merged
from noetl.engine.turn import Turn
from noetl.errors import TemplateError
from noetl.events import Value


def initial_values(turn: Turn) -> tuple[dict[str, Value], dict[str, Value]]:
    """`workload` and `spec`. Raises `TemplateError`, also for defaults that read each other in a circle."""
    playbook, state = turn.program.playbook, turn.state
    defaults = merged(playbook.vars, playbook.workload)
    payload = state.payload
    known: dict[str, Any] = merged(defaults, payload)
    for key in in_order(defaults):
        if key in payload and not (state.merge and isinstance(defaults[key], dict) and isinstance(payload[key], dict)):
            known[key] = payload[key]
            continue
        scope = turn.scope()
        scope.workload = known
        try:
            value = compile_raw(defaults[key]).render(scope, turn.load)
        except TemplateError as error:
            error.within(f"workload.{key}")
            raise
        known[key] = merged({key: value}, {key: payload[key]})[key] if key in payload else value
    scope = turn.scope()
    scope.workload = known
    try:
        spec = compile_raw(playbook.spec).render(scope, turn.load)
    except TemplateError as error:
        error.within("spec")
        raise
    return {key: turn.keep(value) for key, value in known.items()}, spec


def in_order(defaults: Mapping[str, Any]) -> list[str]:
    """The keys, each after those that its templates read."""
    order: dict[str, None] = {}
    for key in defaults:
        _visit(key, defaults, order, ())
    return list(order)


def _visit(key: str, defaults: Mapping[str, Any], order: dict[str, None], above: tuple[str, ...]) -> None:
    if key in order:
        return
    if key in above:
        circle = " -> ".join((*above[above.index(key) :], key))
        raise TemplateError(f"workload keys read each other in a circle: {circle}")
    for read in _reads(defaults[key]):
        if read in defaults and read != key:
            _visit(read, defaults, order, (*above, key))
    order[key] = None


def _reads(value: Any) -> Iterable[str]:
    for path in sorted(paths(value)):
        if path[0] == "workload" and len(path) > 1:
            yield path[1]
        else:
            yield path[0]
