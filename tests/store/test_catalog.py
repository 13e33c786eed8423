"""Registered playbooks, tokens, idempotency keys, the audit log; and whose executions are taken over."""

from __future__ import annotations

import asyncio
import datetime as dt

import msgspec
import pytest

from noetl.store.access import AuditRow, Request, TokenRow
from noetl.store.catalog import CatalogEntry, PlaybookVersion, SchemaVersion, content_hash
from noetl.store.lease import Owner
from noetl.store.log import RowChange
from noetl.store.projection import ExecutionQuery
from noetl.store.store import Store
from tests.store.appends import AT, append, keep, owner, row

HOUR = dt.timedelta(hours=1)


def version(path: str, text: str, **more: object) -> tuple[PlaybookVersion, CatalogEntry]:
    made = {"path": path, "version": 0, "hash": content_hash(text, {}), "net": f"net of {text}", "source": text, "registered_at": AT} | more
    return PlaybookVersion(**made), CatalogEntry(f"net of {text}", path, text, text.encode())  # type: ignore[arg-type]


async def test_versions_count_up_and_the_same_content_makes_none(store: Store) -> None:
    for text, number, is_new in (("one", 1, True), ("one", 1, False), ("two", 2, True), ("one", 3, True)):
        kept, new = await store.catalog.register(*version("a/b", text))
        assert (kept.version, kept.source, new) == (number, text, is_new)
    labelled, new = await store.catalog.register(*version("a/b", "one", labels={"x": "y"}))
    assert (labelled.version, new) == (4, True)
    assert [each.version for each in await store.catalog.versions("a/b")] == [4, 3, 2, 1]
    assert await store.catalog.playbook("a/b") == labelled
    assert (await store.catalog.playbook("a/b", 2)).source == "two"  # type: ignore[union-attr]
    assert await store.catalog.playbook("a/b", 9) is None
    assert (await store.catalog.by_hash("net of two")).source == "two"  # type: ignore[union-attr]


async def test_registrations_at_the_same_time_have_versions_of_their_own(store: Store) -> None:
    found = await asyncio.gather(*(store.catalog.register(*version("a/b", f"text {number}")) for number in range(20)))
    assert sorted(kept.version for kept, _ in found) == list(range(1, 21))


async def test_the_latest_of_each_path_is_listed_in_pages(store: Store) -> None:
    for path in ("c", "a", "b", "a"):
        await store.catalog.register(*version(path, f"{path} {len(await store.catalog.versions(path))}"))
    assert [(each.path, each.version) for each in await store.catalog.playbooks()] == [("a", 2), ("b", 1), ("c", 1)]
    assert [each.path for each in await store.catalog.playbooks(after="a", limit=1)] == ["b"]


async def test_pruning_keeps_the_compiled_playbooks_that_are_registered(store: Store) -> None:
    await store.catalog.register(*version("a", "kept"))
    await store.catalog.keep(version("a", "of no use")[1])
    await store.executions.prune(AT)
    assert await store.catalog.by_hash("net of kept") is not None
    assert await store.catalog.by_hash("net of of no use") is None


def test_the_hash_of_content_depends_on_every_file_and_where_it_ends() -> None:
    assert len({content_hash("x", files) for files in ({}, {"a": "bc"}, {"ab": "c"}, {"a": "b", "c": ""}, {"a": "b"})}) == 5


async def test_a_key_belongs_to_the_request_that_came_first(store: Store) -> None:
    first = Request("me", "k", b"1", 7, AT)
    assert await store.requests.claim(first) == first
    assert await store.requests.claim(Request("me", "k", b"2", 8, AT + HOUR)) == first
    other = Request("you", "k", b"2", 8, AT)
    assert await store.requests.claim(other) == other


async def test_tokens_are_found_by_their_hash_and_can_be_revoked(store: Store) -> None:
    token = TokenRow(id="1", hash=b"h", name="n", role="editor", domains=("a", "b"), created_at=AT, created_by="me", expires_at=AT + HOUR)
    await store.tokens.add(token)
    assert await store.tokens.by_hash(b"h") == token
    assert await store.tokens.by_hash(b"g") is None
    assert await store.tokens.revoke("1", AT + HOUR)
    assert await store.tokens.revoke("1", AT + 2 * HOUR)
    assert not await store.tokens.revoke("2", AT)
    assert [each.revoked_at for each in await store.tokens.all()] == [AT + HOUR], "since when it was revoked first"


