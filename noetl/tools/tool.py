"""What a tool is: a module with three names and a coroutine.

    NAME = "http"
    class Input(Struct, frozen=True, forbid_unknown_fields=True): ...
    class Output(Struct, frozen=True): ...
    async def run(given: Input, ctx: ToolContext) -> Output | Any: ...

The engine renders the task's fields, opens its credentials and converts them to `Input`, so that a tool sees plain typed values. It raises
`ToolError` for what the outside world refuses; anything else that it raises is reported as a bug of the tool. A tool that is cancelled stops its
remote work before it lets the cancellation through.
"""

from __future__ import annotations

import asyncio
import importlib
import shutil
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar, cast

from msgspec import Struct

from noetl.clock import Clock
from noetl.errors import ToolRefused
from noetl.settings import Settings

T = TypeVar("T")

BUILT: Final[Mapping[str, str]] = {
    "duckdb": "noetl.tools.duckdb",
    "http": "noetl.tools.http",
    "noop": "noetl.tools.noop",
    "playbook": "noetl.tools.playbook",
    "postgres": "noetl.tools.postgres",
    "python": "noetl.tools.python",
}
"""Kind -> module. A module is imported when its kind is first called, since drivers are slow to import."""

EXTRAS: Final[Mapping[str, str]] = {"aiohttp": "http", "asyncpg": "postgres", "duckdb": "duckdb"}
"""Driver package -> the extra of this package that installs it."""


class Credential(Struct, frozen=True):
    """An opened credential. `kind` is `postgres`, `bearer`, …; `data` its fields, in clear: never logged, never stored."""

    name: str
    kind: str
    data: dict[str, Any]

    def __repr__(self) -> str:
        return f"<credential {self.name} ({self.kind})>"


class Call(Struct, frozen=True):
    """Which call this is. `id` is its idempotency key: a retry after a failure has the same, a deliberate repeat has a new one."""

    id: str
    execution_id: int
    step: str
    run: int
    index: int
    task: str
    attempt: int


class Resource(Protocol):
    """Something that a tool's calls share on a node: a session, a pool, processes."""

    async def close(self) -> None: ...


R = TypeVar("R", bound=Resource)


class Resources:
    """What tools share on one node: opened at first use, closed in reverse order. One opening at a time per key."""

    def __init__(self, settings: Settings, state_dir: Path, artifacts_dir: Path, threads: int = 16) -> None:
        self.settings = settings
        self.state_dir = state_dir
        """Holds one directory per execution for what its tools keep between calls."""
        self.artifacts_dir = artifacts_dir
        self._opened: dict[str, asyncio.Future[Any]] = {}
        self._ended: set[int] = set()
        """Executions that are over and whose directories are still to be deleted."""
        self._threads = threads
        self._executor: ThreadPoolExecutor | None = None

    async def get(self, key: str, open_: Callable[[Resources], Awaitable[R]]) -> R:
        """The resource called `key`; `open_` makes it. An opening that fails is tried again by the next caller."""
        while (future := self._opened.get(key)) is not None:
            try:
                return cast(R, await asyncio.shield(future))
            except asyncio.CancelledError:
                if not future.cancelled():
                    raise  # we were cancelled, not the one who opens
        future = self._opened[key] = asyncio.get_running_loop().create_future()
        try:
            resource = await open_(self)
        except BaseException:
            del self._opened[key]
            future.cancel()
            raise
        future.set_result(resource)
        return resource

    async def run_blocking(self, function: Callable[..., T], *args: Any) -> T:
        """Run a call that blocks (a driver, a file) on a thread. The one door for such calls."""
        if self._executor is None:
            self._executor = ThreadPoolExecutor(self._threads, thread_name_prefix="noetl-tool")
        return await asyncio.get_running_loop().run_in_executor(self._executor, function, *args)

    def execution_dir(self, execution_id: int) -> Path:
        """A directory of the execution's own, deleted at its end. Not made here."""
        return self.state_dir / str(execution_id)

    def end_execution(self, execution_id: int, *, resumable: bool = False) -> Coroutine[Any, Any, None]:
        """Let go of what an execution held. Its directory goes with it, unless it may be resumed; at the latest when all this is closed."""
        if not resumable:
            self._ended.add(execution_id)
        return self._let_go(execution_id, resumable)

    async def _let_go(self, execution_id: int, resumable: bool) -> None:
        for future in list(self._opened.values()):
            if future.done() and not future.cancelled() and hasattr(future.result(), "end_execution"):
                await future.result().end_execution(execution_id)
        directory = self.execution_dir(execution_id)
        if not resumable and directory.exists():  # (few executions have one: that look costs less than a thread)
            await self.run_blocking(shutil.rmtree, directory)
        self._ended.discard(execution_id)

    async def close(self) -> None:
        opened, self._opened = self._opened, {}
        failures: list[Exception] = []
        for future in reversed(opened.values()):
            if not future.done() or future.cancelled():
                continue
            try:
                await future.result().close()
            except Exception as error:  # noqa: BLE001  the others must be closed all the same; raised together below
                failures.append(error)
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
            self._executor = None
        while self._ended:
            shutil.rmtree(self.execution_dir(self._ended.pop()), ignore_errors=True)
        if failures:
            raise ExceptionGroup("closing what the tools shared", failures)


