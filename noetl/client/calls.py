"""The operations of the API (docs/reference/api.md), as calls. Pure."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, Literal, overload
from urllib.parse import quote

import msgspec

from noetl.client.call import Call, encoded, query_of
from noetl.engine import client as api


def register(wanted: api.Registration) -> Call[api.Registered]:
    return Call(method="POST", path="/api/catalog/register", body=encoded(wanted), returns=api.Registered)


def playbooks(limit: int, after: str | None) -> Call[api.PlaybookList]:
    return _get("/api/catalog/playbook", api.PlaybookList, {"limit": limit, "after": after})


def versions(path: str) -> Call[api.PlaybookList]:
    return _get(_playbook(path), api.PlaybookList, {"versions": True})


def playbook(path: str, version: int | None) -> Call[api.PlaybookContent]:
    return _get(_playbook(path), api.PlaybookContent, {"version": version})


@overload
def listed(kind: Literal["tool"], limit: int = 1000, after: str | None = None) -> Call[api.ToolList]: ...
@overload
def listed(kind: Literal["credential"], limit: int = 1000, after: str | None = None) -> Call[api.CredentialList]: ...
def listed(kind: Literal["tool", "credential"], limit: int = 1000, after: str | None = None) -> Call[Any]:
    wanted = api.CatalogQuery(resource_type=kind, limit=limit, after=after)
    returns = api.ToolList if kind == "tool" else api.CredentialList
    return Call(method="POST", path="/api/catalog/list", body=encoded(wanted), returns=returns, repeatable=True)


def put_schema(wanted: api.SchemaRequest) -> Call[api.SchemaEntry]:
    return Call(method="POST", path="/api/catalog/schema", body=encoded(wanted), returns=api.SchemaEntry)


def schemas(limit: int, after: str | None) -> Call[api.SchemaList]:
    return _get("/api/catalog/schema", api.SchemaList, {"limit": limit, "after": after})


def schema(name: str, version: int | None) -> Call[api.SchemaEntry]:
    return _get(f"/api/catalog/schema/{quote(name.strip('/'))}", api.SchemaEntry, {"version": version})


def execute(wanted: api.ExecuteRequest) -> Call[api.Accepted]:
    """Without a key of the caller's it gets one: asked twice, it is started once."""
    keyed = wanted if wanted.idempotency_key is not None else msgspec.structs.replace(wanted, idempotency_key=secrets.token_hex(16))
    return Call(method="POST", path="/api/execute", body=encoded(keyed), returns=api.Accepted, repeatable=True)


def executions(wanted: api.ExecutionFilter) -> Call[api.ExecutionList]:
    return _get("/api/executions", api.ExecutionList, msgspec.structs.asdict(wanted))


def execution(execution_id: str) -> Call[api.ExecutionReport]:
    return _get(_execution(execution_id), api.ExecutionReport)


def cancel(execution_id: str, reason: str) -> Call[api.Cancelled]:
    body = encoded(api.CancelRequest(reason=reason))
    return Call(method="POST", path=f"{_execution(execution_id)}/cancel", body=body, returns=api.Cancelled)


def context(execution_id: str) -> Call[api.ExecutionContext]:
    return _get(f"{_execution(execution_id)}/ctx", api.ExecutionContext)


def events(execution_id: str, after: int, limit: int | None) -> Call[api.EventList]:
    return _get(f"{_execution(execution_id)}/events", api.EventList, {"after": after, "limit": limit})


def render(wanted: api.RenderRequest) -> Call[api.Rendered]:
    return Call(method="POST", path="/api/context/render", body=encoded(wanted), returns=api.Rendered, repeatable=True)


def put_credential(wanted: api.CredentialRequest) -> Call[api.CredentialView]:
    return Call(method="POST", path="/api/credentials", body=encoded(wanted), returns=api.CredentialView)


def credentials() -> Call[api.CredentialList]:
    return _get("/api/credentials", api.CredentialList)


def credential(name: str) -> Call[api.CredentialView]:
    return _get(_credential(name), api.CredentialView)


def delete_credential(name: str) -> Call[None]:
    return Call(method="DELETE", path=_credential(name), returns=None)


def make_token(wanted: api.TokenRequest) -> Call[api.NewToken]:
    return Call(method="POST", path="/api/tokens", body=encoded(wanted), returns=api.NewToken)


def tokens() -> Call[api.TokenList]:
    return _get("/api/tokens", api.TokenList)


def revoke_token(token_id: str) -> Call[None]:
    return Call(method="DELETE", path=f"/api/tokens/{quote(token_id, safe='')}", returns=None)


def audit(limit: int) -> Call[api.AuditList]:
    return _get("/api/audit", api.AuditList, {"limit": limit})


def pools() -> Call[api.PoolList]:
    return _get("/api/worker/pools", api.PoolList)


def nodes() -> Call[api.NodeList]:
    return _get("/api/nodes", api.NodeList)


def drain_node(node: str) -> Call[api.Draining]:
    return Call(method="POST", path=f"/api/nodes/{quote(node, safe='')}/drain", returns=api.Draining, repeatable=True)


def _get(path: str, returns: Any, query: Mapping[str, Any] | None = None) -> Call[Any]:
    return Call(method="GET", path=path, query=query_of(query or {}), returns=returns, repeatable=True)


def _playbook(path: str) -> str:
    return f"/api/catalog/playbook/{quote(path.strip('/'))}"


def _execution(execution_id: str) -> str:
    return f"/api/executions/{quote(execution_id, safe='')}"


def _credential(name: str) -> str:
    return f"/api/credentials/{quote(name, safe='')}"
