"""`noetl credential`: credentials of a server. What is in them is never printed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO

import click

from noetl.cli.catalog import show_credential, show_credentials
from noetl.cli.printing import json_option, print_json
from noetl.cli.servers import Server, ask, server_options

if TYPE_CHECKING:
    from noetl.client import SyncClient
    from noetl.engine.client import CredentialRequest, CredentialView

_file = click.argument("file", type=click.File("rb"))


@click.group()
def credential() -> None:
    """Keep credentials on a server, for `auth:` in playbooks. Their data is never shown."""


@credential.command()
@_file
@json_option
@server_options
def register(file: BinaryIO, as_json: bool, server: Server) -> None:
    """Keep credentials: each new, or a new version. FILE is JSON: {"name", "type", "data", …} or a list of these; - is standard input."""
    wanted = _requests(_decoded(file), file.name)
    found = ask(server, lambda client: [client.put_credential(each) for each in wanted])
    if as_json:
        print_json(found[0] if len(found) == 1 else found)
        return
    for each in found:
        _say_kept(each)


@credential.command("list")
@json_option
@server_options
def list_(as_json: bool, server: Server) -> None:
    """List the credentials."""
    show_credentials(ask(server, lambda client: client.credentials()), as_json=as_json)


@credential.command()
@click.argument("name")
@json_option
@server_options
def show(name: str, as_json: bool, server: Server) -> None:
    """Show what may be known of a credential: its type, its version, the names of its fields."""
    show_credential(ask(server, lambda client: client.credential(name)), as_json=as_json)


@credential.command()
@click.argument("name")
@server_options
def delete(name: str, server: Server) -> None:
    """Delete a credential with all its versions."""
    ask(server, lambda client: client.delete_credential(name))
    click.echo(f"deleted {name}")


@credential.command()
@click.argument("name")
@_file
@json_option
@server_options
def rotate(name: str, file: BinaryIO, as_json: bool, server: Server) -> None:
    """Give a credential that is there new data. FILE is JSON as for `register`; what it leaves out stays as it is, but for the data."""
    given = _decoded(file)
    if not isinstance(given, dict) or given.get("name", name) != name:
        raise click.UsageError(f"{file.name}: must be one JSON object, for the credential '{name}'")

    def put(client: SyncClient) -> CredentialView:
        old = client.credential(name)
        kept = {"type": old.type, "domains": old.domains, "hosts": old.hosts, "description": old.description}
        return client.put_credential(_requests({**kept, **given, "name": name}, file.name)[0])

    found = ask(server, put)
    if as_json:
        print_json(found)
    else:
        _say_kept(found)


def _decoded(file: BinaryIO) -> Any:
    import msgspec

    try:
        return msgspec.json.decode(file.read())
    except msgspec.DecodeError as error:
        raise click.UsageError(f"{file.name}: not JSON: {error}") from error


def _requests(given: Any, name: str) -> list[CredentialRequest]:
    """Raises `click.UsageError`, which names the field and no value."""
    import msgspec

    from noetl.engine.client import CredentialRequest

    try:
        return msgspec.convert(given if isinstance(given, list) else [given], list[CredentialRequest])
    except msgspec.ValidationError as error:
        place = "" if isinstance(given, list) else "$[0]"
        raise click.UsageError(f"{name}: {str(error).replace(place, '$') if place else error}") from error


def _say_kept(found: CredentialView) -> None:
    from noetl.cli.problems import say

    click.echo(f"{found.name}  {found.type}  version {found.version}")
    for warning in found.warnings:
        say(f"{click.style('warning', fg='yellow')}: {found.name}: {warning}")
