"""How the inside of an actor may be shown to people: without secrets, and never more than a few lines of it. Pure."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Callable, Iterator
from typing import Any, Final

MASK: Final = "***"
_SECRET_NAME: Final = re.compile(r"passw|secret|api_?key|credential|private_?key|authorization|token$", re.IGNORECASE)
_TEXT_CHARS: Final = 200
_LOOKED_AT_CHARS: Final = 65_536
"""Of a long text; what is shown is cut from this after the secrets were taken out, so that no part of one is left at the cut."""
_ITEMS: Final = 8
_DEPTH: Final = 3


class Redactor(reprlib.Repr):
    """A `repr` of bounded size. `scrub` takes known secrets out of a text; what stands under a name that looks secret is masked."""

    def __init__(self, scrub: Callable[[str], str] = str) -> None:
        super().__init__()
        self._scrub = scrub
        self.maxlevel = _DEPTH
        self.maxdict = self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = self.maxdeque = _ITEMS

    def text(self, text: str, chars: int = _TEXT_CHARS) -> str:
        """The beginning of a text."""
        shown = self._scrub(text[:_LOOKED_AT_CHARS])
        return shown if len(shown) <= chars else f"{shown[:chars]}… ({len(text):,} characters)"

    def fields(self, names: Iterator[tuple[str, Any]], level: int = _DEPTH) -> dict[str, str]:
        return {name: MASK if _SECRET_NAME.search(name) else self.repr1(value, level) for name, value in names}

    def repr_str(self, x: str, level: int) -> str:
        return self.text(repr(x[:_LOOKED_AT_CHARS]))

    def repr_bytes(self, x: bytes, level: int) -> str:
        return f"<{len(x):,} bytes>"

    def repr_int(self, x: int, level: int) -> str:
        return repr(x) if x.bit_length() < 512 else f"<int of {x.bit_length():,} bits>"

    def repr_dict(self, x: dict[Any, Any], level: int) -> str:
        if level <= 0:
            return "{…}" if x else "{}"
        shown = [
            f"{self.repr1(key, level - 1)}: {MASK if isinstance(key, str) and _SECRET_NAME.search(key) else self.repr1(value, level - 1)}"
            for key, value in list(x.items())[:_ITEMS]
        ]
        return "{" + ", ".join([*shown, *(["…"] if len(x) > _ITEMS else [])]) + "}"

    def repr_instance(self, x: Any, level: int) -> str:
        names = (
            getattr(type(x), "__struct_fields__", None) or getattr(type(x), "__match_args__", None) or tuple(getattr(x, "__dataclass_fields__", ()))
        )
        if names and not isinstance(x, BaseException):
            if level <= 0:
                return f"{type(x).__name__}(…)"
            fields = self.fields(((name, getattr(x, name, None)) for name in names[:_ITEMS]), level - 1)
            return f"{type(x).__name__}({', '.join(f'{name}={text}' for name, text in fields.items())})"
        try:
            return self.text(repr(x))
        except Exception as error:  # noqa: BLE001  whatever an author's __repr__ does: a report is made of it
            return f"<{type(x).__name__}, whose repr raises {type(error).__name__}>"
