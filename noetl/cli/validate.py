"""`noetl validate`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from noetl.errors import Flaw


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE...")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document: an object for one file, a list for several.")
@click.option("--strict", is_flag=True, help="Also warn of older spellings, once for each.")
def validate(files: tuple[Path, ...], as_json: bool, strict: bool) -> None:
    """Check playbooks without running them: every error at once, each with its place.

    Exit status: 0 all are valid, 1 one is not, 2 bad usage.
    """
    import msgspec

    from noetl.cli.problems import show_problems

    checked = [(file, *_check(file, strict=strict)) for file in files]
    if as_json:
        reports = [_as_data(file if len(files) > 1 else None, errors, warnings) for file, errors, warnings in checked]
        document = reports[0] if len(files) == 1 else reports
        click.echo(msgspec.json.format(msgspec.json.encode(document), indent=2).decode())
    else:
        for file, errors, warnings in checked:
            show_problems(errors, warnings)
            click.echo(f"{file}: {_summary(errors, warnings)}")
    raise SystemExit(1 if any(errors for _, errors, _ in checked) else 0)


def _check(file: Path, *, strict: bool) -> tuple[Sequence[Flaw], Sequence[Flaw]]:
    """Errors and warnings."""
    from noetl.dsl.load import load
    from noetl.engine.library import catalog_path, read_playbook
    from noetl.errors import Invalid
    from noetl.tools.tool import BUILT

    try:
        text = read_playbook(file)
    except Invalid as error:
        return error.problems, ()
    loaded = load(text, file=str(file), path=catalog_path(file), strict=strict, tools=frozenset(BUILT))
    return loaded.errors, loaded.warnings


def _as_data(file: Path | None, errors: Sequence[Flaw], warnings: Sequence[Flaw]) -> dict[str, Any]:
    from noetl.cli.problems import as_data

    name = {} if file is None else {"file": str(file)}
    return {**name, "valid": not errors, "errors": [as_data(problem) for problem in errors], "warnings": [as_data(problem) for problem in warnings]}


def _summary(errors: Sequence[Flaw], warnings: Sequence[Flaw]) -> str:
    counts = [f"{len(found)} {word}{'s' if len(found) > 1 else ''}" for word, found in (("error", errors), ("warning", warnings)) if found]
    return ", ".join(counts) if errors else f"valid{' (' + counts[0] + ')' if counts else ''}"
