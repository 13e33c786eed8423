"""How large a template may make a value: what an operator, a method or a filter would make is counted before it is made.

Nothing interrupts a render, since it runs on the event loop.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from jinja2 import pass_eval_context
from jinja2.exceptions import SecurityError
from jinja2.filters import FILTERS, do_join, make_attrgetter
from jinja2.nodes import EvalContext

MAX_SIZE: Final = 32 * 1024 * 1024
"""Characters of a text, elements of a list."""
_MAX_BITS: Final = 32_768
_MAX_WIDTH: Final = 99_999
_WIDE_PERCENT: Final = re.compile(r"%[^a-zA-Z%]*(?:\d{6,}|\*)")
_WIDE_BRACES: Final = re.compile(r":[^{}]*(?:\d{6,}|\{)")
_PADDING: Final = frozenset({"ljust", "rjust", "center", "zfill", "expandtabs"})


def check_operands(operator: str, left: Any, right: Any) -> None:
    """Raises `SecurityError`."""
    if operator == "+":
        _check_sum(left, right)
    elif operator == "*":
        _check_product(left, right)
    elif operator == "**":
        _check_power(left, right)
    elif isinstance(left, str):
        check_percent(left)


def _check_sum(left: Any, right: Any) -> None:
    if isinstance(left, (str, list, tuple)) and isinstance(right, (str, list, tuple)):
        check_size(len(left) + len(right), "'+'")


def _check_product(left: Any, right: Any) -> None:
    for sequence, times in ((left, right), (right, left)):
        if isinstance(sequence, (str, list, tuple)) and isinstance(times, int):
            check_size(len(sequence) * times, "'*'")
    if isinstance(left, int) and isinstance(right, int) and left.bit_length() + right.bit_length() > _MAX_BITS:
        raise SecurityError("'*' would make a number that is too large")


def _check_power(left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int) and abs(right) * max(1, left.bit_length()) > _MAX_BITS:
        raise SecurityError("'**' would make a number that is too large")


def check_percent(text: str) -> None:
    """The text on the left of `%`."""
    if _WIDE_PERCENT.search(text):
        raise SecurityError("a width in a % format may have at most 5 digits")


def check_method(method: str, of: Any, args: tuple[Any, ...]) -> None:
    """The call of a text's method."""
    if method in _PADDING and any(isinstance(arg, int) and arg > _MAX_WIDTH for arg in args):
        raise SecurityError(f"a width for '{method}' may have at most 5 digits")
    if not isinstance(of, str):
        return
    if method == "format" and _WIDE_BRACES.search(of):
        raise SecurityError("a width in a format may have at most 5 digits, and none that is itself a value")
    if method == "replace" and len(args) >= 2:
        check_size(_replaced(of, *args[:2]), "'replace'")
    elif method == "join" and args and isinstance(args[0], (list, tuple)):
        check_size(_joined(args[0], of), "'join'")


def check_size(size: int, what: str) -> None:
    if size > MAX_SIZE:
        raise SecurityError(f"{what} would make more than {MAX_SIZE} characters or elements")


def _replaced(s: Any, old: Any, new: Any, count: Any = None) -> int:
    text, new = str(s), str(new)
    return len(text) + text.count(str(old)) * len(new)


def _joined(items: Iterable[Any], separator: Any) -> int:
    return sum((len(item) if isinstance(item, str) else 1) + len(str(separator)) for item in items)


def _indented(s: Any, width: Any = 4, first: bool = False, blank: bool = False) -> int:
    text = str(s)
    return len(text) + (text.count("\n") + 1) * (width if isinstance(width, int) else len(width))


def _centred(value: Any, width: int = 80) -> int:
    return max(len(str(value)), width)


def _batched(value: Any, linecount: int, fill_with: Any = None) -> int:
    return linecount if fill_with is not None else 0


def _sliced(value: Any, slices: int, fill_with: Any = None) -> int:
    return slices


_SIZES: Final[Mapping[str, Callable[..., int]]] = {
    "batch": _batched,
    "center": _centred,
    "indent": _indented,
    "replace": _replaced,
    "slice": _sliced,
}
"""Filter -> about how much it makes of its arguments, which have the names that it gives them."""


def _bounded(name: str, size_of: Callable[..., int]) -> Callable[..., Any]:
    """Jinja's filter, refusing what would become too large."""
    original = FILTERS[name]
    skipped = 1 if hasattr(original, "jinja_pass_arg") else 0

    @functools.wraps(original)
    def filter_(*args: Any, **kwargs: Any) -> Any:
        check_size(size_of(*args[skipped:], **kwargs), f"'{name}'")
        return original(*args, **kwargs)

    return filter_


@pass_eval_context
def _join(eval_ctx: EvalContext, value: Iterable[Any], d: str = "", attribute: str | int | None = None) -> str:
    items = list(value if attribute is None else map(make_attrgetter(eval_ctx.environment, attribute), value))
    check_size(_joined(items, d), "'join'")
    joined: str = do_join(eval_ctx, items, d)
    return joined


def _percent(value: Any, *args: Any, **kwargs: Any) -> str:
    check_percent(str(value))
    return str(value) % (kwargs or args)


BOUNDED_FILTERS: Final[Mapping[str, Callable[..., Any]]] = {
    **{name: _bounded(name, size_of) for name, size_of in _SIZES.items()},
    "format": _percent,
    "join": _join,
}
