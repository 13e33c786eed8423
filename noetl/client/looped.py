"""The client for programs on an event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from types import TracebackType
from typing import TypeVar

from noetl.client import calls
from noetl.client.address import DEFAULT_URL, Address, parse_address
from noetl.client.answer import answer
from noetl.client.attempts import Attempts, Retries
from noetl.client.call import Call, checked_token, request_of
from noetl.client.connection import Connection
from noetl.client.eventstream import Watching
from noetl.engine import client as api
from noetl.errors import CallError

T = TypeVar("T")


class AsyncClient:
    """`noetl.engine.client.Client` over HTTP. Used with `async with`, or closed.

    Raises:
        ValueError: `url` is no URL of a server, or `token` can't be one.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        token: str | None = None,
        *,
        retries: Retries = Retries(),  # noqa: B008  frozen
        connection: Connection | None = None,
    ) -> None:
        self._connection = connection or _connected(parse_address(url))
        self._token = checked_token(token)
        self._retries = retries

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        await self._connection.close()

    async def register(self, wanted: api.Registration) -> api.Registered:
        """Raises `Invalid` when the playbook has errors."""
        return await self._send(calls.register(wanted))

    async def playbooks(self, *, limit: int = 100, after: str | None = None) -> api.PlaybookList:
        return await self._send(calls.playbooks(limit, after))

    async def versions(self, path: str) -> api.PlaybookList:
        return await self._send(calls.versions(path))

    async def playbook(self, path: str, version: int | None = None) -> api.PlaybookContent:
        return await self._send(calls.playbook(path, version))

    async def tools(self) -> api.ToolList:
        return await self._send(calls.listed("tool"))

    async def put_schema(self, wanted: api.SchemaRequest) -> api.SchemaEntry:
        """Raises `BadRequest` when it is none."""
        return await self._send(calls.put_schema(wanted))

    async def schemas(self, *, limit: int = 100, after: str | None = None) -> api.SchemaList:
        return await self._send(calls.schemas(limit, after))

    async def schema(self, name: str, version: int | None = None) -> api.SchemaEntry:
        return await self._send(calls.schema(name, version))

    async def execute(self, wanted: api.ExecuteRequest) -> api.Accepted:
        return await self._send(calls.execute(wanted))

    async def executions(self, wanted: api.ExecutionFilter) -> api.ExecutionList:
        return await self._send(calls.executions(wanted))

    async def execution(self, execution_id: str) -> api.ExecutionReport:
        return await self._send(calls.execution(execution_id))

    async def ended(self, execution_id: str, timeout_s: float | None = None) -> api.ExecutionReport:
        """Wait for the end, at most so long: the report then says what is the case."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s), contextlib.aclosing(self._watch(execution_id, 0)) as events:
                async for _ in events:
                    pass
        return await self.execution(execution_id)

    async def cancel(self, execution_id: str, reason: str = "") -> api.Cancelled:
        return await self._send(calls.cancel(execution_id, reason))

    async def context(self, execution_id: str) -> api.ExecutionContext:
        return await self._send(calls.context(execution_id))

    async def events(self, execution_id: str, *, after: int = 0, limit: int = 1000) -> api.EventList:
        """Events with a number above `after`."""
        return await self._send(calls.events(execution_id, after, limit))

    def watch(self, execution_id: str, *, after: int = 0) -> AsyncIterator[api.EventView]:
        """Events as they are committed, from the one behind `after` until the execution has ended. A stream that is lost is taken up again."""
        return self._watch(execution_id, after)

    async def render(self, wanted: api.RenderRequest) -> api.Rendered:
        return await self._send(calls.render(wanted))

    async def put_credential(self, wanted: api.CredentialRequest) -> api.CredentialView:
        return await self._send(calls.put_credential(wanted))

    async def credentials(self) -> api.CredentialList:
        return await self._send(calls.credentials())

    async def credential(self, name: str) -> api.CredentialView:
        return await self._send(calls.credential(name))

    async def delete_credential(self, name: str) -> None:
        await self._send(calls.delete_credential(name))

    async def make_token(self, wanted: api.TokenRequest) -> api.NewToken:
        return await self._send(calls.make_token(wanted))

    async def tokens(self) -> api.TokenList:
        return await self._send(calls.tokens())

    async def revoke_token(self, token_id: str) -> None:
        await self._send(calls.revoke_token(token_id))

    async def audit(self, *, limit: int = 100) -> api.AuditList:
        """Who has changed something, or was not allowed to; the newest first."""
        return await self._send(calls.audit(limit))

    async def pools(self) -> api.PoolList:
        return await self._send(calls.pools())

    async def nodes(self) -> api.NodeList:
        return await self._send(calls.nodes())

    async def drain_node(self, node: str) -> api.Draining:
        return await self._send(calls.drain_node(node))

    async def _send(self, call: Call[T]) -> T:
        connection = self._connection
        request = request_of(call, connection.address, self._token)
        attempts = Attempts.of(call, self._retries)
        while True:
            try:
                return answer(call, await connection.send(request), connection.address)
            except CallError as error:
                await asyncio.sleep(attempts.delay_s(error))

    async def _watch(self, execution_id: str, after: int) -> AsyncGenerator[api.EventView, None]:
        connection = self._connection
        watching = Watching(execution_id, after, self._retries)
        while True:
            try:
                async with connection.stream(watching.request(connection.address, self._token)) as (response, pieces):
                    watching.opened(response, connection.address)
                    async for piece in pieces:
                        for event in watching.feed(piece):
                            yield event
                        if watching.is_over:
                            return
            except CallError as error:
                await asyncio.sleep(watching.delay_s(error))


def _connected(address: Address) -> Connection:
    """Raises `ImportError` without aiohttp: pip install 'noetl[http]'."""
    from noetl.client.connections.looped import AiohttpConnection  # noqa: PLC0415  aiohttp is an extra, and slow to import

    return AiohttpConnection(address)
