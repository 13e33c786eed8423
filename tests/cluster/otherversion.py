"""The command line of another version of NoETL: `python otherversion.py FORMAT VERSION node start …`.

It reads formats up to FORMAT. It says more than we know, a field more in every message and every event, and less: nothing that has its default.
"""

from __future__ import annotations

import sys
from typing import Any

import msgspec

import noetl

FIELD = "from_another_version"


def talkative(encoder: type[Any]) -> type[Any]:
    class Encoder:
        """Of another version, in what is outermost."""

        def __init__(self, **options: Any) -> None:
            self._encoder = encoder(**options)

        def encode(self, value: Any) -> Any:
            if isinstance(value, tuple):
                return self._encoder.encode([self._said(each) for each in value])
            return self._encoder.encode(self._said(value))

        def _said(self, value: Any) -> Any:
            if not isinstance(value, msgspec.Struct):
                return value
            said = msgspec.msgpack.decode(self._encoder.encode(value))
            if not isinstance(said, dict):
                return value
            for field in msgspec.structs.fields(value):
                if field.default is not msgspec.NODEFAULT and getattr(value, field.name) == field.default:
                    said.pop(field.encode_name, None)
            return {**said, FIELD: 1}

    return Encoder


def pretend(format_: int, version: str) -> None:
    """Before anything else is imported: modules take these names, and make their encoders, when they are."""
    noetl.__version__ = version
    made = talkative(msgspec.msgpack.Encoder)
    msgspec.msgpack.Encoder = made  # type: ignore[misc]
    msgspec.msgpack.encode = lambda value, **options: made(**options).encode(value)
    from noetl.engine import evolve

    evolve.FORMAT = format_  # type: ignore[misc]


if __name__ == "__main__":
    _, given_format, given_version, *rest = sys.argv
    pretend(int(given_format), given_version)
    sys.argv = ["noetl", *rest]
    from noetl.__main__ import main

    main()
