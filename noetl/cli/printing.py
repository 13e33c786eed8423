"""How answers are printed: as one JSON document, or as lines for people."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from noetl.engine.client import EventView

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


def print_json(document: Any) -> None:
    import msgspec

    click.echo(msgspec.json.encode(document, enc_hook=str))


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as they need, two blanks between them."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip())


def local(at: dt.datetime) -> str:
    return f"{at.astimezone():%Y-%m-%d %H:%M:%S}"


def event_line(event: EventView) -> str:
    place = "" if event.step is None else f"  {event.step}"
    iteration = "" if event.iteration is None else f"[{event.iteration}]"
    attempt = "" if event.attempt is None else f"  attempt {event.attempt}"
    return f"{event.seq:>5}  {event.at.astimezone():%H:%M:%S.%f}  {event.name}{place}{iteration}{attempt}"
