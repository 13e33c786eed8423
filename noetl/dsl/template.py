"""Templates: compile once, render over names that are resolved on demand, keep types.

A text that is exactly one `{{ expression }}` yields the expression's value with its type; any other text yields text. Unknown names are undefined,
not errors (docs/reference/language.md, section 2.2).
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any, Final, Protocol

from jinja2 import TemplateError as JinjaError
from jinja2 import Undefined, meta, nodes
from jinja2.environment import Template as JinjaTemplate
from jinja2.exceptions import TemplateSyntaxError

from noetl.dsl.bounds import MAX_SIZE
from noetl.dsl.lookup import Load, NotThere, ResultList, View, not_loaded, settle
from noetl.dsl.sandbox import RenderContext, sandbox
from noetl.errors import TemplateError
from noetl.values import INT_MAX, INT_MIN, Handle, Sealed

TRUE_TEXTS: Final = frozenset({"true", "1", "yes"})

Names = Mapping[str, Any]


class Renderable(Protocol):
    """Something that gives a value over names. `load` fetches artifacts, or raises `NotLoaded`."""

    def render(self, names: Names, load: Load = not_loaded) -> Any: ...


class Constant:
    """A value without templates."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def render(self, names: Names, load: Load = not_loaded) -> Any:
        return self.value


class Expression:
    """A sole `{{ expression }}`: its value."""

    __slots__ = ("_passes", "_root", "source")

    def __init__(self, source: str, expression: nodes.Expr) -> None:
        environment = sandbox()
        target = nodes.Assign(nodes.Name("result", "store", lineno=1), expression, lineno=1)
        module = nodes.Template([target], lineno=1)
        module.set_environment(environment)
        self.source = source
        self._passes = _passes_data_through(expression)
        self._root = _compiled(module)

    def render(self, names: Names, load: Load = not_loaded) -> Any:
        context = _run(self._root, names, load, self.source)
        value = context.vars["result"]
        if self._passes and isinstance(value, (dict, list)):  # an unchanged piece of the data: nothing inside to take off
            return value
        if isinstance(value, (View, ResultList)):
            return value.plain()
        return _data(value)


class Text:
    """Anything else with a template in it: text."""

    __slots__ = ("_root", "source")

    def __init__(self, source: str, module: nodes.Template) -> None:
        self.source = source
        self._root = _compiled(module)

    def render(self, names: Names, load: Load = not_loaded) -> str:
        chunks: list[str] = []
        _run(self._root, names, load, self.source, chunks)
        return "".join(chunks)


class Tree:
    """A mapping with templates somewhere below, keys included."""

    __slots__ = ("_items",)

    def __init__(self, items: tuple[tuple[Renderable, Renderable], ...]) -> None:
        self._items = items

    def render(self, names: Names, load: Load = not_loaded) -> dict[str, Any]:
        rendered: dict[str, Any] = {}
        for key, value in self._items:
            name = str(key.render(names, load))
            try:
                rendered[name] = value.render(names, load)
            except TemplateError as error:
                error.within(name)
                raise
        return rendered


class Row:
    """A list with templates somewhere below."""

    __slots__ = ("_items",)

    def __init__(self, items: tuple[Renderable, ...]) -> None:
        self._items = items

    def render(self, names: Names, load: Load = not_loaded) -> list[Any]:
        rendered: list[Any] = []
        for item in self._items:
            try:
                rendered.append(item.render(names, load))
            except TemplateError as error:
                error.within(f"[{len(rendered)}]")
                raise
        return rendered


def compile_raw(raw: Any) -> Renderable:
    """The renderable form of JSON-like data with templates in its texts.

    Raises:
        TemplateError: a template does not parse.
    """
    if isinstance(raw, str):
        return compile_text(raw)
    if isinstance(raw, Mapping):
        pairs = tuple((compile_raw(key), compile_raw(value)) for key, value in raw.items())
        return Constant(raw) if all(_constant(key) and _constant(value) for key, value in pairs) else Tree(pairs)
    if isinstance(raw, (list, tuple)):
        items = tuple(compile_raw(item) for item in raw)
        return Constant(raw) if all(_constant(item) for item in items) else Row(items)
    return Constant(raw)


def compile_text(text: str) -> Renderable:
    if not has_template(text):
        return Constant(text)
    return _compile_text(text)


