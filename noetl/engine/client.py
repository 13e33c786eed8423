"""How the rest of the world uses executions and the catalog: what can be asked, and what is answered.

The structs are the bodies of the HTTP API (docs/reference/api.md), and `Client` is what can be asked for with them. `noetl.engine.local` answers in
the process of the node, `noetl.client` over HTTP. Ids are texts of digits, since JavaScript would round the numbers. Times are aware.
A reader of a body ignores what it does not know, so that a newer peer may say more.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal, Protocol

from msgspec import Meta, Struct

Status = Literal["pending", "running", "waiting", "completed", "failed", "cancelled"]
PathText = Annotated[str, Meta(min_length=1, max_length=512, description="A catalog path such as `risk/score`; its first part is the domain.")]
NameText = Annotated[str, Meta(min_length=1, max_length=256)]
VersionNumber = Annotated[int, Meta(ge=1, le=2**31 - 1)]
IdText = Annotated[str, Meta(pattern=r"^[0-9]{1,19}$", description="An execution's id: digits, as text.")]
Labels = dict[NameText, Annotated[str, Meta(max_length=1024)]]

# -- the catalog -------------------------------------------------------------------------------------------------------


class Registration(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A playbook to register: its YAML as `content`, or in base64. One of the two.

    `path` is where it goes, without it the playbook's own `metadata.path`. `files` are the texts of files that it names, by the names that it uses,
    so that a run needs nothing of the author's machine. `labels` are added to those of its metadata.
    """

    content: str | None = None
    content_base64: str | None = None
    path: PathText | None = None
    files: dict[NameText, str] = {}
    labels: Labels = {}


class ProblemView(Struct, frozen=True, kw_only=True):
    """Something that the author should change. `line` and `column` count from 1; `path` is such as `workflow[2].tool.kind`."""

    message: str
    line: int
    column: int
    path: str
    key: str | None = None
    hint: str | None = None
    file: str | None = None


class Registered(Struct, frozen=True, kw_only=True):
    """What is in the catalog now. `new` is false when the latest version had the same content: no other was made."""

    path: str
    version: int
    hash: str
    new: bool
    warnings: tuple[ProblemView, ...] = ()


class PlaybookEntry(Struct, frozen=True, kw_only=True):
    """One version of a playbook. `hash` is that of its content."""

    path: str
    version: int
    hash: str
    labels: dict[str, str]
    registered_at: dt.datetime
    registered_by: str
    resource_type: str = "playbook"


class PlaybookContent(PlaybookEntry, frozen=True, kw_only=True):
    """One version with all of it."""

    content: str
    files: dict[str, str] = {}


class PlaybookList(Struct, frozen=True, kw_only=True):
    """The latest version of each path, or all versions of one. `next` is the cursor of the following page, null on the last."""

    entries: tuple[PlaybookEntry, ...]
    next: str | None = None


class ToolEntry(Struct, frozen=True, kw_only=True):
    """A kind of tool. `input` is the JSON Schema of its fields, `output` that of its result."""

    kind: str
    available: bool
    description: str
    input: dict[str, Any]
    output: dict[str, Any]
    resource_type: str = "tool"


class ToolList(Struct, frozen=True, kw_only=True):
    entries: tuple[ToolEntry, ...]
    next: str | None = None


class SchemaRequest(Struct, frozen=True, kw_only=True):
    """A JSON Schema to keep under a name, whose first part is its domain."""

    name: PathText
    schema: dict[str, Any]


class SchemaEntry(Struct, frozen=True, kw_only=True):
    """One version of a named schema."""

    name: str
    version: int
    hash: str
    schema: dict[str, Any]
    registered_at: dt.datetime
    registered_by: str
    new: bool = False
    resource_type: str = "schema"


class SchemaList(Struct, frozen=True, kw_only=True):
    """The latest version of each name. `next` is the cursor of the following page, null on the last."""

    entries: tuple[SchemaEntry, ...]
    next: str | None = None


class CatalogQuery(Struct, frozen=True, kw_only=True):
    """What `POST /api/catalog/list` is asked."""

    resource_type: Literal["playbook", "tool", "credential", "schema"] = "playbook"
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    after: str | None = None


# -- executions --------------------------------------------------------------------------------------------------------


