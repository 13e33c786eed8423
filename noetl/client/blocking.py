"""The client for threads and scripts, and of the command line."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TypeVar

from noetl.client import calls
from noetl.client.address import DEFAULT_URL, parse_address
from noetl.client.answer import answer
from noetl.client.attempts import Attempts, Retries
from noetl.client.call import Call, checked_token, request_of
from noetl.client.connection import BlockingConnection
from noetl.client.connections.blocking import StdlibConnection
from noetl.client.eventstream import Watching
from noetl.engine import client as api
from noetl.errors import CallError

T = TypeVar("T")


class SyncClient:
    """What `noetl.engine.client.Client` can do, over HTTP, blocking. May be shared by threads.

    Raises:
        ValueError: `url` is no URL of a server, or `token` can't be one.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        token: str | None = None,
        *,
        retries: Retries = Retries(),  # noqa: B008  frozen
        connection: BlockingConnection | None = None,
    ) -> None:
        self._connection = connection or StdlibConnection(parse_address(url))
        self._token = checked_token(token)
        self._retries = retries

    def register(self, wanted: api.Registration) -> api.Registered:
        """Raises `Invalid` when the playbook has errors."""
        return self._send(calls.register(wanted))

    def playbooks(self, *, limit: int = 100, after: str | None = None) -> api.PlaybookList:
        return self._send(calls.playbooks(limit, after))

    def versions(self, path: str) -> api.PlaybookList:
        return self._send(calls.versions(path))

    def playbook(self, path: str, version: int | None = None) -> api.PlaybookContent:
        return self._send(calls.playbook(path, version))

    def tools(self) -> api.ToolList:
        return self._send(calls.listed("tool"))

    def put_schema(self, wanted: api.SchemaRequest) -> api.SchemaEntry:
        """Raises `BadRequest` when it is none."""
        return self._send(calls.put_schema(wanted))

    def schemas(self, *, limit: int = 100, after: str | None = None) -> api.SchemaList:
        return self._send(calls.schemas(limit, after))

    def schema(self, name: str, version: int | None = None) -> api.SchemaEntry:
        return self._send(calls.schema(name, version))

    def execute(self, wanted: api.ExecuteRequest) -> api.Accepted:
        return self._send(calls.execute(wanted))

    def executions(self, wanted: api.ExecutionFilter) -> api.ExecutionList:
        return self._send(calls.executions(wanted))

    def execution(self, execution_id: str) -> api.ExecutionReport:
        return self._send(calls.execution(execution_id))

    def ended(self, execution_id: str, timeout_s: float | None = None) -> api.ExecutionReport:
        """Wait for the end, at most so long: the report then says what is the case."""
        until = None if timeout_s is None else time.monotonic() + timeout_s
        try:
            for _ in self._watch(execution_id, 0, until):
                pass
        except TimeoutError:
            pass  # the report says so
        return self.execution(execution_id)

    def cancel(self, execution_id: str, reason: str = "") -> api.Cancelled:
        return self._send(calls.cancel(execution_id, reason))

    def context(self, execution_id: str) -> api.ExecutionContext:
        return self._send(calls.context(execution_id))

    def events(self, execution_id: str, *, after: int = 0, limit: int = 1000) -> api.EventList:
        """Events with a number above `after`."""
        return self._send(calls.events(execution_id, after, limit))

    def watch(self, execution_id: str, *, after: int = 0) -> Iterator[api.EventView]:
        """Events as they are committed, from the one behind `after` until the execution has ended. A stream that is lost is taken up again."""
        return self._watch(execution_id, after, None)

    def render(self, wanted: api.RenderRequest) -> api.Rendered:
        return self._send(calls.render(wanted))

    def put_credential(self, wanted: api.CredentialRequest) -> api.CredentialView:
        return self._send(calls.put_credential(wanted))

    def credentials(self) -> api.CredentialList:
        return self._send(calls.credentials())

    def credential(self, name: str) -> api.CredentialView:
        return self._send(calls.credential(name))

    def delete_credential(self, name: str) -> None:
        self._send(calls.delete_credential(name))

    def make_token(self, wanted: api.TokenRequest) -> api.NewToken:
        return self._send(calls.make_token(wanted))

    def tokens(self) -> api.TokenList:
        return self._send(calls.tokens())

    def revoke_token(self, token_id: str) -> None:
        self._send(calls.revoke_token(token_id))

    def audit(self, *, limit: int = 100) -> api.AuditList:
        """Who has changed something, or was not allowed to; the newest first."""
        return self._send(calls.audit(limit))

    def pools(self) -> api.PoolList:
        return self._send(calls.pools())

    def nodes(self) -> api.NodeList:
        return self._send(calls.nodes())

    def drain_node(self, node: str) -> api.Draining:
        return self._send(calls.drain_node(node))

    def _send(self, call: Call[T]) -> T:
        connection = self._connection
        request = request_of(call, connection.address, self._token)
        attempts = Attempts.of(call, self._retries)
        while True:
            try:
                return answer(call, connection.send(request), connection.address)
            except CallError as error:
                time.sleep(attempts.delay_s(error))

    def _watch(self, execution_id: str, after: int, until: float | None) -> Iterator[api.EventView]:
        connection = self._connection
        watching = Watching(execution_id, after, self._retries)
        while True:
            try:
                with connection.stream(watching.request(connection.address, self._token), until=until) as (response, pieces):
                    watching.opened(response, connection.address)
                    for piece in pieces:
                        yield from watching.feed(piece)
                        if watching.is_over:
                            return
            except CallError as error:
                time.sleep(watching.delay_s(error))
