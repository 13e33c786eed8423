"""The Jinja2 environment of playbooks: sandboxed, limited by counting, with the look-up rule of results.

Nothing interrupts a render, since it runs on the event loop; so what it may do is counted: iterations and calls here, output in `template`, sizes in
`bounds`.
"""

from __future__ import annotations

import base64
import functools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import BuiltinMethodType, MethodType
from typing import Any, Final

from jinja2 import ChainableUndefined, Undefined, nodes, pass_context
from jinja2.exceptions import SecurityError, TemplateSyntaxError
from jinja2.runtime import Context, LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace, missing

from noetl.dsl.bounds import BOUNDED_FILTERS, check_method, check_operands, check_size
from noetl.dsl.lookup import LIST_SELF_NAMES, MISSING, Load, ResultList, View, not_loaded, see_handle, settle, whole
from noetl.values import Handle

MAX_ITERATIONS: Final = 1_000_000
_MACRO_TURNS: Final = 20
"""What the call of a macro costs."""
_MAX_INDENT: Final = 16
_NAMED_METHODS: Final = (str, list, dict, int, float, View, ResultList)
_REFUSED_METHODS: Final = frozenset({"translate", "maketrans"})
_REFUSED_GLOBALS: Final = ("lipsum", "cycler", "joiner")


class Function:
    """A global that a template may call."""

    __slots__ = ("_function", "name")

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.name = name
        self._function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)


class Missing(ChainableUndefined):
    """What an unknown name is: empty as text, false in tests, unknown again in depth; an error when compared by order or reckoned with."""

    __slots__ = ()


class Method(Missing):
    """A method that a template names. It is data's names that count: unless it is called, it is unknown."""

    __slots__ = ("bound",)

    def __init__(self, bound: Callable[..., Any], obj: Any, name: str) -> None:
        super().__init__(obj=obj, name=name)
        self.bound = bound


class RenderContext(Context):
    """Resolves names when they are asked for, and counts."""

    def __init__(self, environment: Sandbox, names: Mapping[str, Any]) -> None:
        super().__init__(environment, {}, None, {})
        self._names = names
        self._globals = environment.globals
        self._turns = 0

    def resolve_or_missing(self, key: str) -> Any:
        if key in self.vars:
            return self.vars[key]
        found = self._names.get(key, MISSING)
        return self._globals.get(key, missing) if found is MISSING else found

    def spend(self, turns: int = 1) -> None:
        """Turns of a loop, or a call. All of a render share one budget."""
        self._turns += turns
        if self._turns > MAX_ITERATIONS:
            raise SecurityError(f"the template takes more than {MAX_ITERATIONS} turns and calls")


