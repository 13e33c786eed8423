"""The kinds of tools: their fields, what they need, and the older names of both (docs/reference/language.md, sections 8 and 10.9).

This table is what the loader checks a task against and what the JSON Schema is made from; the tools themselves convert what they are given.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct


class Kind(Struct, frozen=True):
    """`fields` maps each field to a line about it.

    `needs` are groups of which one field must be there, `one_of` groups of which at most one may be. `same` maps older names of fields.
    `choices` are the values of a field; those of `mode` are checked, others may be extended by a tool. `code` are fields in another language, in
    which braces need not be templates. `own_name`: `name` is a field of the tool rather than the task's label. `args_count`: a needed field may
    come as an argument. `free` is a (field, value) under which nothing is needed. `ignored` are fields that are dropped, with the reason to warn
    the author with, if any. `own_database` is the field that names a database; without it the calls of an execution share one, on the node
    that runs them.
    """

    about: str
    fields: Mapping[str, str]
    needs: tuple[tuple[str, ...], ...] = ()
    one_of: tuple[tuple[str, ...], ...] = ()
    same: Mapping[str, str] = {}
    choices: Mapping[str, tuple[str, ...]] = {}
    code: frozenset[str] = frozenset()
    own_name: bool = False
    args_count: bool = False
    free: tuple[str, str] | None = None
    ignored: Mapping[str, str] = {}
    own_database: str | None = None


OWN_DATABASE: Final = ":memory:"
"""The name of the database that the calls of an execution share; also that of who names none."""
_AUTH: Final = "Name of a credential, one {source, type, key} entry, or a mapping alias -> entry"
_SCRIPT: Final = "Where the source is: {uri, source: {type: file|http|gcs|s3|inline, ...}}"
_CREDENTIAL: Final = {"credential": "auth", "credentials": "auth"}
_SQL_SAME: Final = {"commands": "command", "query": "command", "statement": "command", **_CREDENTIAL}
_WRITE_MODES: Final = ("insert", "append", "upsert", "update", "replace")
_SQL: Final = {
    "auth": _AUTH,
    "command": "SQL: a text with one or more statements, or a list of texts",
    "script": _SCRIPT,
    "params": "Values to bind to the command's placeholders",
    "table": "Table to write rows to",
    "mode": "How rows are written: insert, append, upsert, update or replace",
    "key": "Column or list of columns that identify a row, for upsert and update",
    "data": "A row (mapping) or rows (list of mappings) to write",
}
_SQL_NEEDS: Final = (("command", "script", "table"),)
_SQL_CHOICES: Final = {"mode": _WRITE_MODES}
HTTP_BODIES: Final = ("json", "payload", "body", "data", "form")

KINDS: Final[Mapping[str, Kind]] = {
    "http": Kind(
        about="Call an endpoint. Result: {status, headers, data, url, elapsed}",
        fields={
            "method": "HTTP method, default GET",
            "url": "Address to call",
            "params": "Query parameters; null values are dropped",
            "headers": "Request headers",
            "json": "Body, sent as JSON",
            "payload": "Body: a mapping or list as JSON, a text as it is",
            "body": "Body: a mapping or list as JSON, a text as it is",
            "data": "Body: a mapping or list as JSON, a text as it is; a form with an urlencoded Content-Type",
            "form": "Body, sent as an urlencoded form",
            "follow_redirects": "Default true",
            "verify_ssl": "Default true",
            "auth": _AUTH,
        },
        needs=(("url",),),
        one_of=(HTTP_BODIES,),
        same={"endpoint": "url", **_CREDENTIAL},
        choices={"method": ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")},
    ),
    "python": Kind(
        about="Run Python code in a worker process: a function `main`, or a script",
        fields={"code": "Source text", "script": _SCRIPT, "libs": "Modules by alias, or a list of packages the code expects", "auth": _AUTH},
        needs=(("code", "script"),),
        one_of=(("code", "script"),),
        same=_CREDENTIAL,
        code=frozenset({"code"}),
        ignored={"iterator": "a python task has no iterator of its own, this one has no effect; give the step a 'loop'"},
    ),
    "postgres": Kind(
        about="Run SQL on PostgreSQL, or write rows to a table",
        fields={**_SQL, "pool": "Hints for the connection pool", "database": "Database, instead of the credential's"},
        needs=_SQL_NEEDS,
        same=_SQL_SAME,
        choices=_SQL_CHOICES,
    ),
    "duckdb": Kind(
        about="Run SQL on DuckDB. `command` gives a mapping, `query` the plain list of rows",
        fields={
            **_SQL,
            "query": "SQL whose result is the list of rows of its last statement that returns any",
            "database": "Name or file of the database, default :memory: (one per execution)",
        },
        needs=(("command", "query", "script", "table"),),
        one_of=(("command", "query"),),
        same={"commands": "command", "statement": "command", **_CREDENTIAL},
        choices=_SQL_CHOICES,
        own_database="database",
    ),
    "snowflake": Kind(
        about="Run SQL on Snowflake, or write rows to a table",
        fields={**_SQL, "warehouse": "Warehouse", "database": "Database", "schema": "Schema", "role": "Role"},
        needs=_SQL_NEEDS,
        same=_SQL_SAME,
        choices=_SQL_CHOICES,
    ),
    "clickhouse": Kind(
        about="Run SQL on ClickHouse over HTTP, or write rows to a table",
        fields={**_SQL, "url": "Address of the server, instead of a credential", "database": "Database"},
        needs=_SQL_NEEDS,
        same=_SQL_SAME,
        choices=_SQL_CHOICES,
    ),
    "ducklake": Kind(
        about="Run SQL on a DuckLake catalog",
        fields={
            **_SQL,
            "catalog_connection": "Connection text of the catalog database, instead of a credential",
            "catalog_name": "Name under which the catalog is attached",
            "data_path": "Where the data files lie",
        },
        needs=_SQL_NEEDS,
        same=_SQL_SAME,
        choices=_SQL_CHOICES,
    ),
    "qdrant": Kind(
        about="Store and search vectors",
        fields={
            "operation": "What to do",
            "collection": "Name of the collection",
            "vectors": "Vector parameters of the collection: size, distance",
            "points": "Points to write: {id, vector, payload}",
            "vector": "Vector to search for",
            "limit": "How many points to return",
            "filter": "Condition on the payload",
            "url": "Address of the server",
            "auth": _AUTH,
        },
        needs=(("operation",), ("collection",)),
        same=_CREDENTIAL,
        choices={"operation": ("ensure_collection", "upsert", "search", "delete", "scroll")},
    ),
    "nats": Kind(
        about="Key-value buckets, object stores and streams of NATS JetStream",
        fields={
            "operation": "What to do",
            "bucket": "Bucket or object store",
            "key": "Key in the bucket",
            "value": "Value to put",
            "name": "Name of the object",
            "data": "What to store or publish",
            "subject": "Subject to publish to",
            "stream": "Stream to read",
            "seq": "Sequence number of the message to get",
            "ttl": "Seconds to keep",
            "auth": _AUTH,
        },
        needs=(("operation",),),
        same=_CREDENTIAL,
        choices={
            "operation": (
                *("kv_put", "kv_get", "kv_delete", "kv_keys", "kv_purge"),
                *("object_put", "object_get", "object_delete", "object_list", "object_info"),
                *("js_publish", "js_get_msg", "js_stream_info"),
            )
        },
        own_name=True,
    ),
    **{
        kind: Kind(
            about=f"Copy a local file to {scheme}://",
            fields={
                "source": "Local path",
                "destination": f"{scheme}:// address",
                "content_type": "Media type",
                "metadata": "Metadata of the object",
                "auth": _AUTH,
            },
            needs=(("source",), ("destination",)),
            same=_CREDENTIAL,
        )
        for kind, scheme in (("gcs", "gs"), ("s3", "s3"))
    },
    "storage": Kind(
        about="Put, get, list or delete a file at a file:, s3: or gs: address",
        fields={"operation": "What to do", "uri": "Address", "data": "What to put", "auth": _AUTH},
        needs=(("operation",), ("uri",)),
        same=_CREDENTIAL,
        choices={"operation": ("put", "get", "list", "delete")},
    ),
    "transfer": Kind(
        about="Move rows from one system to another",
        fields={
            "source": "Where rows come from: {tool, auth, url or query, ...}",
            "target": "Where rows go: {tool, auth, table or query, mode, key, mapping}",
            "mapping": "Target column -> source field",
            "chunk_size": "Rows per write, default 1000",
            "mode": "append, replace or upsert",
        },
        needs=(("source",), ("target",)),
        choices={"mode": ("append", "replace", "upsert", "insert")},
    ),
    "playbook": Kind(
        about="Run another playbook and wait for its result",
        fields={
            "path": "Catalog path or file",
            "payload": "Inputs of the child, overlaid with args",
            "return_step": "Step whose result is returned",
        },
        needs=(("path",),),
        ignored={"task": ""},
    ),
    "workbook": Kind(
        about="Run a task of the workbook",
        fields={"name": "Name of the workbook task", "task": "Name of the workbook task"},
        needs=(("task", "name"),),
        own_name=True,
    ),
    "shell": Kind(
        about="Run bash scripts one after the other, where the node allows it",
        fields={"cmds": "List of scripts; stops at the first that fails"},
        needs=(("cmds",),),
        code=frozenset({"cmds"}),
    ),
    "container": Kind(
        about="Run an image",
        fields={
            "image": "Image",
            "command": "Entry point",
            "args": "Arguments of the command, a list",
            "env": "Environment: a mapping, or a list of {name, value}",
            "namespace": "Namespace",
            "resources": "Requests and limits",
            "backoff_limit": "Restarts before the job fails",
            "restart_policy": "Never or OnFailure",
            "service_account": "Service account",
            "script": _SCRIPT,
            "runtime": "All of these under one key, with provider",
            "auth": _AUTH,
        },
        needs=(("image", "runtime"),),
        same=_CREDENTIAL,
    ),
    "script": Kind(
        about="Run a script as a job", fields={"script": _SCRIPT, "job": "The job's settings", "auth": _AUTH}, needs=(("script",),), same=_CREDENTIAL
    ),
    "noop": Kind(about="Do nothing; policy rules apply", fields={"result": "The result, default {}"}),
    "event_log": Kind(about="Write an entry to the event log", fields={"payload": "What to write, besides args"}),
    "secrets": Kind(
        about="Fetch a secret",
        fields={"provider": "Where the secret is kept", "key": "Name of the secret", "name": "Name of the secret", "auth": _AUTH},
        needs=(("key", "name"),),
        same=_CREDENTIAL,
        own_name=True,
    ),
    "agent": Kind(
        about="Run an agent; its failure is data",
        fields={
            "framework": "noetl runs the playbook `entrypoint`",
            "entrypoint": "Playbook to run",
            "payload": "Inputs",
            "on_failure": "What to do with a failure",
        },
    ),
    "mcp": Kind(
        about="Call a tool of an MCP server",
        fields={"server": "Server", "tool": "Tool", "arguments": "Arguments of the tool", "auth": _AUTH},
        needs=(("server",), ("tool",)),
        same=_CREDENTIAL,
    ),
    "subscription": Kind(
        about="Take a batch of messages from a topic",
        fields={
            "source": "Kind of the broker",
            "operation": "poll",
            "topic": "Topic",
            "subscription": "Subscription",
            "group": "Consumer group",
            "batch": "How many messages at most",
            "timeout_ms": "How long to wait, milliseconds",
            "ack": "Whether messages are acknowledged",
            "auth": _AUTH,
        },
        needs=(("source",), ("topic", "subscription")),
        same=_CREDENTIAL,
    ),
    "quantum": Kind(
        about="Run a circuit",
        fields={
            "provider": "simulator, or a backend",
            "circuit": "The circuit",
            "source": "The circuit's source text",
            "shots": "How often",
            "auth": _AUTH,
        },
        needs=(("circuit", "source"),),
        same=_CREDENTIAL,
    ),
    "artifact": Kind(
        about="Read or write a stored result",
        fields={
            "action": "get or put",
            "result_ref": "Reference of a result: text or {ref}",
            "uri": "noetl://, file://, gs://, s3:// or nats-kv:// address",
            "data": "What to put",
            "auth": _AUTH,
        },
        needs=(("result_ref", "uri"),),
        same={"ref": "result_ref", **_CREDENTIAL},
        choices={"action": ("get", "put")},
        args_count=True,
        free=("action", "put"),
    ),
}

SAME_KINDS: Final[Mapping[str, str]] = {
    "playbooks": "playbook",
    "result": "artifact",
    "resolve": "artifact",
    "event": "event_log",
    "keychain": "secrets",
}
"""Other names of kinds."""

LOADED_KIND: Final = "workbook"
"""The kind that is no tool: what it calls stands in its place once the playbook is loaded."""

SQL_KINDS: Final = frozenset({"postgres", "duckdb", "snowflake", "clickhouse", "ducklake"})

COMMON_FIELDS: Final[Mapping[str, str]] = {
    "args": "Inputs of the task, by name",
    "spec": "Runtime settings: timeout, policy, memory_bytes, retry_on_loss",
    "set": "Values to write after the task: bare keys are visible in this step, ctx.x in the whole run",
    "output": "How a large result is kept",
    "timeout": "Seconds",
    "desc": "What the task is for",
}
"""What every task may have besides its kind's fields."""


def canonical_kind(name: str) -> str | None:
    """The kind of that name, None when there is none."""
    name = SAME_KINDS.get(name, name)
    return name if name in KINDS else None
