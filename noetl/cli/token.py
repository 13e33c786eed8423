"""`noetl token`: who may use a server."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import click

from noetl.cli.printing import json_option, local, print_json, print_table
from noetl.cli.servers import Server, ask, server_options

if TYPE_CHECKING:
    from noetl.engine.client import TokenView
    from noetl.store.access import Role

_UNITS: Final = {"m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


@click.group()
def token() -> None:
    """Make, list and revoke the tokens of a server. Needs the token of an admin."""


@token.command()
@click.argument("name")
@click.option("--role", type=click.Choice(("viewer", "operator", "editor", "admin")), default="viewer", show_default=True)
@click.option("--domain", "domains", multiple=True, metavar="DOMAIN", help="First part of catalog paths that it is for. Repeatable. Default: all.")
@click.option("--ttl", metavar="AGE", help="How long it is valid, such as 12h or 30d. Default: until it is revoked.")
@json_option
@server_options
def create(name: str, role: Role, domains: tuple[str, ...], ttl: str | None, as_json: bool, server: Server) -> None:
    """Make a token for NAME, a person or a program. It is printed this once."""
    from noetl.engine.client import TokenRequest

    wanted = TokenRequest(name=name, role=role, domains=domains, ttl_s=_seconds(ttl))
    made = ask(server, lambda client: client.make_token(wanted))
    if as_json:
        print_json(made)
    else:
        click.echo(made.token)


@token.command("list")
@json_option
@server_options
def list_(as_json: bool, server: Server) -> None:
    """List the tokens, also those that are valid no more."""
    found = ask(server, lambda client: client.tokens())
    if as_json:
        print_json(found)
    elif found.entries:
        print_table([(each.id, each.role, ",".join(each.domains), each.name, _state(each)) for each in found.entries])


@token.command()
@click.argument("token_id", metavar="ID")
@server_options
def revoke(token_id: str, server: Server) -> None:
    """Revoke a token. `noetl token list` shows the ids."""
    ask(server, lambda client: client.revoke_token(token_id))
    click.echo(f"revoked {token_id}")


def _state(found: TokenView) -> str:
    if found.revoked_at is not None:
        return f"revoked {local(found.revoked_at)}"
    return "" if found.expires_at is None else f"until {local(found.expires_at)}"


def _seconds(ttl: str | None) -> float | None:
    if ttl is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([mhdw])", ttl.strip())
    if match is None:
        raise click.UsageError(f"--ttl {ttl}: must be a number and a unit, such as 12h, 30d, 90m, 2w")
    return float(match[1]) * _UNITS[match[2]]
