"""The tables of the SQLite store, and how an older file becomes a newer one. Described in docs/reference/store.md."""

from __future__ import annotations

import sqlite3
from typing import Final

from noetl.errors import LogUnavailable, StoreTooNew

APPLICATION_ID: Final = 0x4E6F4554  # "NoET"

_V1: Final = """
create table executions (
    id           integer primary key,
    root_id      integer not null,
    parent_id    integer,
    path         text    not null,
    net          text    not null,
    shard        integer not null,
    status       text    not null,
    requested_at integer not null,
    started_at   integer,
    ended_at     integer,
    wake_at      integer,
    error        text
);
create index executions_by_root on executions (root_id);
create index executions_by_wake on executions (shard, wake_at) where wake_at is not null;

create table events (
    sequence     integer primary key autoincrement,
    execution_id integer not null,
    version      integer not null,
    first_seq    integer not null,
    count        integer not null,
    at           integer not null,
    shard        integer not null,
    body         blob    not null,
    hash         blob    not null,
    unique (execution_id, version)
);

create table snapshots (
    execution_id integer primary key,
    version      integer not null,
    next_seq     integer not null,
    hash         blob    not null,
    evolve       text    not null,
    body         blob    not null
);

create table loop_items (
    execution_id integer not null,
    run          integer not null,
    idx          integer not null,
    body         blob    not null,
    primary key (execution_id, run, idx)
) without rowid;

create table inbox (
    id           integer primary key autoincrement,
    execution_id integer not null,
    kind         text    not null,
    body         blob    not null
);
create index inbox_by_execution on inbox (execution_id);

create table shards (
    id     integer primary key autoincrement,
    epoch  integer not null,
    node   text,
    pid    integer,
    began  text,
    boot   text,
    host   text
);

create table catalog (
    hash   text primary key,
    path   text not null,
    file   text,
    source text not null,
    net    blob not null
);
"""

_CREDENTIALS: Final = """
create table credentials (
    name        text    not null,
    version     integer not null,
    kind        text    not null,
    sealed      blob,
    data_key    blob,
    key_id      text,
    fields      text    not null,
    domains     text    not null,
    hosts       text    not null,
    description text    not null,
    at          integer not null,
    by          text    not null,
    primary key (name, version)
) without rowid;

create table credential_openings (
    id           integer primary key autoincrement,
    name         text    not null,
    version      integer not null,
    execution_id integer not null,
    step         text    not null,
    at           integer not null
);
create index credential_openings_by_name on credential_openings (name, id);
"""

_SERVER: Final = """
alter table executions add column version integer;
alter table executions add column labels text not null default '{}';
alter table executions add column requested_by text not null default '';
alter table executions add column origin text not null default 'run';
create index executions_by_path on executions (path, id);

create table playbooks (
    path          text    not null,
    version       integer not null,
    hash          text    not null,
    net           text    not null,
    source        text    not null,
    files         blob    not null,
    labels        text    not null,
    registered_at integer not null,
    registered_by text    not null,
    primary key (path, version)
) without rowid;

create table requests (
    caller       text    not null,
    key          text    not null,
    digest       blob    not null,
    execution_id integer not null,
    at           integer not null,
    primary key (caller, key)
) without rowid;

create table tokens (
    id         text    primary key,
    hash       blob    not null unique,
    name       text    not null,
    role       text    not null,
    domains    text    not null,
    created_at integer not null,
    created_by text    not null,
    expires_at integer,
    revoked_at integer
) without rowid;

create table audit (
    id      integer primary key autoincrement,
    at      integer not null,
    actor   text    not null,
    action  text    not null,
    subject text    not null,
    outcome text    not null
);
"""

_CLUSTER: Final = """
update shards set id = id + 1000000;
update executions set shard = shard + 1000000;
update events set shard = shard + 1000000;
delete from sqlite_sequence where name = 'shards';
alter table shards add column common integer not null default 0;
alter table shards add column life integer;
insert into shards (id, epoch, common) select value, 0, 1 from generate_series_64;
insert or ignore into sqlite_sequence (name, seq) values ('shards', 0);
update sqlite_sequence set seq = max(1000000, (select max(id) from shards)) where name = 'shards';
create index events_by_shard on events (shard, sequence);

create table nodes (
    life         integer primary key autoincrement,
    id           text    not null,
    about        text    not null,
    lease        integer not null,
    lease_until  integer not null,
    steady_since integer not null,
    draining     integer not null default 0,
    ended_at     integer
);
create unique index nodes_by_id on nodes (id) where ended_at is null;

create table positions (
    reader   text    not null,
    shard    integer not null,
    sequence integer not null,
    primary key (reader, shard)
) without rowid;
""".replace("generate_series_64", "(with recursive n (value) as (select 1 union all select value + 1 from n where value < 64) select value from n)")

_SCHEMAS: Final = """
create table schemas (
    name          text    not null,
    version       integer not null,
    hash          text    not null,
    schema        text    not null,
    registered_at integer not null,
    registered_by text    not null,
    primary key (name, version)
) without rowid;
"""

_FORMATS: Final = """
alter table shards add column format integer not null default 1;
update shards set format = 2 where id in (select shard from executions);
"""

MIGRATIONS: Final = (_V1, _CREDENTIALS, _SERVER, _CLUSTER, _SCHEMAS, _FORMATS)
"""Step n brings a store from version n to n + 1. Forward only."""


def version_of(connection: sqlite3.Connection) -> int:
    """The format of an opened file, 0 for a new one. Changes nothing: the file may be somebody else's.

    Raises:
        StoreTooNew: a newer NoETL wrote it.
        LogUnavailable: it is some other program's database.
    """
    version: int = connection.execute("pragma user_version").fetchone()[0]
    application: int = connection.execute("pragma application_id").fetchone()[0]
    if application != APPLICATION_ID and (application or version or _has_tables(connection)):
        raise LogUnavailable("the file is a database of another program")
    if version > len(MIGRATIONS):
        raise StoreTooNew(f"the store has format {version}, this NoETL knows formats up to {len(MIGRATIONS)}: use the newer NoETL that wrote it")
    return version


def migrate(connection: sqlite3.Connection) -> None:
    """Bring an opened file to this version's tables. Raises as `version_of`."""
    if version_of(connection) == len(MIGRATIONS):
        return
    connection.execute("begin immediate")
    try:
        for step in MIGRATIONS[version_of(connection) :]:  # looked at again: another process may have been quicker
            for statement in step.split(";\n"):
                connection.execute(statement)
        connection.execute(f"pragma user_version = {len(MIGRATIONS)}")
        connection.execute(f"pragma application_id = {APPLICATION_ID}")
        connection.execute("commit")
    except BaseException:
        connection.execute("rollback")
        raise


def _has_tables(connection: sqlite3.Connection) -> bool:
    return connection.execute("select 1 from sqlite_master limit 1").fetchone() is not None
