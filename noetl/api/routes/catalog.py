"""The catalog: playbooks by path and version, and the kinds of tools."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final, TypeVar

from msgspec import Meta, Struct

from noetl.api.route import Answer, Call, Route
from noetl.api.routes.audit import note
from noetl.api.routes.credentials import listed
from noetl.dsl.kinds import KINDS, Kind
from noetl.engine.client import (
    CatalogQuery,
    CredentialList,
    PlaybookContent,
    PlaybookList,
    Registered,
    Registration,
    SchemaEntry,
    SchemaList,
    SchemaRequest,
    ToolEntry,
    ToolList,
    VersionNumber,
)
from noetl.engine.registration import catalog_path
from noetl.engine.service import OutOfDomain
from noetl.tools.describe import input_schema, output_schema

T = TypeVar("T")


class Page(Struct, frozen=True, kw_only=True):
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    after: str | None = None


class Which(Struct, frozen=True, kw_only=True):
    """`version`: the latest unless said. `versions`: list all of them."""

    version: VersionNumber | None = None
    versions: bool = False


class OneVersion(Struct, frozen=True, kw_only=True):
    """`version`: the latest unless said."""

    version: VersionNumber | None = None


async def register(call: Call) -> Any:
    registered = await _noted(call, "catalog.register", call.client.register(call.body), lambda kept: f"{kept.path}@{kept.version}")
    return Answer(registered, status=201 if registered.new else 200)


async def list_playbooks(call: Call) -> Any:
    return await call.client.playbooks(limit=call.query.limit, after=call.query.after)


async def list_resources(call: Call) -> Any:
    query: CatalogQuery = call.body
    if query.resource_type == "tool":
        return await asyncio.to_thread(tools)  # drivers are slow to import
    if query.resource_type == "schema":
        return await call.client.schemas(limit=query.limit, after=query.after)
    if query.resource_type == "credential":
        return await listed(call)
    return await call.client.playbooks(limit=query.limit, after=query.after)


async def show_playbook(call: Call) -> Any:
    path = catalog_path(call.path["path"])
    if call.query.versions:
        return await call.client.versions(path)
    return await call.client.playbook(path, call.query.version)


async def put_schema(call: Call) -> Any:
    kept = await _noted(call, "catalog.schema", call.client.put_schema(call.body), lambda kept: f"{kept.name}@{kept.version}")
    return Answer(kept, status=201 if kept.new else 200)


async def _noted(call: Call, action: str, work: Awaitable[T], subject: Callable[[T], str]) -> T:
    """Do it, and put into the audit log that it was done, or denied."""
    try:
        done = await work
    except OutOfDomain as error:
        await note(call, action, error.path, "denied")
        raise
    await note(call, action, subject(done), "done")
    return done


async def list_schemas(call: Call) -> Any:
    return await call.client.schemas(limit=call.query.limit, after=call.query.after)


async def show_schema(call: Call) -> Any:
    return await call.client.schema(call.path["name"], call.query.version)


def tools() -> ToolList:
    """Every kind that the language knows. Of those that are here the fields come from the struct that the tool is given."""
    return ToolList(entries=tuple(_tool(name, kind) for name, kind in sorted(KINDS.items())))


def _tool(name: str, kind: Kind) -> ToolEntry:
    found = input_schema(name) or {}
    properties = {field: {"description": about, **found.get("properties", {}).get(field, {})} for field, about in kind.fields.items()}
    schema = {"type": "object", **found, "properties": {**found.get("properties", {}), **properties}}
    return ToolEntry(kind=name, available=bool(found), description=kind.about, input=schema, output=output_schema(name))


ROUTES: Final = (
    Route(
        method="POST",
        path="/api/catalog/register",
        handler=register,
        role="editor",
        summary="Register a playbook: a new version unless the latest has the same content",
        body=Registration,
        answers={201: Registered, 200: Registered},
        refusals=(422,),
    ),
    Route(
        method="GET",
        path="/api/catalog/playbook",
        handler=list_playbooks,
        role="viewer",
        summary="The latest version of each playbook",
        query=Page,
        answers={200: PlaybookList},
    ),
    Route(
        method="GET",
        path="/api/catalog/playbook/{path...}",
        handler=show_playbook,
        role="viewer",
        summary="One version of a playbook, with its text; or the list of its versions",
        query=Which,
        answers={200: (PlaybookContent, PlaybookList)},
        refusals=(404,),
    ),
    Route(
        method="POST",
        path="/api/catalog/schema",
        handler=put_schema,
        role="editor",
        summary="Keep a JSON Schema under a name: a new version unless the latest is the same",
        body=SchemaRequest,
        answers={201: SchemaEntry, 200: SchemaEntry},
    ),
    Route(
        method="GET",
        path="/api/catalog/schema",
        handler=list_schemas,
        role="viewer",
        summary="The latest version of each schema",
        query=Page,
        answers={200: SchemaList},
    ),
    Route(
        method="GET",
        path="/api/catalog/schema/{name...}",
        handler=show_schema,
        role="viewer",
        summary="One version of a schema",
        query=OneVersion,
        answers={200: SchemaEntry},
        refusals=(404,),
    ),
    Route(
        method="POST",
        path="/api/catalog/list",
        handler=list_resources,
        role="viewer",
        summary="What is in the catalog, of one kind",
        body=CatalogQuery,
        answers={200: (PlaybookList, ToolList, CredentialList, SchemaList)},
    ),
)
