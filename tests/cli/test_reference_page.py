"""docs/reference/cli.md names every command, with its arguments and options and what it is for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click

from noetl.cli.main import cli

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"
SERVER = {"--url", "--host", "--port", "--token"}
"""Told once, for all commands that are marked with (server)."""


def commands(group: click.Group, name: str) -> Iterator[tuple[str, click.Command]]:
    ctx = click.Context(group)
    for word in group.list_commands(ctx):
        command = group.get_command(ctx, word)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{name} {word}")
        else:
            yield f"{name} {word}", command


def row(name: str, command: click.Command) -> tuple[str, str, str]:
    """The usage, the options, and the first sentences of the help."""
    arguments = [each for each in command.params if isinstance(each, click.Argument)]
    options = {max(each.opts, key=len): each for each in command.params if isinstance(each, click.Option)}
    usage = " ".join([name, *(each.make_metavar(click.Context(command)) for each in arguments)])
    has_server = set(options) >= SERVER
    told = [f"`{word}`" for word in options if not (has_server and word in SERVER)]
    about = (command.help or "").split("\n\n")[0].replace("\n", " ").replace("|", "\\|")
    return f"`{usage.strip()}`".replace("|", "\\|"), " ".join([*told, *(["(server)"] if has_server else [])]), about


def test_the_page_lists_every_command_with_its_arguments_and_options() -> None:
    documented = re.findall(r"^\| (`noetl .+?`) \| (.*?) ?\| (.+) \|$", PAGE.read_text(), re.MULTILINE)
    assert documented == [row(name, command) for name, command in commands(cli, "noetl")]