class Sandbox(ImmutableSandboxedEnvironment):
    """One per process: compiled templates refer to it. `load` serves the render that is under way (renders do not interleave)."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})
    context_class = RenderContext

    def __init__(self) -> None:
        super().__init__(undefined=Missing, keep_trailing_newline=True, autoescape=False, extensions=(), finalize=printed)
        self.load: Load = not_loaded
        for name in _REFUSED_GLOBALS:
            del self.globals[name]
        self.filters.update(BOUNDED_FILTERS)
        self.filters.update(_FILTERS)

    def getattr(self, obj: Any, attribute: str) -> Any:
        found = self._data_key(obj, attribute)
        if found is not MISSING:
            return found
        found = super().getattr(obj, attribute)
        return Method(found, obj, attribute) if callable(found) and not isinstance(found, Undefined) else found

    def getitem(self, obj: Any, argument: Any) -> Any:
        found = self._data_key(obj, argument)
        if found is not MISSING:
            return found
        if isinstance(argument, str):
            return self.getattr(obj, argument)
        try:
            return self._seen(obj[argument])
        except (TypeError, LookupError):
            return self.undefined(obj=obj, name=argument)

    def _data_key(self, obj: Any, key: Any) -> Any:
        """A data key beats a method of the same name."""
        kind = type(obj)
        if kind is dict:
            try:
                return self._seen(obj[key])
            except (KeyError, TypeError):
                return MISSING
        if isinstance(obj, (View, ResultList)):
            return obj.look(key) if isinstance(key, str) else MISSING
        if kind is Handle:
            return self._data_key(see_handle(obj, self.load), key)
        if kind is list and isinstance(key, str) and key in LIST_SELF_NAMES:
            return obj
        return MISSING

    def _seen(self, value: Any) -> Any:
        return see_handle(value, self.load) if type(value) is Handle else value

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return attr not in _REFUSED_METHODS and super().is_safe_attribute(obj, attr, value)

    def unsafe_undefined(self, obj: Any, attribute: str) -> Any:
        raise SecurityError(f"'{attribute}' of a {type(obj).__name__} is not offered in templates")

    def is_safe_callable(self, obj: Any) -> bool:
        if isinstance(obj, (Function, Macro, LoopContext)) or obj in (range, dict, Namespace) or getattr(obj, "__wrapped__", None) is not None:
            return True  # (a wrapped object is the sandbox's own str.format)
        if isinstance(obj, (MethodType, BuiltinMethodType)):
            return isinstance(obj.__self__, (*_NAMED_METHODS, LoopContext)) and super().is_safe_callable(obj)
        return obj is self.globals["range"] or obj is self.globals["dict"] or obj is self.globals["namespace"]

    def call(self, context: Context, obj: Any, *args: Any, **kwargs: Any) -> Any:
        assert isinstance(context, RenderContext)
        context.spend(_MACRO_TURNS if isinstance(obj, Macro) else 1)
        if not isinstance(obj, Method):
            return obj() if isinstance(obj, Undefined) else super().call(context, obj, *args, **kwargs)
        method = getattr(obj.bound, "__wrapped__", obj.bound)  # str.format is wrapped by the sandbox
        check_method(getattr(method, "__name__", ""), getattr(method, "__self__", None), args)
        return super().call(context, obj.bound, *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        check_operands(operator, left, right)
        return super().call_binop(context, operator, left, right)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        """Parse; every `for` counts its turns, every `~` its length; what needs other templates is refused."""
        template = super()._parse(source, name, filename)
        for loop in template.find_all(nodes.For):
            loop.iter = _filtered(loop.iter, "counted")
        for joined in template.find_all(nodes.Concat):
            joined.nodes = [_filtered(part, "measured") for part in joined.nodes]
        for choice in template.find_all(nodes.CondExpr):
            if choice.expr2 is None:  # what jinja makes of this is an unknown of another sort, which is none in depth
                choice.expr2 = nodes.Getattr(nodes.Const(None, lineno=choice.lineno), "else", "load", lineno=choice.lineno)
        for foreign in template.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends, nodes.Block)):
            raise TemplateSyntaxError(f"'{type(foreign).__name__.lower()}' is not offered in playbooks", foreign.lineno)
        return template


def _filtered(expression: Any, name: str) -> nodes.Filter:
    return nodes.Filter(expression, name, [], [], None, None, lineno=expression.lineno)


def printed(value: Any) -> Any:
    """What stands in a text for a value."""
    return whole(value, sandbox().load) if isinstance(value, (dict, list)) else value


def measured(value: Any) -> Any:
    """An operand of `~`."""
    text = str(printed(value))
    check_size(len(text), "'~'")
    return text


@pass_context
def counted(context: RenderContext, items: Iterable[Any]) -> Iterable[Any]:
    """What a `for` goes over."""
    return _Counted(context, items) if hasattr(items, "__len__") else _count(context, items)


class _Counted:
    """Keeps the length, which `loop.last` and `loop.length` ask for."""

    def __init__(self, context: RenderContext, items: Any) -> None:
        self._context = context
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Any]:
        return _count(self._context, self._items)


def _count(context: RenderContext, items: Iterable[Any]) -> Iterator[Any]:
    for item in items:
        context.spend()
        yield item


def to_json(value: Any, indent: int | None = None) -> str:
    """Plain JSON, for it goes into SQL and bodies: no HTML escapes."""
    if indent is not None and indent > _MAX_INDENT:
        raise SecurityError(f"an indent for 'tojson' may be at most {_MAX_INDENT}")
    return json.dumps(whole(value, sandbox().load), ensure_ascii=False, indent=indent, default=_json_leaf)


def _json_leaf(value: Any) -> Any:
    if isinstance(value, Undefined):
        return None
    return [settle(item) for item in value] if isinstance(value, Iterable) else str(value)


def b64_encode(value: Any) -> str:
    return base64.b64encode(str(value).encode()).decode("ascii")


def b64_decode(value: Any) -> str:
    return base64.b64decode(str(value)).decode()


_FILTERS: Final[Mapping[str, Callable[..., Any]]] = {
    "b64decode": b64_decode,
    "b64encode": b64_encode,
    "counted": counted,
    "fromjson": json.loads,
    "measured": measured,
    "string": lambda value: str(printed(value)),
    "tojson": to_json,
}


@functools.cache
def sandbox() -> Sandbox:
    """The process's environment. It holds no playbook's data."""
    return Sandbox()
