"""JSON Schemas of the catalog: whether one is any, and whether a payload fits it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from noetl.errors import BadRequest, ToolRefused
from noetl.store.catalog import SchemaVersion


def schema_hash(schema: Mapping[str, Any]) -> str:
    """What two spellings of the same schema have in common."""
    return hashlib.sha256(msgspec.json.encode(schema, order="sorted")).hexdigest()


def check_schema(schema: Mapping[str, Any]) -> None:
    """Raises `BadRequest` that says where it is none."""
    validators = _validators()
    try:
        validators.Draft202012Validator.check_schema(schema)
    except validators.SchemaError as error:
        raise BadRequest(f"this is no JSON Schema: {_place('schema', error)}: {error.message}") from error


def check_payload(payload: Mapping[str, Any], schema: SchemaVersion) -> None:
    """Raises `BadRequest` that says where it does not fit, the first places of all."""
    errors = sorted(_validators().Draft202012Validator(schema.schema).iter_errors(payload), key=lambda error: list(map(str, error.absolute_path)))
    if errors:
        said = "; ".join(f"{_place('payload', error)}: {error.message}" for error in errors[:5])
        raise BadRequest(f"the payload does not fit the schema '{schema.name}', version {schema.version}: {said}")


def _place(root: str, error: Any) -> str:
    return root + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path)


def _validators() -> Any:
    try:
        import jsonschema  # noqa: PLC0415  slow to import, and rarely needed
    except ModuleNotFoundError:
        raise ToolRefused("schemas need the package 'jsonschema': pip install 'noetl[schemas]'", kind="unsupported") from None
    return jsonschema
