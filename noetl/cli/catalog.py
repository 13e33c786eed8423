"""`noetl catalog`: what a server knows."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

import click

from noetl.cli.printing import json_option, local, print_json, print_table
from noetl.cli.servers import Server, ask, server_options

if TYPE_CHECKING:
    from noetl.client import SyncClient
    from noetl.engine.client import CredentialList, CredentialView, PlaybookContent, PlaybookList, ToolEntry

_PAGE: Final = 1000
_VERSION = click.IntRange(min=1)


@click.group()
def catalog() -> None:
    """Look at the playbooks, tools, schemas and credentials of a server."""


# -- list --------------------------------------------------------------------------------------------------------------


@catalog.group("list")
def list_() -> None:
    """List what is in the catalog."""


@list_.command("playbook")
@json_option
@server_options
def list_playbooks(as_json: bool, server: Server) -> None:
    """List the playbooks, each in its latest version."""
    found = ask(server, _all_playbooks)
    if as_json:
        print_json(found)
    elif found.entries:
        print_table([(entry.path, f"version {entry.version}", local(entry.registered_at), entry.registered_by) for entry in found.entries])


@list_.command("tool")
@json_option
@server_options
def list_tools(as_json: bool, server: Server) -> None:
    """List the kinds of tools."""
    found = ask(server, lambda client: client.tools())
    if as_json:
        print_json(found)
    else:
        print_table([(tool.kind, "" if tool.available else "not available", tool.description) for tool in found.entries])


@list_.command("schema")
@json_option
@server_options
def list_schemas(as_json: bool, server: Server) -> None:
    """List the named schemas, each in its latest version."""
    found = ask(server, lambda client: client.schemas(limit=_PAGE))
    if as_json:
        print_json(found)
    elif found.entries:
        print_table([(entry.name, f"version {entry.version}", local(entry.registered_at), entry.registered_by) for entry in found.entries])


@list_.command("credential")
@json_option
@server_options
def list_credentials(as_json: bool, server: Server) -> None:
    """List the credentials. Their data is never shown."""
    show_credentials(ask(server, lambda client: client.credentials()), as_json=as_json)


# -- show --------------------------------------------------------------------------------------------------------------


@catalog.group()
def show() -> None:
    """Show one thing of the catalog."""


@show.command("playbook")
@click.argument("path")
@click.option("--version", type=_VERSION, metavar="N", help="Default: the latest.")
@json_option
@server_options
def show_playbook(path: str, version: int | None, as_json: bool, server: Server) -> None:
    """Print the text of a playbook. About its version something is said on standard error."""
    from noetl.cli.problems import say

    found = ask(server, lambda client: client.playbook(path, version))
    if as_json:
        print_json(found)
        return
    by = f" by {found.registered_by}" if found.registered_by else ""
    say(f"{found.path}  version {found.version}  registered {local(found.registered_at)}{by}")
    for name in found.files:
        say(f"with the file {name}")
    click.echo(found.content, nl=not found.content.endswith("\n"))


@show.command("tool")
@click.argument("kind")
@json_option
@server_options
def show_tool(kind: str, as_json: bool, server: Server) -> None:
    """Show the fields of a kind of tool."""
    found = ask(server, lambda client: _tool(client, kind))
    if as_json:
        print_json(found)
        return
    click.echo(f"{found.kind}: {found.description}{'' if found.available else ' (not available)'}")
    fields = found.input.get("properties") or {}
    if fields:
        click.echo()
        print_table([(f"  {name}", str(about.get("description", ""))) for name, about in fields.items()])


@show.command("schema")
@click.argument("name")
@click.option("--version", type=_VERSION, metavar="N", help="Default: the latest.")
@json_option
@server_options
def show_schema(name: str, version: int | None, as_json: bool, server: Server) -> None:
    """Print a named schema."""
    import msgspec

    found = ask(server, lambda client: client.schema(name, version))
    if as_json:
        print_json(found)
    else:
        click.echo(msgspec.json.format(msgspec.json.encode(found.schema)).decode())


@show.command("credential")
@click.argument("name")
@json_option
@server_options
def show_credential_(name: str, as_json: bool, server: Server) -> None:
    """Show what may be known of a credential: never its data."""
    show_credential(ask(server, lambda client: client.credential(name)), as_json=as_json)


# -- diff --------------------------------------------------------------------------------------------------------------


@catalog.group()
def diff() -> None:
    """Compare versions."""


@diff.command("playbook")
@click.argument("path")
@click.argument("old", type=_VERSION, required=False, metavar="[V1")
@click.argument("new", type=_VERSION, required=False, metavar="[V2]]")
@server_options
def diff_playbook(path: str, old: int | None, new: int | None, server: Server) -> None:
    """Compare two versions of a playbook, and the scripts in them. V2 is the latest unless said, V1 the one before V2."""
    before, after = ask(server, lambda client: _two_versions(client, path, old, new))
    for line in _difference(before, after):
        click.echo(_coloured(line), color=None if sys.stdout.isatty() else False)


def _two_versions(client: SyncClient, path: str, old: int | None, new: int | None) -> tuple[PlaybookContent, PlaybookContent]:
    """Raises `NotFound`."""
    from noetl.errors import NotFound

    after = client.playbook(path, new)
    if old is None and after.version == 1:
        raise NotFound(f"'{after.path}' has no version before 1")
    return client.playbook(path, old or after.version - 1), after


def _difference(before: PlaybookContent, after: PlaybookContent) -> Iterator[str]:
    """A unified diff, file by file."""
    texts = [_texts(before), _texts(after)]
    for name in {**texts[0], **texts[1]}:
        old, new = (text.get(name, "").splitlines() for text in texts)
        titles = (f"{before.path}{name} version {before.version}", f"{after.path}{name} version {after.version}")
        yield from difflib.unified_diff(old, new, *titles, lineterm="")


def _texts(playbook: PlaybookContent) -> Mapping[str, str]:
    """What stands behind the path -> text."""
    return {"": playbook.content} | {f" {name}": text for name, text in playbook.files.items()}


def _coloured(line: str) -> str:
    colour = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1])
    return click.style(line, fg=colour) if colour is not None else line


# -- of the server -----------------------------------------------------------------------------------------------------


def _all_playbooks(client: SyncClient) -> PlaybookList:
    from noetl.engine.client import PlaybookList

    page = client.playbooks(limit=_PAGE)
    entries = page.entries
    while page.next is not None:
        page = client.playbooks(limit=_PAGE, after=page.next)
        entries += page.entries
    return PlaybookList(entries=entries)


def _tool(client: SyncClient, kind: str) -> ToolEntry:
    """Raises `NotFound`."""
    from noetl.errors import NotFound

    entries = client.tools().entries
    found = next((entry for entry in entries if entry.kind == kind), None)
    if found is None:
        raise NotFound(f"there is no kind of tool '{kind}'{_meant(kind, (entry.kind for entry in entries))}")
    return found


def _meant(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f": did you mean '{near[0]}'?" if near else "; `noetl catalog list tool` shows them"


def show_credentials(found: CredentialList, *, as_json: bool) -> None:
    if as_json:
        print_json(found)
    elif found.entries:
        print_table([(entry.name, entry.type, f"version {entry.version}", ", ".join(entry.fields)) for entry in found.entries])


def show_credential(found: CredentialView, *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    lines = [
        ("credential", f"{found.name}  version {found.version}"),
        ("type", found.type),
        ("fields", ", ".join(found.fields)),
        ("domains", ", ".join(found.domains) or "all"),
        ("hosts", ", ".join(found.hosts) or "all"),
        ("description", found.description),
        ("updated", f"{local(found.updated_at)}{' by ' + found.updated_by if found.updated_by else ''}"),
    ]
    print_table([line for line in lines if line[1]])
