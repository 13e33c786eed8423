"""How the rest of the world uses the engine: start, watch, cancel, take up. The in-process form."""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from noetl.actors.ref import Ref, Reply
from noetl.dsl.playbook import Playbook
from noetl.dsl.template import paths
from noetl.engine.engine import Engine
from noetl.engine.library import Found, check_requirements
from noetl.engine.messages import Begin, Cancel
from noetl.engine.program import Program
from noetl.engine.report import Report, report_of, shown_result
from noetl.engine.shard import Look, ShardInbox, Submit, TakeUp, Watch
from noetl.engine.state import State
from noetl.errors import CallError, NoetlError, NotAllowed, NotFound
from noetl.events import Value
from noetl.ids import ExecutionId, ExecutionIds
from noetl.store.lease import IsAlive
from noetl.store.lease import Shard as ShardLease
from noetl.store.log import ExecutionRow, InboxRow

_ACCEPT_S: Final = 60.0
_FOREVER_S: Final = 10 * 365 * 86_400.0
_SECRET_LOOKING: Final = re.compile(r"pass|secret|token|key|credential|auth|private", re.IGNORECASE)


_NOBODY: Final[Reply[int]] = Reply(None)


class LocalClient:
    """Executions of this process."""

    def __init__(self, engine: Engine, shard: Ref[ShardInbox], lease: ShardLease, ids: ExecutionIds, environment: Mapping[str, str]) -> None:
        self._engine = engine
        self._shard = shard
        self._lease = lease
        self._ids = ids
        self._environment = environment
        self._starting: dict[ExecutionId, asyncio.Future[None]] = {}
        """Those whose acceptance is waited for: a request that is sent twice starts nothing twice."""

    async def find(self, path: str) -> Found:
        """Raises `NotFound`, `Invalid`."""
        return await self._engine.library.find(path)

    async def load(self, file: Path) -> Found:
        """Raises `NotFound`, `Invalid`."""
        return await self._engine.library.load(file)

    async def start(
        self,
        found: Found,
        payload: dict[str, Value] | None = None,
        *,
        merge: bool = True,
        by: str = "",
        execution_id: ExecutionId | None = None,
        labels: dict[str, str] | None = None,
    ) -> ExecutionId:
        """Start an execution. When this returns, it survives kill -9.

        Raises:
            PlaybookError: the playbook requires what is not here.
            StoreError: it could not be written.
        """
        playbook = found.program.playbook
        check_requirements(playbook)
        id_ = execution_id or self._ids.new()
        begin = Begin(
            path=found.path,
            net=found.program.hash,
            payload=payload or {},
            merge=merge,
            env=self._env(found.program),
            requested_by=by,
            version=found.version,
            labels=found.labels if labels is None else labels,
        )
        under_way = self._starting.get(id_)
        if under_way is not None:
            await asyncio.shield(under_way)
        else:
            await self._submit(Submit(id_, begin, found.program, _NOBODY))
        return id_

    async def _submit(self, submit: Submit) -> None:
        accepted = self._starting[ExecutionId(submit.execution_id)] = asyncio.get_running_loop().create_future()
        try:
            await self._shard.ask(lambda reply: msgspec.structs.replace(submit, reply=reply), _ACCEPT_S)
        except BaseException as error:
            accepted.set_exception(
                error if isinstance(error, NoetlError) else CallError("it is not known whether the execution has begun: ask again")
            )
            accepted.exception()  # looked at here, since perhaps nobody else waits
            raise
        else:
            accepted.set_result(None)
        finally:
            del self._starting[ExecutionId(submit.execution_id)]

    def new_id(self) -> ExecutionId:
        return self._ids.new()

    async def take_up(self, execution_id: ExecutionId, is_alive: IsAlive) -> str:
        """Go on with an execution that another process has left, and with its children; its path.

        Raises:
            NotFound: there is no such execution.
            Owned: it is running in a live process.
            NotAllowed: it has completed or was cancelled.
        """
        row = await self._engine.store.executions.execution(execution_id)
        if row is None:
            raise NotFound(f"there is no execution {execution_id} in this store")
        if row.parent_id is not None:
            raise NotAllowed(f"execution {execution_id} is a child of {row.parent_id}: resume {row.root_id}")
        if row.status in ("completed", "cancelled"):
            raise NotAllowed(f"execution {execution_id} is {row.status}: it can't be resumed")
        await self._engine.store.shards.adopt(execution_id, self._lease, is_alive)
        for member in await self._engine.store.executions.family(execution_id):
            if member.id == execution_id or member.ended_at is None:
                self._shard.report(TakeUp(member.id))
        return row.path

    def owns(self, row: ExecutionRow) -> bool:
        """Whether the execution runs in this process."""
        return row.shard == self._lease.id

    async def take_up_left(self, is_alive: IsAlive) -> int:
        """Go on with all executions that nodes have accepted and whose process is gone; how many they are."""
        left = await self._engine.store.shards.adopt_left(self._lease, is_alive)
        for execution_id in left:
            self._shard.report(TakeUp(execution_id))
        return len(left)

    async def wait(self, execution_id: ExecutionId) -> Report:
        """Wait for the end. Raises `StoreError` or `CallError` when this process can't go on with the execution."""
        return await self.report(await self.ended(execution_id))

    async def ended(self, execution_id: ExecutionId) -> State:
        return await self._shard.ask(lambda reply: Watch(execution_id, reply), _FOREVER_S)

    async def cancel(self, execution_id: ExecutionId, reason: str) -> None:
        """Ask for the cancellation, whoever owns the execution; it is in the store when this returns. Raises `NotFound`."""
        store = self._engine.store
        await store.inbox.put(InboxRow(execution_id, "cancel", encode_cancel(reason)))
        row = await store.executions.execution(execution_id)
        if row is not None and row.shard == self._lease.id:
            self._shard.report(Look((execution_id,)))

    async def report(self, state: State) -> Report:
        engine = self._engine
        return await report_of(state, engine.cache, engine.secrets, engine.settings.values.inline_max_bytes)

    async def result(self, state: State) -> Any:
        """The result of the execution, for readers."""
        engine = self._engine
        return await shown_result(state, engine.cache, engine.secrets, engine.settings.values.inline_max_bytes)

    def _env(self, program: Program) -> dict[str, Any]:
        """The variables that the playbook names and may see; never the one that holds the vault's key."""
        settings = self._engine.settings
        allowed = settings.env_allow
        named = allowed or tuple(name for name in _named_env(program) if not _SECRET_LOOKING.search(name))
        return {name: self._environment[name] for name in named if name in self._environment and name != settings.vault.key_env}


def encode_cancel(reason: str) -> bytes:
    return msgspec.msgpack.encode(Cancel(reason=reason))


def named_env(playbook: Playbook) -> frozenset[str]:
    """Environment variables that the playbook's templates name, as `env.NAME`."""
    return frozenset(path[1] for path in _paths(playbook) if path[0] == "env" and len(path) > 1)


@functools.lru_cache(maxsize=256)
def _named_env(program: Program) -> frozenset[str]:
    return named_env(program.playbook)


def _paths(playbook: Playbook) -> frozenset[tuple[str, ...]]:
    encoded = msgspec.json.encode(playbook)
    return paths(msgspec.json.decode(encoded)) if b"env" in encoded else frozenset()
