"""The `noetl` command: which commands there are."""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Mapping
from typing import Final

import click

from noetl import __version__

COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "catalog": ("noetl.cli.catalog:catalog", "Look at the playbooks, tools and credentials of a server."),
    "credential": ("noetl.cli.credential:credential", "Keep credentials on a server."),
    "execute": ("noetl.cli.execute:execute", "Execute a registered playbook on a server."),
    "executions": ("noetl.cli.executions:executions", "Look at executions, cancel them, delete old ones."),
    "login": ("noetl.cli.login:login", "Keep a token for a server."),
    "node": ("noetl.cli.node:node", "Start, list and stop nodes of this machine."),
    "register": ("noetl.cli.register:register", "Put playbooks into the catalog of a server."),
    "run": ("noetl.cli.run:run", "Run a playbook in this process, without a server."),
    "schema": ("noetl.cli.schema:schema", "Print the JSON Schema of a playbook, for editors."),
    "server": ("noetl.cli.node:server", "Start and stop the server of this machine."),
    "store": ("noetl.cli.backup:store", "Keep the local store safe."),
    "token": ("noetl.cli.token:token", "Make, list and revoke the tokens of a server."),
    "top": ("noetl.cli.top:top", "Look at the actors of a run that goes on."),
    "vault": ("noetl.cli.vault:vault", "The master key that seals credentials."),
    "validate": ("noetl.cli.validate:validate", "Check playbooks: every error at once, with its place."),
    "worker": ("noetl.cli.node:worker", "Start and stop workers of a cluster."),
}
"""Name -> module and object, one line of help. The help is here so that `noetl --help` imports none of them."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in self.list_commands(ctx)])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="noetl")
def cli() -> None:
    """Run declarative YAML playbooks on a supervised, durable runtime.

    Shell completion: eval "$(_NOETL_COMPLETE=bash_source noetl)" (or zsh_source, fish_source).
    """


def main() -> None:
    _complete_streams()
    try:
        cli(prog_name="noetl")
    except OSError as error:  # a pipe that was closed is click's business
        from noetl.cli.problems import lost_output

        lost_output(error)
        raise SystemExit(1) from None


def _complete_streams() -> None:
    """Somebody may have closed them (`>&-`): then what is opened next would take their place. And one that lacks a character must not stop a run."""
    for name, number, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        stream = getattr(sys, name)
        if stream is None:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115  for as long as the process lives
        elif mode == "w" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
