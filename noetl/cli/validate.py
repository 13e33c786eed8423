"""`noetl validate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE...")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document: an object for one file, a list for several.")
@click.option("--strict", is_flag=True, help="Also warn of older spellings, once for each.")
def validate(files: tuple[Path, ...], as_json: bool, strict: bool) -> None:  # noqa: FBT001  options
    """Check playbooks without running them: every error at once, each with its place.

    Exit status: 0 all are valid, 1 one is not, 2 bad usage.
    """
    import msgspec

    from noetl.cli.problems import show_problems

    checked = [_check(file, strict=strict) for file in files]
    if as_json:
        reports = [_as_data(errors, warnings, with_file=len(files) > 1) for _, errors, warnings in checked]
        document = reports[0] if len(files) == 1 else reports
        click.echo(msgspec.json.format(msgspec.json.encode(document), indent=2).decode())
    else:
        for file, errors, warnings in checked:
            show_problems(errors, warnings)
            click.echo(f"{file}: {_summary(errors, warnings)}")
    raise SystemExit(1 if any(errors for _, errors, _ in checked) else 0)


def _check(file: Path, *, strict: bool) -> tuple[Path, Any, Any]:
    from noetl.dsl.load import load
    from noetl.dsl.problem import Problem
    from noetl.engine.library import catalog_path
    from noetl.tools.tool import BUILT

    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        return file, (Problem(f"is not UTF-8 text: {error.reason} at byte {error.start}", 1, 1, "", None, file=str(file)),), ()
    loaded = load(text, file=str(file), path=catalog_path(file), strict=strict, tools=frozenset(BUILT))
    return file, loaded.errors, loaded.warnings


def _as_data(errors: Any, warnings: Any, *, with_file: bool) -> dict[str, Any]:
    from noetl.cli.problems import as_data

    return {
        "valid": not errors,
        "errors": [as_data(problem, with_file=with_file) for problem in errors],
        "warnings": [as_data(problem, with_file=with_file) for problem in warnings],
    }


def _summary(errors: Any, warnings: Any) -> str:
    counts = [f"{len(found)} {word}{'s' if len(found) > 1 else ''}" for word, found in (("error", errors), ("warning", warnings)) if found]
    return ", ".join(counts) if errors else f"valid{' (' + counts[0] + ')' if counts else ''}"
