"""Artifacts: one contract over a folder, NATS and S3; and what a bucket's copies on a machine are worth."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from noetl.blobs import blob_path, write_blob
from noetl.errors import LogCorrupt, LogUnavailable, NotFound
from noetl.settings import NatsSettings
from noetl.store.artifact import Artifacts, Bucket, BucketUnavailable
from noetl.store.artifacts.disk import DiskArtifacts
from noetl.store.artifacts.nats_bucket import NatsBucket
from noetl.store.artifacts.object_bucket import ObjectBucket
from noetl.store.artifacts.shared import SharedArtifacts
from noetl.values import content_hash
from tests.nats import Nats
from tests.s3 import S3

LARGE = bytes(range(256)) * 4_000
"""Of several chunks of NATS."""
Machine = Callable[[str], Artifacts]
"""The artifacts as the machine of that name has them."""


@pytest.fixture(scope="session")
def s3() -> Iterator[S3]:
    with S3() as running:
        yield running


@pytest.fixture(params=["folder", "nats", "s3"])
async def machine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Machine]:
    async with AsyncExitStack() as stack:
        if request.param == "nats":
            nats: Nats = stack.enter_context(Nats())
        elif request.param == "s3":
            s3: S3 = request.getfixturevalue("s3")
            environment, url = s3.environment, s3.bucket(tmp_path.name)
            patch = stack.enter_context(pytest.MonkeyPatch.context())
            for name, value in environment.items():
                patch.setenv(name, value)

        def of(name: str) -> Artifacts:
            if request.param == "folder":
                return DiskArtifacts(tmp_path / "shared", asyncio.to_thread)
            bucket: Bucket = NatsBucket(NatsSettings(urls=(nats.url,)), "artifacts") if request.param == "nats" else ObjectBucket(url)
            stack.push_async_callback(bucket.close)
            return SharedArtifacts(tmp_path / name, bucket, asyncio.to_thread, 1 << 30)

        yield of


# -- the contract ------------------------------------------------------------------------------------------------------


async def test_what_one_machine_stores_another_reads(machine: Machine) -> None:
    for data in (b"", b"small", LARGE):
        digest = await machine("a").put(data)
        assert digest == content_hash(data)
        assert bytes(await machine("b").get(digest)) == data


async def test_what_a_process_has_written_into_the_folder_is_shared(machine: Machine) -> None:
    a = machine("a")
    digest = write_blob(a.root, LARGE)
    await a.share(digest)
    assert bytes(await machine("b").get(digest)) == LARGE


async def test_what_is_stored_twice_at_once_is_there(machine: Machine) -> None:
    a, b = machine("a"), machine("b")
    assert len(set(await asyncio.gather(*(one.put(LARGE) for one in (a, b, a, b))))) == 1
    assert bytes(await machine("c").get(content_hash(LARGE))) == LARGE


async def test_what_nobody_has_is_not_found(machine: Machine) -> None:
    for digest in (content_hash(b"nobody"), "no hash", "../../etc/passwd"):
        with pytest.raises(NotFound):
            await machine("a").get(digest)
    await machine("a").bring(content_hash(b"nobody"))


async def test_what_is_brought_lies_in_the_folder_with_all_that_it_speaks_of(machine: Machine) -> None:
    a, b = machine("a"), machine("b")
    inner = await a.put(LARGE)
    middle = await a.put(b"one: " + inner.encode() + b" none: " + content_hash(b"none").encode())
    outer = await a.put(b"two: " + middle.encode())
    await b.bring(outer)
    for digest in (outer, middle, inner):
        assert blob_path(b.root, digest).is_file()


async def test_a_disk_that_takes_nothing_is_said(machine: Machine, tmp_path: Path) -> None:
    a = machine("a")
    a.root.parent.mkdir(exist_ok=True)
    a.root.write_text("in the way")
    with pytest.raises(LogUnavailable, match="an artifact can't be written"):
        await a.put(b"x")


# -- copies of what lies in a bucket -----------------------------------------------------------------------------------


class FlakyBucket:
    """In memory; `fails` calls are answered that it can't be reached. `asked` counts reads."""

    def __init__(self, fails: int = 0) -> None:
        self.held: dict[str, bytes] = {}
        self.fails = fails
        self.asked = 0

    async def has(self, digest: str) -> bool:
        self._reach()
        return digest in self.held

    async def put(self, digest: str, data: bytes) -> None:
        self._reach()
        self.held[digest] = data

    async def get(self, digest: str) -> bytes | None:
        self._reach()
        self.asked += 1
        return self.held.get(digest)

    async def close(self) -> None: ...

    def _reach(self) -> None:
        if self.fails:
            self.fails -= 1
            raise BucketUnavailable("it is away")


