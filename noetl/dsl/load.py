"""Playbook text to the canonical playbook, with all that is wrong with it at once."""

from __future__ import annotations

from pathlib import PurePath

from msgspec import Struct

from noetl.dsl.check.names import check_names
from noetl.dsl.check.reach import check_reach
from noetl.dsl.check.sources import check_sources
from noetl.dsl.playbook import Playbook
from noetl.dsl.problem import Place, Problem, Report
from noetl.dsl.read.document import read_document
from noetl.dsl.read.reader import Reader
from noetl.dsl.source import parse
from noetl.dsl.tree import Map


class Loaded(Struct, frozen=True):
    """`playbook` is None exactly when there are errors. Problems are in the order of the file."""

    playbook: Playbook | None
    errors: tuple[Problem, ...]
    warnings: tuple[Problem, ...]

    @property
    def valid(self) -> bool:
        return self.playbook is not None


def load(text: str, *, file: str | None = None, path: str | None = None, strict: bool = False, tools: frozenset[str] | None = None) -> Loaded:
    """Read a playbook. Never raises: what is wrong is in the result.

    Args:
        file: the file's name, for the problems.
        path: the catalog path when the playbook names none; default: `file` without its suffix, else the playbook's name.
        strict: warn of older spellings, once for each of them.
        tools: the tool kinds that are available where the playbook will run; None: not known.
    """
    report = Report(file, strict=strict)
    root = parse(text, report)
    playbook: Playbook | None = None
    if isinstance(root, Map):
        read = Reader(report)
        playbook = read_document(read, root, path=path or _path(file), tools=tools)
        if not report.errors:  # an arc that is wrong leads nowhere
            check_reach(read, playbook)
        check_names(read, playbook, root)
        check_sources(read)
    elif not report.errors:
        place = Place(1, 1) if root is None else root
        report.error(place, "a playbook is a mapping", hint="begin with apiVersion: noetl.io/v2")
    return Loaded(None if report.errors else playbook, report.errors, report.warnings)


def _path(file: str | None) -> str:
    return str(PurePath(file).with_suffix("")) if file else ""
