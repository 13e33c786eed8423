"""How the rest of the world uses the engine: start, watch, cancel. The in-process form, wherever an execution lives."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from noetl.actors.ref import Reply
from noetl.dsl.playbook import Playbook
from noetl.dsl.template import paths
from noetl.engine.effects import ENDED, begin_row
from noetl.engine.engine import Engine
from noetl.engine.homes import Homes, PrivateHome
from noetl.engine.library import Found, check_requirements
from noetl.engine.messages import Begin, Cancel
from noetl.engine.program import Program
from noetl.engine.recovery import folded
from noetl.engine.report import Report, report_of, shown_result
from noetl.engine.shard import Look, Submit, Watch
from noetl.engine.state import State
from noetl.errors import ActorDead, CallError, Fenced, NoetlError
from noetl.events import Value
from noetl.ids import ExecutionId, ExecutionIds
from noetl.store.log import ExecutionRow, InboxRow

_ACCEPT_S: Final = 60.0
_FOREVER_S: Final = 10 * 365 * 86_400.0
_SECRET_LOOKING: Final = re.compile(r"pass|secret|token|key|credential|auth|private", re.IGNORECASE)


_LOOK_S: Final = 0.2
"""How often an execution of another process is looked at."""
_NOBODY: Final[Reply[int]] = Reply(None)


class LocalClient:
    """Executions of this process, and of those that share its store."""

    def __init__(self, engine: Engine, homes: Homes, ids: ExecutionIds, environment: Mapping[str, str]) -> None:
        self._engine = engine
        self._homes = homes
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
            await self._accepted(Submit(id_, begin, found.program, _NOBODY))
        return id_

    async def _accepted(self, submit: Submit) -> None:
        accepted = self._starting[ExecutionId(submit.execution_id)] = asyncio.get_running_loop().create_future()
        try:
            await self._submit(submit)
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

    async def _submit(self, submit: Submit) -> None:
        """To the shard, if it is here; else, or when it goes while it is asked, to the store, where its next owner finds it."""
        shard_id = self._homes.shard_for(submit.execution_id)
        shard = self._homes.find(shard_id)
        if shard is not None:
            try:
                await shard.ask(lambda reply: msgspec.structs.replace(submit, reply=reply), _ACCEPT_S)
            except (ActorDead, Fenced):
                if isinstance(self._homes, PrivateHome):
                    raise
            else:
                return
        await self._leave_in_store(submit, shard_id)

    async def _leave_in_store(self, submit: Submit, shard: int) -> None:
        engine, begin, id_ = self._engine, submit.begin, submit.execution_id
        row = ExecutionRow(
            id=id_,
            path=begin.path,
            net=begin.net,
            shard=shard,
            requested_at=engine.clock.now(),
            root_id=id_,
            version=begin.version,
            labels=begin.labels,
            requested_by=begin.requested_by,
            origin=engine.origin,
        )
        await engine.store.executions.request(row, begin_row(id_, begin, engine.secrets))
        self._homes.nudge(shard, id_)

    def new_id(self) -> ExecutionId:
        return self._ids.new()

    def owns(self, row: ExecutionRow) -> bool:
        """Whether the execution runs in this process."""
        return self._homes.find(row.shard) is not None

    async def wait(self, execution_id: ExecutionId) -> Report:
        """Wait for the end. Raises `StoreError` or `CallError` when this process can't go on with the execution."""
        return await self.report(await self.ended(execution_id))

    async def ended(self, execution_id: ExecutionId) -> State:
        """The state at its end. In a cluster it is followed from node to node.

        Raises:
            Fenced: it was this process's, and another one has taken it.
        """
        if isinstance(self._homes, PrivateHome):
            return await self._homes.shard.ask(lambda reply: Watch(execution_id, reply), _FOREVER_S)
        while True:
            row = await self._engine.store.executions.execution(execution_id)
            if row is not None and row.status in ENDED:
                return (await folded(self._engine.store, execution_id, self._engine.secrets.open_leaf)).state
            shard = self._homes.find(self._homes.shard_for(execution_id) if row is None else row.shard)
            if shard is None:
                await asyncio.sleep(_LOOK_S)
                continue
            with contextlib.suppress(ActorDead, Fenced):  # the shard is on its way to another node
                return await shard.ask(lambda reply: Watch(execution_id, reply), _FOREVER_S)

    async def cancel(self, execution_id: ExecutionId, reason: str) -> None:
        """Ask for the cancellation, whoever owns the execution; it is in the store when this returns. Raises `NotFound`."""
        store = self._engine.store
        await store.inbox.put(InboxRow(execution_id, "cancel", encode_cancel(reason)))
        row = await store.executions.execution(execution_id)
        if row is None:
            return
        shard = self._homes.find(row.shard)
        if shard is not None:
            shard.report(Look((execution_id,)))
        else:
            self._homes.nudge(row.shard, execution_id)

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
