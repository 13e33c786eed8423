"""How a program is called: which value each parameter of `main` gets, which globals there are, what counts as the result."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from types import CoroutineType, FunctionType, ModuleType
from typing import Any, Final, NamedTuple

from noetl.tools.sandbox.source import Parameter, Program, Shape

LOOP_NAMES: Final = frozenset({"iter", "loop", "loop_index"})
TASK_MODULE: Final = "noetl_task"
"""What `__name__` is in code that has a `main`; in a script it is `__main__`, so that `if __name__ == "__main__":` runs."""
_MISSING: Final = object()
_PACKAGE: Final = re.compile(r"[A-Za-z0-9][\w.-]*")


class Scope(NamedTuple):
    """What a call is given. `context` holds the visible names of the playbook and is the mapping that the code sees under that name."""

    args: dict[str, Any]
    context: Mapping[str, Any]
    iterator: str | None = None


def perform(program: Program, scope: Scope, libs: Mapping[str, Any], execution_id: str) -> Any:
    """Run the program and return its result, as Python objects. What the code raises goes through."""
    module = ModuleType("__main__" if program.shape.parameters is None else TASK_MODULE)
    namespace = module.__dict__
    namespace |= {"args": scope.args, "input_data": scope.args, "context": scope.context, "execution_id": execution_id}
    namespace |= {name: value for name, value in scope.args.items() if not name.startswith("__")}
    namespace |= libs
    if program.code.co_filename.startswith("/"):  # a script file: it finds what lies beside it
        namespace["__file__"] = program.code.co_filename
    sys.modules[module.__name__] = module  # dataclasses and pickle look their module up
    if program.is_function:
        namespace.setdefault("result", None)
        return FunctionType(program.code, namespace)()
    exec(program.code, namespace)  # noqa: S102  the purpose of this process
    if program.shape.parameters is None:
        return namespace.get("result")
    return _call(namespace["main"], program.shape, scope)


def _call(main: Callable[..., Any], shape: Shape, scope: Scope) -> Any:
    value = main(**bind(shape, scope))
    if isinstance(value, CoroutineType):
        import asyncio  # noqa: PLC0415  30 ms that only coroutines need

        return asyncio.run(value)
    return value


def bind(shape: Shape, scope: Scope) -> dict[str, Any]:
    """The arguments of `main`, by name.

    Raises:
        TypeError: a parameter without a default has no value anywhere.
    """
    parameters = shape.parameters or ()
    is_sole = len(parameters) == 1 and not shape.takes_rest
    found = {parameter.name: _argument(parameter, scope, is_sole=is_sole) for parameter in parameters}
    rest = {name: value for name, value in scope.args.items() if name not in found} if shape.takes_rest else {}
    return rest | {name: value for name, value in found.items() if value is not _MISSING}


def _argument(parameter: Parameter, scope: Scope, *, is_sole: bool) -> Any:
    """In this order; a sole parameter gets an empty mapping only when there is nothing better."""
    name = parameter.name
    if name in scope.args:
        return scope.args[name]
    if scope.iterator is not None and (name == scope.iterator or name in LOOP_NAMES) and name in scope.context:
        return scope.context[name]
    if name == "input_data" or (is_sole and scope.args and name != "context"):
        return scope.args
    if name == "context":
        return scope.context
    if parameter.has_default:
        return _MISSING
    if name in scope.context:
        return scope.context[name]
    if is_sole:
        return scope.args
    raise TypeError(f"missing argument '{name}': main() needs it, and neither args ({', '.join(scope.args) or 'none'}) nor a visible name gives it")


def load_libs(libs: Any, warn: Callable[[str], None]) -> dict[str, Any]:
    """The modules that `libs` binds to names. A list only says what is expected: `warn` is told what is missing."""
    if isinstance(libs, Mapping):
        return {str(alias): _import(wanted) for alias, wanted in libs.items()}
    for package in _missing_packages(libs or ()):
        warn(f"libs: the package '{package}' is not installed where this step runs")
    return {}


def _import(wanted: Any) -> Any:
    if not isinstance(wanted, Mapping):
        return importlib.import_module(str(wanted))
    if "from" not in wanted:
        raise ValueError("libs: an alias needs the name of a module, or a mapping with 'from' and 'import'")
    module, name = str(wanted["from"]), wanted.get("import")
    found = importlib.import_module(module)
    if name is None:
        return found
    return getattr(found, str(name)) if hasattr(found, str(name)) else importlib.import_module(f"{module}.{name}")


def _missing_packages(packages: Any) -> Iterator[str]:
    for package in [packages] if isinstance(packages, str) else packages:
        match = _PACKAGE.match(str(package).strip())
        if match is not None and not _is_installed(match[0]):
            yield match[0]


def _is_installed(package: str) -> bool:
    """Under the name by which it is imported, or that by which it is installed."""
    if importlib.util.find_spec(package.replace("-", "_").partition(".")[0]) is not None:
        return True
    from importlib import metadata  # noqa: PLC0415  slow to import

    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True
