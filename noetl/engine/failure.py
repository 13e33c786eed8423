"""The errors that the engine itself makes, and how an error says where it happened. Kinds: docs/reference/language.md, section 7.2."""

from __future__ import annotations

from typing import Any

from noetl.engine.state import Frame
from noetl.errors import TemplateError

Error = dict[str, Any]


def failure(kind: str, message: str, **more: Any) -> Error:
    return {"kind": kind, "message": message, "retryable": False, **more}


def template_failure(error: TemplateError, step: str) -> Error:
    """Names the field and the expression."""
    return {**unrendered(error), "step": step}


def unrendered(error: TemplateError) -> Error:
    message = error.message if error.path is None else f"{error.path}: {error.message}"
    return failure("template", message, field=error.path)


def located(error: Error, step: str, frame: Frame) -> Error:
    """The error with the step, task and attempt that it came from."""
    return {"step": step, "task": frame.current_task, "attempt": frame.attempt, **error}
