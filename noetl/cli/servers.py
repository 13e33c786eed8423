"""The server that a command talks to: which one, as whom, and what its errors mean for the exit status."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click
from msgspec import Struct

if TYPE_CHECKING:
    from noetl.client import Retries, SyncClient
    from noetl.errors import NoetlError

T = TypeVar("T")


class Server(Struct, frozen=True):
    """What the command line says of the server."""

    url: str | None = None
    host: str | None = None
    port: int | None = None
    token: str | None = None

    @property
    def is_asked_for(self) -> bool:
        """Options name a server, besides the environment."""
        return (self.url, self.host, self.port) != (None, None, None)


Command = Callable[..., Any]


def _server_options(about: str) -> Callable[[Command], Command]:
    """Options for a command that talks to a server, which it gets as `server`. `about` is the help of the first."""
    options = (
        click.option("--url", metavar="URL", help=about),
        click.option("--host", metavar="HOST", help="The server's host, in place of --url."),
        click.option("--port", type=click.IntRange(1, 65_535), metavar="PORT", help="The server's port, in place of --url."),
        click.option("--token", metavar="TOKEN", help="Who asks. Default: NOETL_TOKEN, else what `noetl login` has kept for that server."),
    )

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def with_server(*args: Any, url: str | None, host: str | None, port: int | None, token: str | None, **named: Any) -> Any:
            if url is not None and (host, port) != (None, None):
                raise click.UsageError("name the server by --url, or by --host and --port, not by both")
            return command(*args, server=Server(url, host, port, token), **named)

        wrapped: Command = with_server
        for option in reversed(options):
            wrapped = option(wrapped)
        return wrapped

    return decorate


server_options = _server_options("The server. Default: NOETL_URL, else http://127.0.0.1:8082.")
store_or_server_options = _server_options("A server, in place of the local store. Default: NOETL_URL, if that is set.")
here_or_server_options = _server_options("A server, in place of this machine. Default: NOETL_URL, if that is set.")


def is_named(server: Server) -> bool:
    """Whether a server is named, by options or the environment."""
    return server.is_asked_for or bool(os.environ.get("NOETL_URL"))


def url_of(server: Server) -> str:
    """Raises `click.UsageError` for what is no URL."""
    from noetl.client.address import DEFAULT_PORT, DEFAULT_URL, Address, parse_address

    if server.url is None and server.is_asked_for:
        return Address("http", server.host or "127.0.0.1", server.port or DEFAULT_PORT).url
    url = server.url or os.environ.get("NOETL_URL") or DEFAULT_URL
    try:
        return parse_address(url).url
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def client_of(server: Server, retries: Retries | None = None) -> SyncClient:
    from noetl.cli.tokens import kept_token
    from noetl.client import Retries, SyncClient

    url = url_of(server)
    token = (server.token or os.environ.get("NOETL_TOKEN") or kept_token(url) or "").strip()
    try:
        return SyncClient(url, token or None, retries=retries or Retries())
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def ask(server: Server, work: Callable[[SyncClient], T]) -> T:
    """Do something with the server. What can't be done ends this process, with the reason: status 2 for what was asked wrongly, 1 for what went
    wrong."""
    from noetl.errors import NoetlError

    client = client_of(server)
    try:
        return work(client)
    except NoetlError as error:
        give_up(error)


def give_up(error: NoetlError) -> NoReturn:
    """Say what a server has answered, and end."""
    from noetl.cli.problems import fail
    from noetl.errors import BadRequest, NotAllowed, NotAuthenticated, NotFound, PlaybookError

    if isinstance(error, NotAuthenticated):
        fail(f"{error}. Give a token: --token, NOETL_TOKEN, or `noetl login`, which keeps one", 2)
    fail(str(error), 2 if isinstance(error, (NotFound, NotAllowed, BadRequest, PlaybookError)) else 1)
