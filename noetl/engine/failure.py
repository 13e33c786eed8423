"""The errors that the engine itself makes, and how an error says where it happened. Kinds: docs/reference/language.md, section 7.2."""

from __future__ import annotations

from typing import Any

from noetl.engine.state import Frame
from noetl.errors import TemplateError

Error = dict[str, Any]


def failure(kind: str, message: str, **more: Any) -> Error:
    return {"kind": kind, "message": message, "retryable": False, **more}


def template_failure(error: TemplateError, step: str, field: str | None = None) -> Error:
    """Names the field and the expression."""
    place = error.path if field is None else field if error.path is None else f"{field}.{error.path}"
    message = error.message if place is None else f"{place}: {error.message}"
    return failure("template", message, step=step, field=place)


def located(error: Error, step: str, frame: Frame) -> Error:
    """The error with the step, task and attempt that it came from."""
    return {"step": step, "task": frame.current_task, "attempt": frame.attempt, **error}
