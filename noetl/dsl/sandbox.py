"""The Jinja2 environment of playbooks: sandboxed, limited by counting, with the look-up rule of results.

Nothing interrupts a render, since it runs on the event loop; so what it may do is counted: iterations, output, and the sizes that `*`, `**`, `%` and
the padding methods of text can make.
"""

from __future__ import annotations

import base64
import functools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import BuiltinMethodType, MethodType
from typing import Any, Final

from jinja2 import ChainableUndefined, nodes, pass_context
from jinja2.exceptions import SecurityError, TemplateSyntaxError
from jinja2.runtime import Context, LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace, missing

from noetl.dsl.lookup import LIST_SELF_NAMES, MISSING, Load, ResultList, View, not_loaded, see_handle, settle
from noetl.values import Handle

MAX_ITERATIONS: Final = 1_000_000
MAX_SIZE: Final = 32 * 1024 * 1024
_MAX_EXPONENT: Final = 4_096

_PADDING: Final = frozenset({"ljust", "rjust", "center", "zfill", "expandtabs"})
_NAMED_METHODS: Final = (str, list, dict, int, float, View, ResultList)
_WIDE: Final = re.compile(r"%[^a-zA-Z%]*(?:\d{6,}|\*)")
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


class RenderContext(Context):
    """Resolves names when they are asked for, and counts."""

    def __init__(self, environment: Sandbox, names: Mapping[str, Any]) -> None:
        super().__init__(environment, {}, None, {})
        self._names = names
        self._globals = environment.globals
        self.iterations = 0

    def resolve_or_missing(self, key: str) -> Any:
        if key in self.vars:
            return self.vars[key]
        found = self._names.get(key, MISSING)
        return self._globals.get(key, missing) if found is MISSING else found


class Sandbox(ImmutableSandboxedEnvironment):
    """One per process: compiled templates refer to it. `load` serves the render that is under way (renders do not interleave)."""

    intercepted_binops = frozenset({"*", "**", "%"})
    context_class = RenderContext

    def __init__(self) -> None:
        super().__init__(undefined=Missing, keep_trailing_newline=True, autoescape=False, extensions=())
        self.load: Load = not_loaded
        for name in _REFUSED_GLOBALS:
            del self.globals[name]
        self.filters.update(_FILTERS)
        self.filters["counted"] = counted

    def getattr(self, obj: Any, attribute: str) -> Any:
        found = self._data_key(obj, attribute)
        return super().getattr(obj, attribute) if found is MISSING else found

    def getitem(self, obj: Any, argument: Any) -> Any:
        found = self._data_key(obj, argument)
        if found is not MISSING:
            return found
        if isinstance(argument, str):
            return super().getattr(obj, argument)
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

    def unsafe_undefined(self, obj: Any, attribute: str) -> Any:
        raise SecurityError(f"'{attribute}' of a {type(obj).__name__} is not offered in templates")

    def is_safe_callable(self, obj: Any) -> bool:
        if isinstance(obj, (Function, Macro, LoopContext)) or obj in (range, dict, Namespace) or getattr(obj, "__wrapped__", None) is not None:
            return True  # (a wrapped object is the sandbox's own str.format)
        if isinstance(obj, (MethodType, BuiltinMethodType)):
            return isinstance(obj.__self__, (*_NAMED_METHODS, LoopContext)) and super().is_safe_callable(obj)
        return obj is self.globals["range"] or obj is self.globals["dict"] or obj is self.globals["namespace"]

    def call(self, context: Context, obj: Any, *args: Any, **kwargs: Any) -> Any:
        method = getattr(obj, "__name__", "")
        if method in _PADDING and any(isinstance(arg, int) and arg > MAX_SIZE for arg in args):
            raise SecurityError(f"'{method}' would make a text of more than {MAX_SIZE} characters")
        if method in ("replace", "join") and isinstance(getattr(obj, "__self__", None), str):
            _check_growth(obj.__self__, method, args)
        return super().call(context, obj, *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "*":
            _check_product(left, right)
        elif operator == "**":
            _check_power(left, right)
        elif isinstance(left, str):
            _check_format(left)
        return super().call_binop(context, operator, left, right)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        """Parse; every `for` counts its iterations; what needs other templates is refused."""
        template = super()._parse(source, name, filename)
        for loop in template.find_all(nodes.For):
            loop.iter = nodes.Filter(loop.iter, "counted", [], [], None, None, lineno=loop.lineno)
        for foreign in template.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends, nodes.Block)):
            raise TemplateSyntaxError(f"'{type(foreign).__name__.lower()}' is not offered in playbooks", foreign.lineno)
        return template


def _check_product(left: Any, right: Any) -> None:
    for sequence, times in ((left, right), (right, left)):
        if isinstance(sequence, (str, list, tuple)) and isinstance(times, int) and len(sequence) * times > MAX_SIZE:
            raise SecurityError(f"'*' would make more than {MAX_SIZE} elements")
    if isinstance(left, int) and isinstance(right, int) and left.bit_length() + right.bit_length() > _MAX_EXPONENT * 8:
        raise SecurityError("'*' would make a number that is too large")


def _check_power(left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int) and abs(right) * max(1, left.bit_length()) > _MAX_EXPONENT * 8:
        raise SecurityError("'**' would make a number that is too large")


def _check_format(text: str) -> None:
    if _WIDE.search(text):
        raise SecurityError("a width in a % format may have at most 5 digits")


def format_percent(value: Any, *args: Any, **kwargs: Any) -> str:
    _check_format(str(value))
    return str(value) % (kwargs or args)


def _check_growth(text: str, method: str, args: tuple[Any, ...]) -> None:
    if method == "replace" and len(args) >= 2 and isinstance(args[0], str) and isinstance(args[1], str):
        size = len(text) + text.count(args[0]) * len(args[1])
    elif method == "join" and args and isinstance(args[0], (list, tuple)):
        size = len(text) * len(args[0])
    else:
        return
    if size > MAX_SIZE:
        raise SecurityError(f"'{method}' would make a text of more than {MAX_SIZE} characters")


@pass_context
def counted(context: RenderContext, items: Iterable[Any]) -> Iterable[Any]:
    """The loops of one render share one budget of iterations."""
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
        context.iterations += 1
        if context.iterations > MAX_ITERATIONS:
            raise SecurityError(f"the template's loops take more than {MAX_ITERATIONS} turns")
        yield item


def to_json(value: Any, indent: int | None = None) -> str:
    """Plain JSON, for it goes into SQL and bodies: no HTML escapes."""
    return json.dumps(settle(value), ensure_ascii=False, indent=indent, default=_json_leaf)


def _json_leaf(value: Any) -> Any:
    if isinstance(value, Missing):
        return None
    if isinstance(value, Handle):
        return settle(sandbox().load(value))
    if isinstance(value, (View, ResultList)):
        return settle(value)
    if isinstance(value, Iterable):
        return list(value)
    return str(value)


def b64_encode(value: Any) -> str:
    return base64.b64encode(str(value).encode()).decode("ascii")


def b64_decode(value: Any) -> str:
    return base64.b64decode(str(value)).decode()


_FILTERS: Final[Mapping[str, Callable[..., Any]]] = {
    "b64decode": b64_decode,
    "b64encode": b64_encode,
    "format": format_percent,
    "fromjson": json.loads,
    "tojson": to_json,
}


@functools.cache
def sandbox() -> Sandbox:
    """The process's environment. It holds no playbook's data."""
    return Sandbox()
