"""`noetl top`: what the actors of a running node do."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from noetl.cli.problems import fail, say_error

if TYPE_CHECKING:
    from noetl.actors.snapshot import Rates
    from noetl.node.control import NodeView

_RATE_S: Final = 0.25
"""Between the two looks of which a table's rates are the difference."""
_TABLE_LIMIT: Final = 20
_JSON_LIMIT: Final = 1_000


@click.command()
@click.argument("node", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, once.")
@click.option(
    "--interval", "interval_s", default=1.0, show_default=True, type=click.FloatRange(min=0.1), metavar="S", help="Seconds between two looks."
)
@click.option(
    "--limit", type=click.IntRange(min=1), help=f"Children listed of one actor, where it is printed. Default: {_TABLE_LIMIT}, as JSON {_JSON_LIMIT}."
)
def top(node: str | None, as_json: bool, interval_s: float, limit: int | None) -> None:
    """Look at the actors of a run that goes on: who has what in its mailbox, how fast it is, what was restarted.

    NODE is the id of a run, or the beginning of it; it may be left out when there is only one. In a terminal the tree is live (? shows the keys),
    else a table is printed. Exit status: 0; 1 nothing runs; 2 several run and none is named, or none is called so.
    """
    from noetl.errors import CallError

    file = _chosen(node)
    try:
        if as_json:
            _print_json(file, limit or _JSON_LIMIT)
        elif sys.stdout.isatty() and sys.stdin.isatty() and os.environ.get("TERM") != "dumb":
            from noetl.cli.toplive import show_live

            show_live(file, interval_s)
        else:
            _print_table(file, limit or _TABLE_LIMIT)
    except CallError as error:
        fail(str(error))
    except (ConnectionError, FileNotFoundError):
        fail(f"{file.stem} has ended")


def _chosen(node: str | None) -> Path:
    """The socket of the node that is meant."""
    from noetl.node.asking import running_nodes
    from noetl.node.place import home_dir

    home = home_dir(os.environ)
    files = list(running_nodes(home))
    if not files:
        fail(f"nothing runs here: no `noetl run` with NOETL_HOME {home}")
    fitting = [file for file in files if node is None or file.stem.startswith(node)]
    exact = [file for file in fitting if file.stem == node]
    if len(exact or fitting) == 1:
        return (exact or fitting)[0]
    say_error("several run: name one, or the beginning of its id" if fitting else f"no run is called '{node}'")
    for file in fitting or files:
        click.echo(_line_of(file), err=True)
    raise SystemExit(2)


def _line_of(file: Path) -> str:
    from noetl.actors.snapshot import Wanted
    from noetl.cli.toptree import duration
    from noetl.errors import CallError
    from noetl.node.asking import Line

    try:
        with Line(file, timeout_s=1.0) as line:
            view = line.ask(Wanted(limit=1, depth=0))
    except CallError as error:
        return f"{file.stem}  {error}"
    except OSError:
        return f"{file.stem}  has ended"
    return f"{view.id}  pid {view.pid:<7}  up {duration(view.runtime.uptime_s):>7}  {view.title}"


def _print_json(file: Path, limit: int) -> None:
    import msgspec

    from noetl.actors.snapshot import Wanted
    from noetl.node.asking import Line

    with Line(file) as line:
        click.echo(msgspec.json.encode(line.ask(Wanted(limit=limit))))


def _print_table(file: Path, limit: int) -> None:
    from noetl.actors.snapshot import Wanted, rates
    from noetl.node.asking import Line

    wanted = Wanted(limit=limit)
    with Line(file) as line:
        before = line.ask(wanted)
        time.sleep(_RATE_S)
        after = line.ask(wanted)
    for text in _table(after, rates(before.runtime, after.runtime)):
        click.echo(text)


def _table(node: NodeView, found: Rates) -> Iterator[str]:
    """Lines for a reader without a terminal: columns as wide as they need."""
    from noetl.cli.toptree import COLUMNS, cells_of, heading, rows_of

    rows = [COLUMNS, *(cells_of(row) for row in rows_of(node.runtime, found))]
    widths = [max(len(row[place]) for row in rows) for place in range(len(COLUMNS))]
    yield heading(node, found)
    yield ""
    for row in rows:
        words = (word.ljust(width) if place < 3 else word.rjust(width) for place, (word, width) in enumerate(zip(row, widths, strict=True)))
        yield "  ".join(words).rstrip()
