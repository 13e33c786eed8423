"""Python code in a playbook: does it compile?"""

from __future__ import annotations

import ast
import warnings

from noetl.dsl.read.reader import Reader
from noetl.dsl.template import is_code_template


def check_sources(read: Reader) -> None:
    """A warning for each code that is no Python. Code with templates is not looked at: what it will be is not known yet."""
    for source in read.sources:
        if not isinstance(source.value, str) or is_code_template(source.value):
            continue
        wrong = _syntax_error(source.value)
        if wrong is not None:
            message, line = wrong
            read.warn(source.place(line), f"python: {message}", key="code")


def _syntax_error(code: str) -> tuple[str, int] | None:
    """The message and the line, from 0. A `return` outside of a function is allowed."""
    try:
        with warnings.catch_warnings(action="ignore"):
            ast.parse(code)
    except SyntaxError as error:
        return error.msg, (error.lineno or 1) - 1
    except (ValueError, RecursionError, MemoryError) as error:
        return str(error) or "too complex", 0
    return None