def shared(root: Path, bucket: Any, most: int = 1 << 30) -> SharedArtifacts:
    return SharedArtifacts(root, bucket, asyncio.to_thread, most)


async def test_a_bucket_that_can_not_be_reached_is_waited_for(tmp_path: Path) -> None:
    bucket = FlakyBucket(fails=2)
    digest = await shared(tmp_path / "a", bucket).put(b"x")
    assert bucket.held == {digest: b"x"}
    bucket.fails = 1
    assert bytes(await shared(tmp_path / "b", bucket).get(digest)) == b"x"


async def test_what_is_to_be_shared_must_be_here(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        await shared(tmp_path / "a", FlakyBucket()).share(content_hash(b"nobody"))


async def test_what_is_here_is_not_fetched_again(tmp_path: Path) -> None:
    bucket = FlakyBucket()
    a, b = shared(tmp_path / "a", bucket), shared(tmp_path / "b", bucket)
    digest = await a.put(b"x")
    for _ in range(3):
        await a.get(digest)
        await b.get(digest)
        await b.bring(digest)
    assert bucket.asked == 1


async def test_a_copy_that_was_changed_is_fetched_again(tmp_path: Path) -> None:
    a = shared(tmp_path / "a", FlakyBucket())
    digest = await a.put(b"x")
    blob_path(a.root, digest).write_bytes(b"y")
    assert bytes(await a.get(digest)) == b"x"


async def test_a_bucket_whose_bytes_were_changed_is_not_believed(tmp_path: Path) -> None:
    bucket = FlakyBucket()
    digest = await shared(tmp_path / "a", bucket).put(b"x")
    bucket.held[digest] = b"y"
    with pytest.raises(LogCorrupt, match="not what was written"):
        await shared(tmp_path / "b", bucket).get(digest)


async def test_old_copies_are_deleted_when_there_are_too_many_and_fetched_when_they_are_wanted(tmp_path: Path) -> None:
    bucket = FlakyBucket()
    a = shared(tmp_path / "a", bucket, most=100)
    old = await a.put(b"o" * 90)
    an_hour_ago = time.time() - 3_600
    os.utime(blob_path(a.root, old), (an_hour_ago, an_hour_ago))
    young = await a.put(b"y" * 90)
    assert not blob_path(a.root, old).exists()
    assert blob_path(a.root, young).exists()
    assert bytes(await a.get(old)) == b"o" * 90


# -- NATS --------------------------------------------------------------------------------------------------------------


async def test_a_bucket_of_nats_outlives_the_server_and_is_made_again_when_it_was_deleted(tmp_path: Path) -> None:
    with Nats() as nats:
        bucket = NatsBucket(NatsSettings(urls=(nats.url,), connect_timeout_s=0.5), "artifacts")
        try:
            a = shared(tmp_path / "a", bucket)
            first = await a.put(LARGE)
            nats.kill()
            storing = asyncio.create_task(a.put(b"while it is away"))
            nats.start()
            second = await storing
            b = shared(tmp_path / "b", bucket)
            assert bytes(await b.get(first)) == LARGE
            assert bytes(await b.get(second)) == b"while it is away"
            nats.wipe()
            nats.start()
            third = await a.put(b"into a new one")
            assert bytes(await shared(tmp_path / "c", bucket).get(third)) == b"into a new one"
        finally:
            await bucket.close()