class ExecuteRequest(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An execution to start. `version` is the latest unless said. With `merge` the payload's mappings merge into those of the workload, else they
    replace them.

    The same `idempotency_key` with the same request gives the execution that the first one has started.
    """

    path: PathText
    version: VersionNumber | None = None
    payload: dict[str, Any] = {}
    merge: bool = False
    idempotency_key: Annotated[str, Meta(min_length=1, max_length=256)] | None = None
    labels: Labels = {}


class Accepted(Struct, frozen=True, kw_only=True):
    """The execution is in the store: from here on it survives a kill -9."""

    execution_id: str
    status: Status
    path: str
    version: int | None


class ExecutionView(Struct, frozen=True, kw_only=True):
    """One execution in a list. `version` is null when its playbook came from a file; `error` is the message of its error."""

    execution_id: str
    path: str
    version: int | None
    status: Status
    requested_at: dt.datetime
    started_at: dt.datetime | None
    ended_at: dt.datetime | None
    requested_by: str
    labels: dict[str, str]
    parent_id: str | None
    error: str | None


class ExecutionList(Struct, frozen=True, kw_only=True):
    """Executions without a parent, the newest first."""

    entries: tuple[ExecutionView, ...]
    next: str | None = None


class StepView(Struct, frozen=True, kw_only=True):
    """A step that has begun. Large results are shown by their summary."""

    status: str
    runs: int
    started_at: dt.datetime | None = None
    ended_at: dt.datetime | None = None
    result: Any = None
    error: Any = None


class ExecutionReport(Struct, frozen=True, kw_only=True):
    """One execution: what became of it, its steps, and the executions that it has started. `error` is {kind, message, step, …}. Nothing is secret."""

    execution_id: str
    path: str
    version: int | None
    status: Status
    requested_at: dt.datetime
    started_at: dt.datetime | None
    ended_at: dt.datetime | None
    requested_by: str
    labels: dict[str, str]
    parent_id: str | None
    error: Any
    result: Any
    steps: dict[str, StepView]
    children: tuple[ExecutionView, ...] = ()


class ExecutionContext(Struct, frozen=True, kw_only=True):
    """What an execution's templates can read. Secrets are `***`."""

    execution_id: str
    workload: dict[str, Any]
    ctx: dict[str, Any]
    steps: dict[str, Any]


class ExecutionFilter(Struct, frozen=True, kw_only=True):
    """Which executions. `label` is `name` or `name=value`; `after` is the cursor of an earlier page."""

    path: str | None = None
    status: Status | None = None
    label: str | None = None
    since: dt.datetime | None = None
    until: dt.datetime | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    after: str | None = None


class CancelRequest(Struct, frozen=True, kw_only=True):
    reason: Annotated[str, Meta(max_length=1024)] = ""


class Cancelled(Struct, frozen=True, kw_only=True):
    """The cancellation is in the store. `status` is what the execution was just now."""

    execution_id: str
    status: Status


class EventView(Struct, frozen=True, kw_only=True):
    """One event of an execution's log (docs/reference/events.md). `iteration` is null where there is no loop."""

    seq: int
    at: dt.datetime
    name: str
    step: str | None
    iteration: int | None
    attempt: int | None
    data: dict[str, Any]


class EventList(Struct, frozen=True, kw_only=True):
    execution_id: str
    entries: tuple[EventView, ...]
    next: int | None = None
    """`after` of the following page; null when this was the end."""


class RenderRequest(Struct, frozen=True, kw_only=True):
    """A template, or data with templates in it, to render against the state of an execution."""

    execution_id: IdText
    template: Any


class Rendered(Struct, frozen=True, kw_only=True):
    rendered: Any


# -- credentials -------------------------------------------------------------------------------------------------------


class CredentialRequest(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A credential to keep: a new one, or a new version. `domains` and `hosts` say who may use it and where it may be sent; empty is everywhere."""

    name: NameText
    type: NameText
    data: dict[str, Any]
    domains: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    description: Annotated[str, Meta(max_length=4096)] = ""


class CredentialView(Struct, frozen=True, kw_only=True):
    """What may be known of a credential: never its data, only the names of its fields."""

    name: str
    type: str
    version: int
    fields: tuple[str, ...]
    domains: tuple[str, ...]
    hosts: tuple[str, ...]
    description: str
    created_at: dt.datetime
    updated_at: dt.datetime
    updated_by: str
    warnings: tuple[str, ...] = ()


class CredentialList(Struct, frozen=True, kw_only=True):
    entries: tuple[CredentialView, ...]
    next: str | None = None


# -- access ------------------------------------------------------------------------------------------------------------

Role = Literal["viewer", "operator", "editor", "admin"]
"""Each may do what those before it may."""


class TokenRequest(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A token to make. `domains` are first parts of catalog paths, none for all; `ttl_s` how long it is valid, in seconds."""

    name: NameText
    role: Role = "viewer"
    domains: tuple[NameText, ...] = ()
    ttl_s: Annotated[float, Meta(gt=0, le=3_155_760_000)] | None = None


class TokenView(Struct, frozen=True, kw_only=True):
    """What may be known of a token. `id` is its public part."""

    id: str
    name: str
    role: Role
    domains: tuple[str, ...]
    created_at: dt.datetime
    created_by: str
    expires_at: dt.datetime | None
    revoked_at: dt.datetime | None


class NewToken(Struct, frozen=True, kw_only=True):
    """A token, shown this once: only its SHA-256 is kept."""

    token: str
    about: TokenView


class TokenList(Struct, frozen=True, kw_only=True):
    entries: tuple[TokenView, ...]


class AuditEntry(Struct, frozen=True, kw_only=True):
    at: dt.datetime
    actor: str
    action: str
    subject: str
    outcome: Literal["done", "denied"]


class AuditList(Struct, frozen=True, kw_only=True):
    """The newest first."""

    entries: tuple[AuditEntry, ...]


# -- the node ----------------------------------------------------------------------------------------------------------


class PoolView(Struct, frozen=True, kw_only=True):
    """`free` slots of `slots`; `waiting` calls are in its queue: in a cluster those that the server which answers has for the pool, on whatever node.
    `tools`: the kinds that it serves, `*` for all."""

    name: str
    node: str
    slots: int
    free: int
    waiting: int
    tools: tuple[str, ...]


class PoolList(Struct, frozen=True, kw_only=True):
    entries: tuple[PoolView, ...]


class NodeInfo(Struct, frozen=True, kw_only=True):
    """`pools`: their slots. `shards`: how many of those that all servers share it owns. `alive` False: its lease has run out."""

    node: str
    profile: str
    pid: int
    host: str
    started_at: dt.datetime
    version: str
    url: str | None
    draining: bool = False
    alive: bool = True
    pools: dict[str, int] = {}
    shards: int = 0
    capabilities: dict[str, Any] = {}
    format: int = 0
    """The newest format of logs that it reads."""


class NodeList(Struct, frozen=True, kw_only=True):
    entries: tuple[NodeInfo, ...]


class Draining(Struct, frozen=True):
    """The node was told to end."""

    node: str


class Client(Protocol):
    """What both forms of the client can do.

    Raises, besides what is named:
        NotFound: there is no such thing.
        NotAuthenticated, NotAllowed: the caller may not.
        StoreError, CallError: it did not get through; it may be tried again.
    """

    async def register(self, wanted: Registration) -> Registered:
        """Raises `Invalid` when the playbook has errors."""
        ...

    async def playbooks(self, *, limit: int = 100, after: str | None = None) -> PlaybookList: ...

    async def versions(self, path: str) -> PlaybookList: ...

    async def playbook(self, path: str, version: int | None = None) -> PlaybookContent: ...

    async def put_schema(self, wanted: SchemaRequest) -> SchemaEntry:
        """Raises `BadRequest` when it is none."""
        ...

    async def schemas(self, *, limit: int = 100, after: str | None = None) -> SchemaList: ...

    async def schema(self, name: str, version: int | None = None) -> SchemaEntry: ...

    async def execute(self, wanted: ExecuteRequest) -> Accepted:
        """Raises `BadRequest` when the payload does not fit the schema that the playbook names."""
        ...

    async def executions(self, wanted: ExecutionFilter) -> ExecutionList: ...

    async def execution(self, execution_id: str) -> ExecutionReport: ...

    async def ended(self, execution_id: str, timeout_s: float | None = None) -> ExecutionReport:
        """Wait for the end, at most so long: the report then says what is the case."""
        ...

    async def cancel(self, execution_id: str, reason: str = "") -> Cancelled: ...

    async def context(self, execution_id: str) -> ExecutionContext: ...

    async def events(self, execution_id: str, *, after: int = 0, limit: int = 1000) -> EventList:
        """Events with a number above `after`."""
        ...

    def watch(self, execution_id: str, *, after: int = 0) -> AsyncIterator[EventView]:
        """Events as they are committed, from the one behind `after` until the execution has ended."""
        ...

    async def render(self, wanted: RenderRequest) -> Rendered: ...

    async def put_credential(self, wanted: CredentialRequest) -> CredentialView: ...

    async def credentials(self) -> CredentialList: ...

    async def credential(self, name: str) -> CredentialView: ...

    async def delete_credential(self, name: str) -> None: ...