async def test_the_audit_log_tells_the_newest_first(store: Store) -> None:
    rows = [AuditRow(at=AT, actor="me", action="catalog.register", subject=str(number), outcome="done") for number in range(3)]
    for each in rows:
        await store.audit.note(each)
    assert await store.audit.latest(2) == [rows[2], rows[1]]


def is_dead(_: Owner) -> bool:
    return False


async def test_what_nodes_have_left_is_adopted_and_what_runs_have_left_is_not(store: Store) -> None:
    old, new = await store.shards.new_shard(owner()), await store.shards.new_shard(owner())
    for id_, origin, status in ((1, "node", "running"), (2, "run", "running"), (3, "node", "completed"), (4, "node", "waiting")):
        made = row(id_, old.id, origin=origin)
        ended = AT if status == "completed" else None
        change = RowChange(status=status, ended_at=ended, wake_at=AT + HOUR if status == "waiting" else None)  # type: ignore[arg-type]
        await keep(store, append(id_, 1, old, created=made, change=change))
    await keep(store, append(5, 1, old, created=row(5, old.id, origin="node", root_id=1, parent_id=1)))
    assert await store.shards.adopt_left(new, lambda _: True) == [], "its owner is alive"
    assert await store.shards.adopt_left(new, is_dead) == [1, 5]
    shards = {each.id: each.shard for each in await store.executions.family(1)} | {
        id_: (await store.executions.execution(id_)).shard  # type: ignore[union-attr]
        for id_ in (2, 3, 4)
    }
    assert shards == {1: new.id, 5: new.id, 4: new.id, 2: old.id, 3: old.id}
    assert not await store.shards.is_ours(old), "whoever comes back to it can't write"


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ({}, [4, 3, 2, 1]),
        ({"domains": ("a",)}, [2, 1]),
        ({"domains": ()}, []),
        ({"label": ("team", None)}, [3, 1]),
        ({"label": ("team", "red")}, [1]),
        ({"label": ("tea", None)}, []),
        ({"since": AT + HOUR}, [4, 3, 2]),
        ({"until": AT + 2 * HOUR}, [2, 1]),
        ({"before": 3, "limit": 1}, [2]),
        ({"path": "b"}, [3]),
    ],
)
async def test_executions_are_listed_by_what_is_asked_for(store: Store, query: dict[str, object], ids: list[int]) -> None:
    shard = await store.shards.new_shard(owner())
    about = (("a/x", {"team": "red"}), ("a/y", {}), ("b", {"team": "blue"}), ("ab", {"other": "team"}))
    for id_, (path, labels) in enumerate(about, 1):
        made = row(id_, shard.id, path=path, labels=labels, requested_at=AT + (id_ - 1) * HOUR)
        await keep(store, append(id_, 1, shard, created=made))
    assert [each.id for each in await store.executions.list_executions(ExecutionQuery(**query))] == ids  # type: ignore[arg-type]


async def test_schemas_have_versions_and_the_same_one_makes_none(store: Store) -> None:
    def wanted(name: str, digest: str) -> SchemaVersion:
        return SchemaVersion(name=name, version=0, hash=digest, schema={"title": digest}, registered_at=AT, registered_by="me")

    assert [await store.schemas.register(wanted("risk/a", digest)) for digest in ("1", "1", "2")] == [
        (msgspec.structs.replace(wanted("risk/a", "1"), version=1), True),
        (msgspec.structs.replace(wanted("risk/a", "1"), version=1), False),
        (msgspec.structs.replace(wanted("risk/a", "2"), version=2), True),
    ]
    await store.schemas.register(wanted("risk/b", "3"))
    assert [(found.name, found.version) for found in await store.schemas.schemas()] == [("risk/a", 2), ("risk/b", 1)]
    assert [found.name for found in await store.schemas.schemas(after="risk/a", limit=1)] == ["risk/b"]
    first = await store.schemas.schema("risk/a", 1)
    assert first is not None
    assert first.schema == {"title": "1"}
    assert await store.schemas.schema("risk/a", 3) is None
    assert await store.schemas.schema("nobody") is None
