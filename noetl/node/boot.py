"""A node from start to end, in this process."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from noetl.actors.loop import Runtime
from noetl.actors.ref import Ref
from noetl.clock import Clock, SystemClock
from noetl.engine.client import LocalClient
from noetl.errors import LogUnavailable, NoetlError
from noetl.ids import ExecutionIds
from noetl.node.incarnation import this_process
from noetl.node.profile import Profile
from noetl.node.tree import Parts, tree
from noetl.probe import Probe
from noetl.settings import Settings
from noetl.supervisors.static import GaveUp, start_tree, which_children
from noetl.vault.key import read_or_make_key
from noetl.vault.secrets import Secrets
from noetl.vault.vaults.file import FileVault

T = TypeVar("T")

MEMORY = "memory"
"""The store that is gone with the process."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node that runs."""

    id: str
    runtime: Runtime
    parts: Parts
    client: LocalClient
    probe: Probe
    root: Ref[Any]


@contextlib.asynccontextmanager
async def running_node(
    profile: Profile, settings: Settings, *, home: Path, store: str | None, environment: Mapping[str, str], clock: Clock | None = None
) -> AsyncIterator[Node]:
    """Boot a node, and stop it at the end.

    `store` is a file, a directory, `memory`, or None for the one in `home`.

    Raises:
        NoetlError: a branch of the tree does not start: the store can't be opened, a setting can't be.
    """
    sys.setswitchinterval(0.0001)  # a busy loop must not starve the store's writer thread
    if store == MEMORY:
        with tempfile.TemporaryDirectory(prefix="noetl-") as directory:
            async with _running(profile, settings, Path(directory), None, environment, clock or SystemClock()) as node:
                yield node
    else:
        async with _running(profile, settings, *store_place(home, store), environment, clock or SystemClock()) as node:
            yield node


@contextlib.asynccontextmanager
async def _running(
    profile: Profile, settings: Settings, directory: Path, file: Path | None, environment: Mapping[str, str], clock: Clock
) -> AsyncIterator[Node]:
    probe = Probe()
    runtime = Runtime(clock, probe)
    node_id = f"run-{secrets.token_hex(4)}"
    parts = Parts(
        owner=this_process(node_id),
        settings=settings,
        profile=profile,
        directory=directory,
        store_file=file,
        keeps_logs=file is not None,
        vault=FileVault(Path(settings.credentials) if settings.credentials else None),
        secrets=Secrets(lambda: secrets.token_bytes(32) if file is None else read_or_make_key(directory / "vault.key")),
        clock=clock,
        probe=probe,
        registry=runtime.registry,
        ids=ExecutionIds(clock),
        environment=environment,
    )
    try:
        root = await start_tree(runtime, tree(parts))
    except GaveUp as error:
        raise _cause(error) from error
    try:
        shard = (await which_children(root))["shard"]
        assert shard is not None
        assert parts.engine is not None
        assert parts.lease is not None
        client = LocalClient(parts.engine, shard, parts.lease, parts.ids, environment)
        yield Node(node_id, runtime, parts, client, probe, root)
    finally:
        await runtime.stop(root)


def store_place(home: Path, store: str | None) -> tuple[Path, Path]:
    """The directory of a store, and its file."""
    if store is None:
        return home, home / "noetl.db"
    path = Path(store).absolute()
    return (path, path / "noetl.db") if path.is_dir() else (path.parent, path)


def run_on_loop(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine on the fastest event loop there is."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(work())
    return uvloop.run(work())


def _cause(error: BaseException) -> NoetlError:
    """What a person should read of a tree that did not start: the reason at the end of the chain."""
    while isinstance(error, GaveUp) and isinstance(error.reason, BaseException):
        error = error.reason
    return error if isinstance(error, NoetlError) else LogUnavailable(f"the node did not start: {error!r}")
