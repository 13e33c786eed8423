"""`noetl register`: playbooks from files into a server's catalog."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from noetl.cli.printing import json_option, print_json
from noetl.cli.servers import Server, ask, server_options

if TYPE_CHECKING:
    from noetl.client import SyncClient
    from noetl.engine.client import ProblemView, Registered, Registration
    from noetl.errors import Flaw

_PLAYBOOK: Final = re.compile(r"^(kind:\s*['\"]?playbook\b|workflow:)", re.IGNORECASE | re.MULTILINE)
_SUFFIXES: Final = (".yaml", ".yml")


@click.command()
@click.argument("source", type=click.Path(exists=True, path_type=Path), metavar="FILE|DIR")
@click.option("--path", metavar="PATH", help="Where it goes in the catalog, in place of the playbook's own metadata.path. For a file.")
@click.option("--label", "labels", multiple=True, metavar="NAME=VALUE", help="A label beside those of the playbook. Repeatable.")
@click.option("--schema", metavar="NAME", help="FILE is a JSON Schema, to be kept under this name; playbooks name it in metadata.payload_schema.")
@json_option
@server_options
def register(source: Path, path: str | None, labels: tuple[str, ...], schema: str | None, as_json: bool, server: Server) -> None:
    """Put playbooks into the catalog of a server: a new version of each, unless its latest one is the same.

    Of a directory: every playbook below it. Scripts that a playbook names as files are sent along. Exit status: 0 all are there; 1 the server failed;
    2 a playbook was rejected.
    """
    if path is not None and source.is_dir():
        raise click.UsageError("--path is for one file: each playbook of a directory has its own")
    if schema is not None:
        _register_schema(source, schema, as_json=as_json, server=server)
        return
    files = _playbooks_below(source) if source.is_dir() else [source]
    wanted = _labels(labels)
    found = ask(server, lambda client: [_register(client, file, path, wanted, quiet=as_json) for file in files])
    registered = [each for each in found if each is not None]
    if as_json:
        print_json(registered if source.is_dir() else registered[0] if registered else None)
    raise SystemExit(2 if len(registered) < len(files) else 0)


def _register_schema(source: Path, name: str, *, as_json: bool, server: Server) -> None:
    import msgspec

    from noetl.cli.problems import fail
    from noetl.engine.client import SchemaRequest

    if source.is_dir():
        raise click.UsageError("--schema is for one file")
    try:
        schema = msgspec.json.decode(source.read_bytes(), type=dict[str, object])
    except msgspec.MsgspecError as error:
        fail(f"{source} is no JSON object: {error}", 2)
    kept = ask(server, lambda client: client.put_schema(SchemaRequest(name=name, schema=schema)))
    if as_json:
        print_json(kept)
    else:
        click.echo(f"{kept.name}  version {kept.version}  {'new' if kept.new else 'unchanged'}")


def _playbooks_below(folder: Path) -> list[Path]:
    """Those that are playbooks, also wrong ones; the others are named. Hidden folders are left out."""
    from noetl.cli.problems import fail, say

    found: list[Path] = []
    for file in sorted(path for path in folder.rglob("*") if path.suffix in _SUFFIXES and path.is_file()):
        if any(part.startswith(".") for part in file.relative_to(folder).parts):
            continue
        if _PLAYBOOK.search(file.read_bytes().decode(errors="replace")):
            found.append(file)
        else:
            say(f"{file}: skipped: no playbook")
    if not found:
        fail(f"there is no playbook below {folder}", 2)
    return found


def _register(client: SyncClient, file: Path, path: str | None, labels: dict[str, str], *, quiet: bool) -> Registered | None:
    """None: it was rejected, and its problems are shown."""
    from noetl.cli.problems import show_problems
    from noetl.errors import Invalid

    try:
        found = client.register(_registration(file, path, labels))
    except Invalid as error:
        show_problems(_placed(error.problems, file))
        return None
    show_problems((), _placed(found.warnings, file))
    if not quiet:
        click.echo(f"{found.path}  version {found.version}  {'new' if found.new else 'unchanged'}")
    return found


def _registration(file: Path, path: str | None, labels: dict[str, str]) -> Registration:
    """Raises `Invalid`, `NotFound`."""
    from noetl.engine.client import Registration
    from noetl.engine.library import read_playbook

    text = read_playbook(file)
    return Registration(content=text, path=path, files=dict(_scripts(text, file)), labels=labels)


def _placed(problems: Iterable[Flaw], file: Path) -> Iterator[ProblemView]:
    """The server does not know what the file is called."""
    import msgspec

    from noetl.engine.client import ProblemView

    for problem in problems:
        yield msgspec.structs.replace(msgspec.convert(problem, ProblemView, from_attributes=True), file=str(file))


def _scripts(text: str, file: Path) -> Iterator[tuple[str, str]]:
    """Name and text of each script of the playbook that is a file here. One that is wrong has none: the server will say so."""
    from noetl.cli.problems import say
    from noetl.dsl.load import load
    from noetl.dsl.scripts import file_scripts
    from noetl.errors import ToolError
    from noetl.tools.script import from_file

    playbook = load(text, file=str(file)).playbook
    for name in file_scripts(playbook) if playbook is not None else ():
        try:
            yield name, from_file(name, (Path.cwd(), file.absolute().parent))[0]
        except ToolError as error:
            say(f"{file}: {click.style('warning', fg='yellow')}: {error}")


def _labels(texts: tuple[str, ...]) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts]
    for name, equals, value in pairs:
        if not name or not equals:
            raise click.UsageError(f"--label {name}{equals}{value}: must be NAME=VALUE")
    return {name: value for name, _, value in pairs}
