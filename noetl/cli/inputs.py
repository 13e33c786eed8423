"""What a person types for `--payload` and `--set`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
import msgspec

from noetl.values import encode


def payload_of(text: str | None, assignments: Iterable[str]) -> dict[str, Any]:
    """The payload: a JSON object or `@file`, with `a.b=value` laid over it.

    Raises:
        click.UsageError: it is no JSON object, an assignment is none, or holds what no playbook can be given.
    """
    try:
        payload = _object(text) if text is not None else {}
        for assignment in assignments:
            _assign(payload, assignment)
        encode(payload)
    except OverflowError:
        raise click.UsageError("the payload has a whole number of more than 64 bits: write it as text") from None
    except UnicodeEncodeError:
        raise click.UsageError("the payload has a text that is not UTF-8") from None
    except RecursionError:
        raise click.UsageError("the payload is nested too deeply") from None
    return payload


def _object(text: str) -> dict[str, Any]:
    source, content = "--payload", text
    if text.startswith("@"):
        source = f"--payload {text}"
        content = _read(Path(text[1:]), source)
    try:
        payload = msgspec.json.decode(content)
    except msgspec.DecodeError as error:
        raise click.UsageError(f"{source}: not JSON: {error}") from error
    if not isinstance(payload, dict):
        raise click.UsageError(f"{source}: must be a JSON object, not {_kind(payload)}")
    return payload


def _read(file: Path, source: str) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise click.UsageError(f"{source}: can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise click.UsageError(f"{source}: is not UTF-8 text") from error


def _assign(payload: dict[str, Any], assignment: str) -> None:
    path, equals, text = assignment.partition("=")
    keys = path.split(".")
    if not equals or not all(keys):
        raise click.UsageError(f"--set {assignment}: must be KEY=VALUE, such as --set limits.max=5")
    inner = payload
    for key in keys[:-1]:
        inner = inner.setdefault(key, {})
        if not isinstance(inner, dict):
            raise click.UsageError(f"--set {assignment}: '{key}' is {_kind(inner)}, not an object")
    inner[keys[-1]] = _value(text)


def _value(text: str) -> Any:
    """JSON if it is, else the text itself."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def _kind(value: Any) -> str:
    return {list: "a list", str: "a text", bool: "a boolean", type(None): "null"}.get(type(value), "a number")
