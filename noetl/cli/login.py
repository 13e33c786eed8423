"""`noetl login`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from noetl.client import SyncClient


@click.command()
@click.option("--token", metavar="TOKEN", help="The token; without it you are asked for it, and it is not shown.")
@click.option("--url", metavar="URL", help="The server. Default: NOETL_URL, else http://127.0.0.1:8082.")
def login(token: str | None, url: str | None) -> None:
    """Keep a token for a server, in $NOETL_HOME/login.json, which only you may read. Commands use it when they are given none.

    Exit status: 0 it is kept; 1 the server failed; 2 the server does not know it.
    """
    from noetl.cli.problems import say
    from noetl.cli.servers import Server, ask, url_of
    from noetl.cli.tokens import keep_token
    from noetl.errors import NotAllowed, NotReachable

    whole = url_of(Server(url))
    given = (token or click.prompt("token", hide_input=True, err=True)).strip()

    def try_it(client: SyncClient) -> None:
        try:
            client.playbooks(limit=1)
        except NotReachable as error:
            say(f"warning: the token was not tried: {error}")
        except NotAllowed:
            pass  # the server knows who it is

    ask(Server(whole, token=given), try_it)
    keep_token(whole, given)
    click.echo(f"kept for {whole}")
