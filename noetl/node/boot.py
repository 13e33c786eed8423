"""A node from start to end, in this process."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import secrets
import sys
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from noetl.clock import Clock, SystemClock
from noetl.errors import NoetlError
from noetl.ids import ExecutionIds
from noetl.node.incarnation import this_process
from noetl.node.place import Place, opened_place
from noetl.node.profile import Profile
from noetl.probe import Probe
from noetl.settings import Settings
from noetl.tools.tool import Resources
from noetl.vault.key import read_or_make_key
from noetl.vault.secrets import Secrets
from noetl.vault.vaults.file import FileVault, read_credentials

if TYPE_CHECKING:
    from noetl.actors.loop import Runtime
    from noetl.actors.ref import Ref
    from noetl.engine.client import LocalClient
    from noetl.node.tree import Parts

T = TypeVar("T")

_GC_THRESHOLDS: Final = (100_000, 20, 10)
"""Most garbage here dies by reference count; the default thresholds cost a tenth of the throughput."""


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
    profile: Profile,
    settings: Settings,
    *,
    home: Path,
    store: str | None,
    environment: Mapping[str, str],
    clock: Clock | None = None,
    kinds: Collection[str] = (),
) -> AsyncIterator[Node]:
    """Boot a node, and stop it at the end.

    `store` is a file, a directory, `memory`, or None for the one in `home`. `kinds` are tools that will be called soon: what takes long to
    start of what they need is started first.

    Raises:
        NoetlError: a branch of the tree does not start: the store can't be opened, a setting can't be.
    """
    vault = FileVault(read_credentials(Path(settings.credentials)) if settings.credentials else {})
    with opened_place(home, store) as place:
        resources = Resources(settings, place.directory / "run", place.directory / "artifacts")
        try:
            await _start_early(resources, kinds)
            parts = _parts(profile, settings, place, vault, resources, environment, clock or SystemClock())
            async with _running(parts) as node:
                yield node
        finally:
            await resources.close()


async def _start_early(resources: Resources, kinds: Collection[str]) -> None:
    """The processes for the author's code start while this one goes on importing."""
    if "python" in kinds:
        from noetl.tools.sandbox.pool import open_sandbox  # noqa: PLC0415  only where it is needed

        await resources.get("python", open_sandbox)


def _parts(
    profile: Profile, settings: Settings, place: Place, vault: FileVault, resources: Resources, environment: Mapping[str, str], clock: Clock
) -> Parts:
    from noetl.node.tree import Parts  # noqa: PLC0415  imports the engine, after `_start_early`

    return Parts(
        owner=this_process(f"run-{secrets.token_hex(4)}"),
        settings=settings,
        profile=profile,
        directory=place.directory,
        store_file=place.file,
        vault=vault,
        secrets=Secrets(lambda: secrets.token_bytes(32) if place.file is None else read_or_make_key(place.directory / "vault.key")),
        resources=resources,
        clock=clock,
        probe=Probe(),
        ids=ExecutionIds(clock),
        environment=environment,
    )


@contextlib.asynccontextmanager
async def _running(parts: Parts) -> AsyncIterator[Node]:
    from noetl.actors.loop import Runtime  # noqa: PLC0415  as above
    from noetl.engine.client import LocalClient  # noqa: PLC0415
    from noetl.node.tree import tree  # noqa: PLC0415
    from noetl.supervisors.static import GaveUp, start_tree, which_children  # noqa: PLC0415

    runtime = Runtime(parts.clock, parts.probe)
    try:
        root = await start_tree(runtime, tree(parts))
    except GaveUp as error:
        raise _cause(error) from error
    try:
        shard = (await which_children(root))["shard"]
        assert shard is not None
        assert parts.engine is not None
        assert parts.lease is not None
        client = LocalClient(parts.engine, shard, parts.lease, parts.ids, parts.environment)
        yield Node(parts.owner.node, runtime, parts, client, parts.probe, root)
    finally:
        await runtime.stop(root)


def run_on_loop(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine in a process that is there for it alone, on the fastest event loop there is."""
    sys.setswitchinterval(0.0001)  # a busy loop must not starve the store's writer thread
    gc.freeze()  # what was imported stays
    gc.set_threshold(*_GC_THRESHOLDS)
    try:
        import uvloop  # noqa: PLC0415  not on every system
    except ImportError:
        return asyncio.run(work())
    return uvloop.run(work())


def _cause(error: Any) -> NoetlError:
    """What a person should read of a tree that did not start: the reason at the end of the chain."""
    while isinstance(getattr(error, "reason", None), BaseException):
        error = error.reason
    return error if isinstance(error, NoetlError) else NoetlError(f"the node did not start: {error!r}")
