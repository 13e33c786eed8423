"""What a kind of tool takes and gives, as JSON Schema: from the very struct that its fields are converted to."""

from __future__ import annotations

import functools
from typing import Any, Final

import msgspec

from noetl.errors import ToolRefused
from noetl.tools.tool import find

_SQL: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "status": {"const": "success"},
        "rows": {"type": "array", "items": {"type": "object"}, "description": "Of the last statement that returned rows"},
        "columns": {"type": "array", "items": {"type": "string"}},
        "row_count": {"type": "integer", "description": "Rows that the last statement returned or changed; -1 where nobody counts them"},
    },
    "patternProperties": {"^command_[0-9]+$": {"type": "object", "description": "One statement's own status, rows, columns and row_count"}},
    "required": ["status", "rows", "columns", "row_count"],
}
_OUTPUTS: Final[dict[str, dict[str, Any]]] = {
    "http": {
        "type": "object",
        "properties": {
            "status": {"type": "integer"},
            "status_code": {"type": "integer"},
            "headers": {"type": "object", "additionalProperties": {"type": "string"}},
            "data": {"description": "The decoded body: a JSON value, else text"},
            "body": {"description": "The same as data"},
            "url": {"type": "string"},
            "elapsed": {"type": "number", "description": "Seconds"},
            "encoding": {"const": "base64", "description": "There when the body is binary"},
        },
        "required": ["status", "status_code", "headers", "data", "body", "url", "elapsed"],
    },
    "postgres": _SQL,
    "duckdb": {"anyOf": [_SQL, {"type": "array", "items": {"type": "object"}, "description": "With `query`: the rows alone"}]},
    "python": {"description": "What the code returns, or leaves in `result`"},
    "playbook": {"description": "The result of the playbook, or of its step `return_step`"},
    "noop": {"description": "Its field `result`"},
}


@functools.cache
def input_schema(kind: str) -> dict[str, Any] | None:
    """None for a kind that has no backend here, or whose driver is not installed."""
    try:
        given = find(kind).Input
    except ToolRefused:
        return None
    _, components = msgspec.json.schema_components([given], ref_template="#/$defs/{name}")
    own = components.pop(given.__name__)
    return {**own, "$defs": components} if components else own


def output_schema(kind: str) -> dict[str, Any]:
    return _OUTPUTS.get(kind, {})
