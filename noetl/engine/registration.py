"""Registering a playbook: from what was sent to a version in the catalog."""

from __future__ import annotations

import base64
import datetime as dt
import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from noetl.dsl.load import load
from noetl.dsl.net import compile_net, encode_net, net_hash
from noetl.dsl.playbook import Playbook
from noetl.dsl.problem import Problem
from noetl.dsl.scripts import embedded, file_scripts
from noetl.engine.client import Registration
from noetl.engine.program import Program
from noetl.errors import BadRequest, Invalid
from noetl.store.catalog import CatalogEntry, PlaybookVersion, content_hash
from noetl.tools.tool import BUILT

_PART: Final = re.compile(r"[\w.+@~ -]+", re.UNICODE)
_MAX_PATH: Final = 512
NAME: Final = "playbook"
"""How the problems of a text without a file call it."""


class Checked(Struct, frozen=True):
    """A registration whose playbook is valid."""

    program: Program
    version: PlaybookVersion
    entry: CatalogEntry
    warnings: tuple[Problem, ...]


def check(wanted: Registration, *, by: str, at: dt.datetime) -> Checked:
    """Read and compile what was sent.

    Raises:
        BadRequest: a field of the request is wrong.
        Invalid: the playbook has errors.
    """
    source = source_of(wanted)
    path = None if wanted.path is None else catalog_path(wanted.path)
    loaded = load(source, path=path, tools=frozenset(BUILT))
    if loaded.playbook is None:
        raise Invalid(NAME, loaded.errors, loaded.warnings)
    playbook = _placed(loaded.playbook, path, wanted.files)
    net = compile_net(playbook)
    encoded = encode_net(net)
    digest = net_hash(encoded)
    version = PlaybookVersion(
        path=playbook.path,
        version=0,
        hash=content_hash(source, wanted.files),
        net=digest,
        source=source,
        files=dict(wanted.files),
        labels={**_text_labels(playbook.labels), **wanted.labels},
        registered_at=at,
        registered_by=by,
    )
    missing = tuple(_missing(name) for name in file_scripts(playbook))
    return Checked(Program(net, digest), version, CatalogEntry(digest, playbook.path, source, encoded), (*loaded.warnings, *missing))


def source_of(wanted: Registration) -> str:
    """The YAML. Raises `BadRequest`."""
    if (wanted.content is None) == (wanted.content_base64 is None):
        raise BadRequest("give the playbook as 'content' or as 'content_base64', not both and not neither")
    if wanted.content is not None:
        return wanted.content
    try:
        return base64.b64decode(wanted.content_base64 or "", validate=True).decode()
    except ValueError as error:  # also of base64 and of UTF-8
        raise BadRequest(f"'content_base64' is no base64 of UTF-8 text: {error}") from error


def catalog_path(text: str) -> str:
    """A catalog path without slashes around it. Raises `BadRequest` for one that can't be."""
    path = text.strip("/")
    parts = path.split("/")
    if len(path) > _MAX_PATH or any(part in ("", ".", "..") or not _PART.fullmatch(part) or part != part.strip() for part in parts):
        raise BadRequest(f"'{text[:80]}' is no catalog path: names of letters, digits and ._-+@~ between single slashes, such as risk/score")
    return path


def _placed(playbook: Playbook, path: str | None, files: Mapping[str, str]) -> Playbook:
    """The playbook at its path, with its scripts in it."""
    return msgspec.structs.replace(embedded(playbook, files), path=catalog_path(path or playbook.path))


def _text_labels(labels: Mapping[str, Any]) -> dict[str, str]:
    return {str(name): value if isinstance(value, str) else str(value) for name, value in labels.items()}


def _missing(name: str) -> Problem:
    hint = "`noetl register` sends it along; without it the run looks for it on the node"
    return Problem(f"the script {name} was not sent with the playbook", 1, 1, "", None, hint)
