"""The author's source: how it wants to be called, which names it needs, and the code that Python makes of it.

Two forms (docs/reference/language.md, python). *main*: a top-level `def main` or `async def main` is called. *script*: the statements
run; a `return` at top level gives the result, otherwise the variable `result` does.
"""

from __future__ import annotations

import ast
import functools
import symtable
from collections.abc import Iterator
from types import CodeType
from typing import Final, NamedTuple

_SCOPES: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
_REFLECTION: Final = frozenset({"globals", "locals", "eval", "exec"})
_WRAPPER: Final = "noetl_script"
_CACHED: Final = 256


class Parameter(NamedTuple):
    name: str
    has_default: bool = False


class Shape(NamedTuple):
    """`parameters` are those of `main`, None for a script; `takes_rest`: it has a `**kwargs`."""

    parameters: tuple[Parameter, ...] | None
    takes_rest: bool = False
    reads_context: bool = False


class Program(NamedTuple):
    """`is_function`: the code is the body of a function (a script that returns), to be called; otherwise that of a module."""

    shape: Shape
    code: CodeType
    is_function: bool


@functools.lru_cache(_CACHED)
def names_needed(source: str) -> frozenset[str] | None:
    """The names of the scope that a call may look at: a set, or None for all that are visible.

    Raises:
        SyntaxError, ValueError: this is no Python.
    """
    shape = _shape(ast.parse(source))
    if shape.reads_context:
        return None
    return frozenset(parameter.name for parameter in shape.parameters or ())


@functools.lru_cache(_CACHED)
def compile_source(source: str, file: str) -> Program:
    """
    Raises:
        SyntaxError, ValueError: this is no Python.
    """
    tree = ast.parse(source, file)
    shape = _shape(tree)
    returns = shape.parameters is None and any(isinstance(node, ast.Return) for node in _own_nodes(tree))
    try:
        code = compile(_as_function(tree) if returns else tree, file, "exec", dont_inherit=True)
    except SyntaxError as error:
        error.text = _line(source, error.lineno)
        raise
    return Program(shape, _inner(code) if returns else code, returns)


def _shape(tree: ast.Module) -> Shape:
    main = next((node for node in reversed(tree.body) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name == "main"), None)
    parameters = None if main is None else tuple(_parameters(main.args))
    reads_context = any(isinstance(node, ast.Name) and (node.id == "context" or node.id in _REFLECTION) for node in ast.walk(tree))
    reads_context = reads_context or any(parameter.name == "context" for parameter in parameters or ())
    return Shape(parameters, main is not None and main.args.kwarg is not None, reads_context)


def _parameters(arguments: ast.arguments) -> Iterator[Parameter]:
    positional = [*arguments.posonlyargs, *arguments.args]
    first_default = len(positional) - len(arguments.defaults)
    for index, argument in enumerate(positional):
        yield Parameter(argument.arg, index >= first_default)
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        yield Parameter(argument.arg, default is not None)


def _own_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """What stands in the module's own scope, at any depth of `if`, `with`, `try`: not what is in functions and classes."""
    for node in ast.iter_child_nodes(tree):
        yield node
        if not isinstance(node, _SCOPES):
            yield from _own_nodes(node)


def _as_function(tree: ast.Module) -> ast.Module:
    """The script as the body of one function, in which every name is still a global: `return` works, and so does `value = int(value)`.

    An exception to carry the value out would be simpler, and wrong: `with` blocks would see a failure, and `except:` would catch it.
    """
    futures = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    wrapper = ast.parse(f"def {_WRAPPER}():\n    return result\n")
    function = wrapper.body[0]
    assert isinstance(function, ast.FunctionDef)
    at_top = _AtTop()
    function.body[:0] = [at_top.visit(node) for node in tree.body if node not in futures]
    wrapper.body[:0] = futures
    ast.fix_missing_locations(wrapper)
    names = _bound_names(wrapper)
    if names:
        function.body.insert(0, ast.Global(names, lineno=1, col_offset=0))
    return wrapper


def _bound_names(wrapper: ast.Module) -> list[str]:
    """The names that the script binds in its own scope, by the judgement of Python's compiler."""
    try:
        scopes = symtable.symtable(ast.unparse(wrapper), _WRAPPER, "exec").get_children()
    except SyntaxError:
        return []  # compile() will say the same, with the author's own lines
    return [name for scope in scopes if isinstance(scope, symtable.Function) and scope.get_name() == _WRAPPER for name in scope.get_locals()]


class _AtTop(ast.NodeTransformer):
    """Rewrites, in a script's own scope, what Python forbids for globals of a function."""

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.stmt:
        if node.value is None:
            return ast.copy_location(ast.Pass(), node)
        return ast.copy_location(ast.Assign([node.target], node.value), node)

    def visit_Global(self, node: ast.Global) -> ast.stmt:
        return ast.copy_location(ast.Pass(), node)

    def _leave(self, node: ast.AST) -> ast.AST:
        return node

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = visit_Lambda = _leave  # noqa: N815


def _inner(code: CodeType) -> CodeType:
    """The code of the wrapper function, called in tracebacks what it is for the author."""
    inner = next(constant for constant in code.co_consts if isinstance(constant, CodeType) and constant.co_name == _WRAPPER)
    return inner.replace(co_name="<module>", co_qualname="<module>")


def _line(source: str, number: int | None) -> str | None:
    lines = source.splitlines()
    return lines[number - 1] if number is not None and 0 < number <= len(lines) else None