def compile_code(raw: Any) -> Renderable:
    """Source text of another language, or a list of such texts: rendered where it has `{{` and is a template, else as it is."""
    if isinstance(raw, (list, tuple)):
        return Row(tuple(compile_code(item) for item in raw))
    try:
        return compile_text(raw) if isinstance(raw, str) and is_code_template(raw) else Constant(raw)
    except TemplateError:
        return Constant(raw)


def compile_guard(raw: Any) -> Renderable:
    """A guard: a text without `{{ }}` is one expression; anything that is no text is itself."""
    if isinstance(raw, str) and not has_template(raw):
        return _compile_text("{{ " + raw + " }}")
    return compile_raw(raw)


def holds(value: Any) -> bool:
    """Whether a rendered guard is true: true, a number that is not zero, a list or mapping that is not empty, the texts true, 1, yes."""
    if isinstance(value, str):
        return value.strip().lower() in TRUE_TEXTS
    if isinstance(value, Handle):  # a large text is none of those
        return value.data.shape != "text" and value.data.length != 0
    return bool(value)


def has_template(text: str) -> bool:
    return "{{" in text or "{%" in text


def is_code_template(text: str) -> bool:
    """Whether source text of another language may be a template: `{%` is common in code."""
    return "{{" in text


def syntax_error(text: str) -> tuple[str, int] | None:
    """What is wrong with a template, and in which of its lines (from 0); None when it can be rendered."""
    try:
        if len(text) > _PLAIN_CHARS or "{%" in text:
            compile_text(text)
        elif has_template(text):
            return _unknown_filter(_parse(text))
    except TemplateError as error:
        return error.message, (error.line or 1) - 1
    return None


_PLAIN_CHARS: Final = 200
"""A text that is no longer and has no blocks can't be nested too deeply for Python: it can be compiled if it parses, and need not be to know that."""


def _unknown_filter(module: nodes.Template) -> tuple[str, int] | None:
    for call in module.find_all((nodes.Filter, nodes.Test)):
        word, known = ("filter", sandbox().filters) if isinstance(call, nodes.Filter) else ("test", sandbox().tests)
        if call.name not in known:
            return f"No {word} named '{call.name}'.", call.lineno - 1
    return None


def guard_error(text: str) -> tuple[str, int] | None:
    """`syntax_error` of a guard."""
    return syntax_error(text if has_template(text) else "{{ " + text + " }}")


def names(raw: Any) -> frozenset[str]:
    """The root names that the templates below `raw` read. A template that does not parse reads none."""
    return frozenset().union(*(_text_names(text) for text in _texts(raw)))


def guard_names(raw: Any) -> frozenset[str]:
    return _text_names("{{ " + raw + " }}") if isinstance(raw, str) and not has_template(raw) else names(raw)


def paths(raw: Any) -> frozenset[tuple[str, ...]]:
    """The attribute paths that the templates below `raw` read, such as ('workload', 'pg_auth'); the longest constant part of each."""
    return frozenset().union(*(_text_paths(text) for text in _texts(raw)))


def guard_paths(raw: Any) -> frozenset[tuple[str, ...]]:
    return _text_paths("{{ " + raw + " }}") if isinstance(raw, str) and not has_template(raw) else paths(raw)


def _texts(raw: Any) -> Iterator[str]:
    if isinstance(raw, str):
        if has_template(raw):
            yield raw
    elif isinstance(raw, Mapping):
        for key, value in raw.items():
            yield from _texts(key)
            yield from _texts(value)
    elif isinstance(raw, (list, tuple)):
        for item in raw:
            yield from _texts(item)


@functools.lru_cache(maxsize=4096)
def _compile_text(text: str) -> Renderable:
    module = _parse(text)
    sole = _sole_expression(text)
    return Text(text, module) if sole is None else Expression(text, sole)


@functools.lru_cache(maxsize=1024)
def _parse(text: str) -> nodes.Template:
    try:
        return sandbox().parse(text)
    except TemplateSyntaxError as error:
        raise TemplateError(error.message or "does not parse", line=error.lineno) from error
    except RecursionError as error:
        raise TemplateError("is nested too deeply", line=1) from error


def _sole_expression(text: str) -> nodes.Expr | None:
    stripped = text.strip()
    if not (stripped.startswith("{{") and stripped.endswith("}}")):
        return None
    body = _parse(stripped).body
    if len(body) != 1 or not isinstance(body[0], nodes.Output) or len(body[0].nodes) != 1:
        return None
    expression = body[0].nodes[0]
    return None if isinstance(expression, nodes.TemplateData) else expression


