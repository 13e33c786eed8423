"""A node from start to end, in this process."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import secrets
import sys
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from noetl.clock import Clock, OffsetClock, SystemClock
from noetl.errors import NoetlError
from noetl.ids import ExecutionIds
from noetl.node.artifacts import artifacts_root
from noetl.node.incarnation import is_alive, this_process
from noetl.node.place import Place, opened_place
from noetl.node.profile import Profile, needed, settings_on
from noetl.probe import Probe
from noetl.settings import Settings, TestingSettings
from noetl.tools.tool import Resources
from noetl.vault.keyring import KeyRing, open_keys
from noetl.vault.secrets import Secrets
from noetl.vault.vaults.file import FileVault, read_credentials

if TYPE_CHECKING:
    from noetl.actors.loop import Runtime
    from noetl.actors.ref import Ref
    from noetl.engine.adoption import Adoption
    from noetl.engine.local import LocalClient
    from noetl.node.parts import Parts
    from noetl.store.store import Store
    from noetl.supervisors.spec import ChildSpec

T = TypeVar("T")

_GC_THRESHOLDS: Final = (100_000, 20, 10)
"""Most garbage here dies by reference count; the default thresholds cost a tenth of the throughput."""


@dataclass(frozen=True, slots=True)
class Serve:
    """That a node stays up: under which name it is known; if it has the API, where that listens, and whether callers must say who they are."""

    id: str
    host: str
    port: int
    asks_who: bool


@dataclass(frozen=True, slots=True)
class Node:
    """A node that runs."""

    id: str
    runtime: Runtime
    parts: Parts
    client: LocalClient
    left: Adoption | None
    """How what other processes have left is gone on with; None in a cluster, where that happens by itself."""
    probe: Probe
    root: Ref[Any]
    socket: Path
    """Where it is asked what it does."""
    warnings: tuple[str, ...] = ()
    """What is missing, though the node runs."""


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
    title: str = "",
    serve: Serve | None = None,
) -> AsyncIterator[Node]:
    """Boot a node, and stop it at the end.

    `store` is a file, a directory, `memory`, or None for the one in `home`. `kinds` are tools that will be called soon: what takes long to
    start of what they need is started first. `title` says to others what the node is there for. `serve`: it stays up; then it goes on with the
    executions that nodes before it have left.

    Raises:
        NoetlError: a branch of the tree does not start: the store can't be opened, a setting can't be.
    """
    settings = settings_on(profile, settings)
    needed(profile, settings)
    vault = FileVault(read_credentials(Path(settings.credentials)) if settings.credentials else {})
    with opened_place(home, store) as place:
        resources = Resources(settings, place.directory / "run", artifacts_root(profile, settings, place.directory))
        try:
            await _start_early(resources, kinds)
            keys = await open_keys(settings.vault, None if place.file is None else place.directory, environment)
            parts = _parts(profile, settings, place, vault, keys, resources, environment, clock or _clock(settings.testing), serve)
            async with _running(parts, home, title, *_with_bus(parts)) as node:
                yield node
        finally:
            await resources.close()


def _clock(testing: TestingSettings) -> Clock:
    return SystemClock() if testing.clock_offset_file is None else OffsetClock(Path(testing.clock_offset_file))


async def _start_early(resources: Resources, kinds: Collection[str]) -> None:
    """The processes for the author's code start while this one goes on importing."""
    if "python" in kinds:
        from noetl.tools.sandbox.pool import open_sandbox  # noqa: PLC0415  only where it is needed

        await resources.get("python", open_sandbox)


def _parts(
    profile: Profile,
    settings: Settings,
    place: Place,
    vault: FileVault,
    keys: KeyRing,
    resources: Resources,
    environment: Mapping[str, str],
    clock: Clock,
    serve: Serve | None,
) -> Parts:
    from noetl.node.parts import Parts, Serving  # noqa: PLC0415  imports the engine, after `_start_early`

    return Parts(
        owner=this_process(f"run-{secrets.token_hex(4)}" if serve is None else serve.id),
        settings=settings,
        profile=profile,
        directory=place.directory,
        open_store=partial(_open_store, profile, settings, place),
        keeps_files=place.file is not None,
        vault=vault,
        keys=keys,
        secrets=Secrets(keys),
        resources=resources,
        clock=clock,
        probe=Probe(),
        ids=ExecutionIds(clock),
        environment=environment,
        serving=None if serve is None else Serving(serve.host, serve.port, serve.asks_who, clock.now()),
    )