async def _as_it_is(text: str) -> str:
    return text


class ToolContext:
    """What a call may use besides its input."""

    __slots__ = (
        "args",
        "base_dirs",
        "call",
        "clock",
        "credentials",
        "env",
        "hosts",
        "iterator",
        "log",
        "memory_bytes",
        "names",
        "render",
        "resources",
        "scrub",
        "sensitive",
        "timeout_s",
    )

    def __init__(
        self,
        *,
        call: Call,
        resources: Resources,
        clock: Clock,
        args: dict[str, Any] | None = None,
        names: Mapping[str, Any] | None = None,
        iterator: str | None = None,
        credentials: Mapping[str, Credential] | None = None,
        hosts: tuple[tuple[str, ...], ...] = (),
        env: Mapping[str, str] | None = None,
        log: Callable[[str, str], None] = lambda stream, text: None,
        render: Callable[[str], Awaitable[str]] = _as_it_is,
        scrub: Callable[[str], str] | None = None,
        sensitive: bool = False,
        base_dirs: tuple[Path, ...] = (),
        timeout_s: float | None = None,
        memory_bytes: int | None = None,
    ) -> None:
        self.call = call
        self.resources = resources
        self.clock = clock
        self.args = args or {}
        """The bound inputs of the task, rendered. May hold handles."""
        self.names = names or {}
        """Values of the scope that the tool asked for with its `names(fields)`."""
        self.iterator = iterator
        """Name of the loop's variable; its value is in `names`."""
        self.credentials = credentials or {}
        """What `auth` names: alias -> credential; the only one has the alias ''."""
        self.hosts = hosts
        """For each secret of the call that is for some hosts only: which. Nothing of the call may go to another one by HTTP."""
        self.env = env or {}
        """The environment variables that the author's code may see."""
        self.log = log
        """`log(stream, line)`: a line for the run's log; stream is stdout, stderr or warning."""
        self.render = render
        """Renders a text that the call has fetched (SQL of a `script`) over the scope of the task."""
        self.scrub = scrub
        """Takes what must not be seen out of a text, if there is such. What is logged is scrubbed anyway; this is for texts that are cut before."""
        self.sensitive = sensitive
        """Values of the call may hold secrets: nothing of it goes to disk but through the engine."""
        self.base_dirs = base_dirs
        """Where a `script` file may lie: working directory, the playbook's directory, the catalog roots."""
        self.timeout_s = timeout_s
        """The engine cancels the call after this time; a tool that can stop remote work earlier by itself may use it."""
        self.memory_bytes = memory_bytes

    def credential(self) -> Credential | None:
        """The only credential of the call, if `auth` names exactly one."""
        return next(iter(self.credentials.values())) if len(self.credentials) == 1 else None


class StartChild(Struct, frozen=True):
    """What the `playbook` tool returns: the engine starts the child, and its end is the call's outcome."""

    path: str
    payload: dict[str, Any]
    return_step: str | None = None


class Tool(Protocol):
    """The shape of a tool's module. `names(fields)`, when it is there, says which names of the scope a call needs besides those in its
    templates: a set, or None for all that are visible."""

    NAME: str
    Input: type[Struct]

    async def run(self, given: Any, ctx: ToolContext) -> Any: ...


def find(kind: str) -> Tool:
    """The module of a tool kind.

    Raises:
        ToolRefused: kind `unsupported`: no such tool here, or its driver is not installed (the message names the extra).
    """
    module = BUILT.get(kind)
    if module is None:
        raise ToolRefused(f"tool kind '{kind}' has no backend in this version", kind="unsupported")
    try:
        return cast(Tool, importlib.import_module(module))
    except ModuleNotFoundError as error:
        extra = EXTRAS.get(error.name or "")
        if extra is None:
            raise
        raise ToolRefused(f"tool kind '{kind}' needs the package '{error.name}': pip install 'noetl[{extra}]'", kind="unsupported") from error
