"""From a task's rendered fields to a tool's input. Pure."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from noetl.dsl.lookup import MISSING, settle
from noetl.dsl.template import Renderable, compile_text
from noetl.engine.order import Order
from noetl.engine.rules import merged
from noetl.errors import TemplateError, ToolRefused

BODY_FIELDS: Final = ("json", "payload", "body", "data", "form")


class CallNames(Mapping[str, Any]):
    """The names that a task's fields may read: those of its order, with its args over them."""

    __slots__ = ("_args", "_order")

    def __init__(self, order: Order, args: Mapping[str, Any]) -> None:
        self._order = order
        self._args = args

    def get(self, key: str, default: Any = None) -> Any:
        order = self._order
        if key in self._args and key not in order.inner:
            return self._args[key]
        if key == "args":
            return dict(self._args)
        if key == "input":
            return {**settle(order.names.get("input", {})), **self._args}
        return order.names.get(key, default)

    def __getitem__(self, key: str) -> Any:
        found = self.get(key, MISSING)
        if found is MISSING:
            raise KeyError(key)
        return found

    def __iter__(self) -> Any:
        return iter({**self._order.names, **self._args})

    def __len__(self) -> int:
        return len({**self._order.names, **self._args})


def _bound_args(order: Order, render: Callable[[str, Renderable, CallNames], Any]) -> dict[str, Any]:
    """The inputs of the task: what its workbook declares, the step's, the task's own; later wins. A null that the author wrote hides nothing."""
    program = order.program
    outer = CallNames(order, order.args)
    given = dict(order.args)
    for name, value in program.args.items():
        if not program.declares(name, order.args):
            given[str(render("args", compile_text(name), outer))] = render(f"args.{name}", value, outer)
    declared = {name: render(f"args.{name}", value, outer) for name, value in program.defaults.items() if given.get(name) is None}
    return {**given, **declared}


class Bound(Struct, frozen=True):
    """All that a task's templates gave. `fields` are those of its tool."""

    args: dict[str, Any]
    names: CallNames
    fields: dict[str, Any]
    timeout_s: float | None
    memory_bytes: float | None


def bound(order: Order, render: Callable[[str, Renderable, CallNames], Any]) -> Bound:
    """Args first: the fields may read them. What rules have laid over the fields counts; a sink stores the call's data."""
    args, program = _bound_args(order, render), order.program
    names = CallNames(order, args)
    fields = _with_overrides({name: render(name, value, names) for name, value in program.fields.items()}, order.overrides)
    if order.is_sink:
        fields, args = _with_sink_data(order, fields, args)
        names = CallNames(order, args)
    timeout = render("timeout", program.timeout, names)
    memory = render("memory_bytes", program.memory_bytes, names)
    return Bound(args, names, fields, _number(timeout, "timeout"), _number(memory, "memory_bytes"))


def _number(value: Any, field: str) -> float | None:
    if value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TemplateError(f"{field} must be a number, not {value!r}") from None


def _with_overrides(fields: dict[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """A rule's `params`, `headers`, … laid over the task's. `body` is whichever body field the task has."""
    if not overrides:
        return fields
    named = dict(overrides)
    if "body" in named and "body" not in fields:
        own = next((name for name in BODY_FIELDS if name in fields), "json")
        named[own] = named.pop("body")
    return merged(fields, named)


def _with_sink_data(order: Order, fields: dict[str, Any], args: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a sink stores when its author does not say: the call's data."""
    if "data" in fields or order.program.task.args:
        return fields, args
    data = settle(order.names.get("data"))
    if "table" in fields:
        return {**fields, "data": data}, args
    return fields, data if isinstance(data, dict) else {"data": data}


def to_input(input_type: type[msgspec.Struct], fields: Mapping[str, Any], kind: str) -> tuple[msgspec.Struct, list[str]]:
    """The tool's input, and the names of fields that it does not know (they were warned of when the playbook was checked).

    Raises:
        ToolRefused: a required field is missing, or a value has the wrong type.
    """
    known = _field_names(input_type)
    given = {name: value for name, value in fields.items() if name in known}
    try:
        return msgspec.convert(given, input_type, strict=False), sorted(set(fields) - known)
    except msgspec.ValidationError as error:
        raise ToolRefused(f"{kind}: {error}") from error


@functools.cache
def _field_names(struct: type[msgspec.Struct]) -> frozenset[str]:
    return frozenset(field.encode_name for field in msgspec.structs.fields(struct))


def check_expected(order: Order, args: Mapping[str, Any]) -> None:
    """The `assert: {expects}` of a workbook task."""
    missing = [name for name in order.program.task.expects if args.get(name) is None]
    if missing:
        raise ToolRefused(f"workbook task '{order.program.task.workbook}' expects {', '.join(missing)}")


def check_returned(order: Order, result: Any) -> None:
    """The `assert: {returns}` of a workbook task."""
    present = result if isinstance(result, Mapping) else {}
    missing = [name for name in order.program.task.returns if name not in present]
    if missing:
        raise ToolRefused(f"workbook task '{order.program.task.workbook}' did not return {', '.join(missing)}")
