"""What an operator can set, as frozen Structs. `node/profile.py` reads the files and the environment; nothing else does."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

Count = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0)]


class ApiSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The HTTP API of a node."""

    host: str = "127.0.0.1"
    """Where it listens."""
    port: Annotated[int, Meta(ge=0, le=65_535)] = 8082
    """0: any that is free."""
    auth: Literal["auto", "on", "off"] = "auto"
    """Whether a token is asked for. auto: unless a node of profile `solo` listens on loopback."""
    body_max_bytes: Count = 16_777_216
    read_timeout_s: Seconds = 30.0
    """How long the body of a request may take to come."""
    requests_max: Count = 1_000
    """Requests that start something and are under way at once; more are answered 429."""
    origins: tuple[str, ...] = ()
    """Origins whose pages may call it from a browser, such as https://noetl.example."""


class ValueLimits(Struct, frozen=True, forbid_unknown_fields=True):
    """Sizes of encoded values, in bytes."""

    inline_max_bytes: Count = 65_536
    """Above this a value is kept in the artifact store and a handle travels."""
    result_max_bytes: Count = 268_435_456
    """Above this a result fails its attempt."""


class PythonSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The processes that run the author's code."""

    processes: Count | None = None
    """How many at most; None: as many as cores."""
    calls_per_process: Count = 1_000
    memory_bytes: Count = 2_147_483_648
    """Resident memory of one call's process, unless the task says otherwise."""
    timeout_s: Seconds = 300.0
    log_max_bytes: Count = 1_048_576
    """Captured output of one attempt; what is beyond is counted and dropped."""


class StoreSettings(Struct, frozen=True, forbid_unknown_fields=True):
    snapshot_every: Count = 1_000
    """Events of one execution between two snapshots."""
    lock_wait_s: Seconds = 30.0
    """How long an append waits for another process that holds the SQLite file."""
    durability: Literal["full", "normal"] = "full"
    """`normal` gives up: the last commits before a power loss. A kill -9 loses nothing under either."""


class ArtifactSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the nodes of a cluster keep values that are too large for the log."""

    url: str = "nats:noetl-artifacts"
    """`nats:BUCKET`, `s3://BUCKET/PREFIX`, `gs://…`, `az://…`; or `directory`: in the store's directory, which all nodes must then share."""
    local_max_bytes: Count = 10_737_418_240
    """Of this machine's disk, for copies of what lies in the bucket."""


class EngineSettings(Struct, frozen=True, forbid_unknown_fields=True):
    passivate_after_s: Seconds = 30.0
    """An execution that has nothing to do for at least this long leaves memory and is woken by the store."""
    inbox_poll_s: Seconds = 0.5
    """How often the store is asked for messages from other processes."""
    loop_hang_s: Seconds | None = 60.0
    """A handler that holds the event loop for that long can't be stopped: the process ends, with status 70. None: never."""


class LogSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """What the runtime reports: crashes of actors, and what holds the event loop."""

    format: Literal["text", "json"] = "text"
    """`json`: an object a line."""


class HttpSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Whom the node may call by HTTP, besides everybody's addresses."""

    allow: tuple[str, ...] = ()
    """Hosts, networks, and classes of addresses: `loopback`, `link-local`, `private`."""


class VaultSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the master key of the vault comes from, unless from `vault.key` beside the store; and what may be read from the environment."""

    key_env: str | None = None
    """Name of an environment variable that holds it."""
    key_command: str | None = None
    """A shell command that prints it. Comes before `key_env`."""
    env_allow: tuple[str, ...] = ()
    """Environment variables that credentials may be read from (`source: env`)."""


class PostgresSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The store that the nodes of a cluster share."""

    dsn: str | None = None
    """postgresql://USER:PASSWORD@HOST:PORT/DATABASE."""
    pool_max: Count = 4
    """Connections of one node for what is not an append."""
    connect_timeout_s: Seconds = 5.0
    statement_timeout_s: Seconds = 15.0
    """A connection on which nothing comes back for so long is taken for lost: where a network swallows everything, nobody else says so."""
    start_timeout_s: Seconds = 30.0
    """How long a node that starts waits for a server that can't be reached."""


class NatsSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The bus between nodes."""

    urls: tuple[str, ...] = ()
    """nats://HOST:PORT, of one server or of several of a cluster. A user and a password may stand before the host."""
    replicas: Annotated[int, Meta(ge=1, le=5)] = 1
    """Of the streams: 3 on a cluster of NATS servers."""
    connect_timeout_s: Seconds = 2.0
    silence_s: Seconds = 3.0
    """A bus that does not bring back what was sent to oneself for so long is left, and connected to again."""


class ClusterSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """How nodes live together."""

    lease_s: Seconds = 2.0
    """A node that could not renew its lease for so long is taken for dead."""
    return_s: Seconds = 20.0
    """How long a node is waited for that is gone, and has what a step needs: its execution's DuckDB database."""
    events: bool = True
    """Whether committed events are put on the bus, for live views and other systems."""


class TestingSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """What only tests set."""

    clock_offset_file: str | None = None
    """A file that says by how many seconds the node's wall clock is off. None: it is right."""


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """Everything. Each role is handed its own part."""

    values: ValueLimits = ValueLimits()
    python: PythonSettings = PythonSettings()
    store: StoreSettings = StoreSettings()
    artifacts: ArtifactSettings = ArtifactSettings()
    engine: EngineSettings = EngineSettings()
    log: LogSettings = LogSettings()
    api: ApiSettings = ApiSettings()
    http: HttpSettings = HttpSettings()
    vault: VaultSettings = VaultSettings()
    postgres: PostgresSettings = PostgresSettings()
    nats: NatsSettings = NatsSettings()
    cluster: ClusterSettings = ClusterSettings()
    testing: TestingSettings = TestingSettings()
    playbook_path: tuple[str, ...] = ()
    """Catalog roots: folders in which a playbook path is looked up."""
    credentials: str | None = None
    """A JSON file: a list of {name, type, data}."""
    env_allow: tuple[str, ...] = ()
    """Environment variables that playbooks and their code may read."""