async def _open_store(profile: Profile, settings: Settings, place: Place, more: Callable[[], bool]) -> Store:
    """A cluster's nodes share a server's; any other process has a file."""
    if profile.is_member:
        from noetl.store.logs.postgres import open_postgres  # noqa: PLC0415  its driver is slow to import

        return await open_postgres(settings.postgres, settings.store, place.directory, more)
    from noetl.store.logs.sqlite import open_sqlite  # noqa: PLC0415  as above

    return await open_sqlite(place.file, place.directory, settings.store, more)


def _with_bus(parts: Parts) -> tuple[ChildSpec, ...]:
    """The branch that keeps the connection to the bus, where there is one."""
    if not parts.profile.is_member:
        return ()
    from noetl.cluster.link import link_spec  # noqa: PLC0415  only in a cluster
    from noetl.mailbox.transports.jetstream import NatsBus  # noqa: PLC0415  its driver is slow to import

    bus = NatsBus(parts.settings.nats, parts.owner.node)
    parts.bus = bus
    return (link_spec(bus, parts.settings.nats),)


@contextlib.asynccontextmanager
async def _running(parts: Parts, home: Path, title: str, *more: ChildSpec) -> AsyncIterator[Node]:
    from noetl.actors.loop import Runtime  # noqa: PLC0415  as above
    from noetl.actors.watchdog import watch  # noqa: PLC0415
    from noetl.node.reports import crashes, written  # noqa: PLC0415
    from noetl.node.serving import adoption, local_client  # noqa: PLC0415
    from noetl.node.tree import tree  # noqa: PLC0415
    from noetl.supervisors.static import GaveUp, start_tree  # noqa: PLC0415

    runtime = Runtime(parts.clock, parts.probe)
    if parts.serving is not None:
        parts.serving.runtime = runtime
    with written(parts):
        try:
            root = await start_tree(runtime, tree(parts, *more))
        except GaveUp as error:
            raise _cause(error) from error
        with contextlib.closing(crashes(parts)), contextlib.closing(watch(runtime, hang_s=parts.settings.engine.loop_hang_s)):
            try:
                client, left = local_client(parts, runtime), adoption(parts, runtime)
                if parts.serving is not None and left is not None:
                    await left.take_up_left(is_alive)
                async with _control(runtime, parts, home, title) as (socket, warnings):
                    yield Node(parts.owner.node, runtime, parts, client, left, parts.probe, root, socket, warnings)
            finally:
                await runtime.stop(root)


@contextlib.asynccontextmanager
async def _control(runtime: Runtime, parts: Parts, home: Path, title: str) -> AsyncIterator[tuple[Path, tuple[str, ...]]]:
    """A tree of its own, so that whatever happens to those who look on does not touch the work."""
    from noetl.node.control import Control, socket_file  # noqa: PLC0415  as above
    from noetl.supervisors.spec import ChildSpec, SupervisorSpec  # noqa: PLC0415
    from noetl.supervisors.static import start_tree  # noqa: PLC0415

    warnings: list[str] = []
    file = socket_file(home, parts.owner.node)
    start = partial(Control, runtime, file, parts.owner.node, parts.secrets.scrub(title), scrub=parts.secrets.scrub, lost=warnings.append)
    control = await start_tree(runtime, SupervisorSpec(id="control", children=(ChildSpec(id="socket", start=start),)))
    try:
        yield file, tuple(warnings)
    finally:
        await runtime.stop(control)


def known_left(node: Node) -> Adoption:
    """Of a process that has a private shard."""
    assert node.left is not None
    return node.left


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
