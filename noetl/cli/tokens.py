"""`noetl login`, and the tokens that it keeps: `login.json` in NOETL_HOME, {URL: token}."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Final

import click
import msgspec

from noetl.cli.problems import fail

FILE: Final = "login.json"


@click.command()
@click.option("--token", metavar="TOKEN", help="The token; without it you are asked for it, and it is not shown.")
@click.option("--url", metavar="URL", help="The server. Default: NOETL_URL, else http://127.0.0.1:8082.")
def login(token: str | None, url: str | None) -> None:
    """Keep a token for a server, in $NOETL_HOME/login.json, which only you may read. Commands use it when they are given none.

    Exit status: 0 it is kept; 1 the server failed; 2 the server does not know it.
    """
    from noetl.cli.problems import say
    from noetl.cli.servers import Server, ask, url_of
    from noetl.client import SyncClient
    from noetl.errors import NotAllowed, NotReachable

    whole = url_of(Server(url))
    given = token or click.prompt("token", hide_input=True, err=True)

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


def kept_token(url: str) -> str | None:
    """The token for that server, if one is kept. A file that can't be read ends this process, with the reason."""
    return _read(_file()).get(url)


def keep_token(url: str, token: str) -> None:
    """Write it beside those for other servers: mode 0600 from the first byte, and whole at any time."""
    file = _file()
    tokens = _read(file) | {url: token}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        number, name = tempfile.mkstemp(dir=file.parent, prefix=f"{FILE}.")  # mode 0600
        with os.fdopen(number, "wb") as new:
            new.write(msgspec.json.format(msgspec.json.encode(tokens), indent=2) + b"\n")
        Path(name).replace(file)
    except OSError as error:
        fail(f"{file} can't be written: {error.strerror}")


def _file() -> Path:
    from noetl.node.place import home_dir

    return home_dir(os.environ) / FILE


def _read(file: Path) -> dict[str, str]:
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, str])
    except FileNotFoundError:
        return {}
    except OSError as error:
        fail(f"{file} can't be read: {error.strerror}")
    except msgspec.MsgspecError as error:
        fail(f"{file} is damaged: {error}. Delete it and log in again")
