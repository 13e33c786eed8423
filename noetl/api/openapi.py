"""The OpenAPI 3.1 document, made from the routes and from the very types that decode and encode."""

from __future__ import annotations

import http
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final, get_args

import msgspec

from noetl import __version__
from noetl.api.problem import MEDIA_TYPE, ProblemDetails
from noetl.api.route import Route

_REF: Final = "#/components/schemas/{name}"
_JSON: Final = "application/json"


def document(routes: Iterable[Route]) -> dict[str, Any]:
    """Of routes that are all different. Bodies of requests name their keys; others are ignored, and said in a `Warning` header."""
    listed = list(routes)
    types = list(dict.fromkeys(type_ for route in listed for type_ in _types(route)))
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    schema_of = dict(zip(types, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in listed:
        paths.setdefault(_path(route.path), {})[route.method.lower()] = _operation(route, schema_of)
    return {
        "openapi": "3.1.0",
        "info": {"title": "NoETL", "version": __version__, "description": "Declarative playbooks on a supervised, durable runtime."},
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    }


def _types(route: Route) -> Iterator[Any]:
    if route.body is not None:
        yield route.body
    for answer in route.answers.values():
        yield from _each(answer)
    yield ProblemDetails


def _each(type_: Any) -> tuple[Any, ...]:
    return type_ if isinstance(type_, tuple) else () if type_ is None else (type_,)


def _operation(route: Route, schema_of: dict[Any, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": f"{route.handler.__module__.rpartition('.')[2]}.{route.handler.__name__}.{_path(route.path).strip('/').replace('/', '.')}",
        "tags": [route.handler.__module__.rpartition(".")[2]],
        "summary": route.summary,
        "parameters": [*_path_parameters(route.path), *_query_parameters(route.query)],
        "responses": {str(status): _answer(route, status, type_, schema_of) for status, type_ in route.answers.items()},
        "security": [] if route.role is None else [{"token": []}],
    }
    if route.role is not None:
        operation["x-role"] = route.role
    if route.body is not None:
        operation["requestBody"] = {"required": True, "content": {_JSON: {"schema": schema_of[route.body]}}}
    for status in _refusals(route):
        operation["responses"].setdefault(str(status), _refusal(status))
    return operation


def _answer(route: Route, status: int, type_: Any, schema_of: dict[Any, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": http.HTTPStatus(status).phrase}
    schemas = [schema_of[each] for each in _each(type_)]
    content = {_JSON: {"schema": schemas[0] if len(schemas) == 1 else {"anyOf": schemas}}} if schemas else {}
    if status in (200, 206):
        content |= {media: {} for media in route.media}
    if content:
        answer["content"] = content
    return answer


def _refusals(route: Route) -> list[int]:
    """What any route may answer, and what this one may."""
    common = {400, 403, 503} | ({401} if route.role is not None else set()) | ({408, 413, 415, 429} if route.body is not None else set())
    cached = {304} if route.method == "GET" and 200 in route.answers else set()
    return sorted(common | cached | set(route.refusals))


def _refusal(status: int) -> dict[str, Any]:
    if status == 304:
        return {"description": http.HTTPStatus(status).phrase}
    return {
        "description": http.HTTPStatus(status).phrase,
        "content": {MEDIA_TYPE: {"schema": {"$ref": _REF.format(name=ProblemDetails.__name__)}}},
    }


def _path(path: str) -> str:
    return path.replace("...}", "}")


def _path_parameters(path: str) -> Iterator[dict[str, Any]]:
    for name in re.findall(r"\{(\w+)(?:\.\.\.)?\}", path):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


def _query_parameters(query: Any) -> Iterator[dict[str, Any]]:
    if query is None:
        return
    schema = msgspec.json.schema_components([query], ref_template=_REF)[1][query.__name__]
    for field in msgspec.structs.fields(query):
        found = dict(schema["properties"][field.encode_name])
        if type(None) in get_args(field.type):  # a query has no null
            found = _without_null(found)
        yield {"name": field.encode_name, "in": "query", "required": field.required, "schema": found}


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    schema.pop("default", None)
    choices = [choice for choice in schema.get("anyOf", ()) if choice != {"type": "null"}]
    if len(choices) == 1:
        return {**{key: value for key, value in schema.items() if key != "anyOf"}, **choices[0]}
    if choices:
        return {**schema, "anyOf": choices}
    if isinstance(schema.get("type"), list):
        return {**schema, "type": [kind for kind in schema["type"] if kind != "null"]}
    if None in schema.get("enum", ()):
        return {**schema, "enum": [choice for choice in schema["enum"] if choice is not None]}
    return schema