def _compiled(module: nodes.Template) -> Any:
    """The root function of a parsed template."""
    environment = sandbox()
    try:
        python = environment._generate(module, None, None)  # noqa: SLF001  the documented pieces compile text only, and a sole expression is a tree
        code = environment._compile(python, "<template>")  # noqa: SLF001
    except TemplateSyntaxError as error:
        raise TemplateError(error.message or "does not parse", line=error.lineno) from error
    except (RecursionError, SyntaxError, MemoryError) as error:
        raise TemplateError(f"can't be compiled: {error}", line=1) from error
    return JinjaTemplate.from_code(environment, code, {}, None).root_render_func


def _run(root: Any, names: Names, load: Load, source: str, chunks: list[str] | None = None) -> RenderContext:
    environment = sandbox()
    context = RenderContext(environment, names)
    before, environment.load = environment.load, load
    try:
        size = 0
        for chunk in root(context):
            size += len(chunk)
            if size > MAX_SIZE:
                raise TemplateError(f"the text grows beyond {MAX_SIZE} characters")
            if chunks is not None:
                chunks.append(chunk)
    except (NotThere, TemplateError):
        raise
    except JinjaError as error:
        raise TemplateError(f"{error.message or error}: in {_short(source)}") from error
    except Exception as error:  # whatever a filter or method raises on the author's data is the template's error
        raise TemplateError(f"{type(error).__name__}: {error}: in {_short(source)}") from error
    finally:
        environment.load = before
    return context


def _short(source: str) -> str:
    line = " ".join(source.split())
    return line if len(line) <= 120 else line[:119] + "…"


def _constant(item: Renderable) -> bool:
    return isinstance(item, Constant)


def _passes_data_through(expression: nodes.Node) -> bool:
    """Whether the value is a piece of the data as it lies there: a name followed by keys."""
    while isinstance(expression, (nodes.Getattr, nodes.Getitem)):
        expression = expression.node
    return isinstance(expression, nodes.Name)


def _data(value: Any) -> Any:
    """JSON-like data of what an expression gave."""
    value = settle(value)
    if isinstance(value, dict):
        return {key if isinstance(key, str) else str(key): _data(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_data(item) for item in value]
    if isinstance(value, Undefined):
        return None
    if hasattr(value, "__next__") or type(value).__name__ in _LISTED:
        return [_data(item) for item in value]
    return _leaf(value)


_LISTED: Final = frozenset({"dict_keys", "dict_values", "dict_items", "range", "set", "frozenset"})


def _leaf(value: Any) -> Any:
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int) and not INT_MIN <= value <= INT_MAX:
        raise TemplateError(f"a number of {value.bit_length()} bits is too large: values hold 64")
    if value is None or isinstance(value, (int, float, Handle, Sealed)):
        return value
    raise TemplateError(f"a {type(value).__name__} is no value; what a template can call needs its parentheses, as in now()")


@functools.lru_cache(maxsize=4096)
def _text_names(text: str) -> frozenset[str]:
    try:
        return frozenset(meta.find_undeclared_variables(_parse(text)))
    except (TemplateError, JinjaError):
        return frozenset()


@functools.lru_cache(maxsize=4096)
def _text_paths(text: str) -> frozenset[tuple[str, ...]]:
    try:
        module = _parse(text)
    except TemplateError:
        return frozenset()
    roots = _text_names(text)
    found: set[tuple[str, ...]] = set()
    _collect_paths(module, roots, found)
    return frozenset(found)


def _collect_paths(node: nodes.Node, roots: frozenset[str], found: set[tuple[str, ...]]) -> None:
    path = _constant_path(node)
    if path is not None:
        if path[0] in roots:
            found.add(path)
        return
    for child in node.iter_child_nodes():
        _collect_paths(child, roots, found)


def _constant_path(node: nodes.Node) -> tuple[str, ...] | None:
    if isinstance(node, nodes.Name):
        return (node.name,)
    if isinstance(node, nodes.Getattr):
        below = _constant_path(node.node)
        return None if below is None else (*below, node.attr)
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str):
        below = _constant_path(node.node)
        return None if below is None else (*below, node.arg.value)
    return None
