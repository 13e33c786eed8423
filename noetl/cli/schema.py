"""`noetl schema`."""

from __future__ import annotations

import click


@click.command()
def schema() -> None:
    """Print the JSON Schema (2020-12) of a playbook, for editors.

    With the YAML language server, put this line on top of a playbook:
    # yaml-language-server: $schema=./playbook.schema.json
    """
    import msgspec

    from noetl.dsl.schema import schema as playbook_schema

    click.echo(msgspec.json.format(msgspec.json.encode(playbook_schema()), indent=2).decode())
