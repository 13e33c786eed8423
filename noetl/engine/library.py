"""Playbooks by path: found in files, checked, compiled, and kept in the store's catalog under the hash of what was compiled."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from noetl.dsl.kinds import LOADED_KIND, canonical_kind
from noetl.dsl.load import load
from noetl.dsl.net import compile_net, decode_net, encode_net, net_hash
from noetl.dsl.playbook import Playbook
from noetl.dsl.problem import Problem
from noetl.engine.program import Program
from noetl.errors import Invalid, LogCorrupt, NotFound, PlaybookError
from noetl.store.catalog import Catalog, CatalogEntry
from noetl.tools.tool import BUILT

_SUFFIXES: Final = ("", ".yaml", ".yml")


class Found(Struct, frozen=True):
    """A playbook that is valid. `file` is where it lies, None when it came from the catalog."""

    program: Program
    path: str
    file: Path | None
    warnings: tuple[Problem, ...] = ()
    version: int | None = None
    """In the catalog."""
    labels: dict[str, str] = {}


class Library:
    """`roots` are the folders in which a path is looked up, first the working directory. `catalog_first`: what was registered goes before files."""

    def __init__(self, catalog: Catalog, roots: Sequence[Path], *, catalog_first: bool = False) -> None:
        self._catalog = catalog
        self._catalog_first = catalog_first
        self._roots = tuple(roots)
        self._programs: dict[str, Program] = {}
        self._files: dict[str, str | None] = {}
        self._kept: set[str] = set()

    async def find(self, path: str, *, relative_to: Path | None = None) -> Found:
        """Load the playbook of that name or file, and keep it in the catalog.

        Raises:
            NotFound: no such playbook; says where was looked.
            Invalid: it has errors.
            PlaybookError: it requires what is not here.
        """
        found = await self._in_catalog(path) if self._catalog_first else None
        if found is not None:
            return found
        file = await asyncio.to_thread(find_file, path, self._roots, relative_to)
        if file is None and not self._catalog_first:
            found = await self._in_catalog(path)
            if found is not None:
                return found
        if file is None:
            folders = ", ".join(str(folder) for folder in _folders(self._roots, relative_to))
            raise NotFound(f"there is no playbook '{path}' (looked in the catalog and in {folders})")
        found = await self.load(file)
        check_requirements(found.program.playbook)
        return found

    async def load(self, file: Path) -> Found:
        """Raises `NotFound`, `Invalid`."""
        text = await asyncio.to_thread(read_playbook, file)
        found = compile_text(text, file)
        self._programs.setdefault(found.program.hash, found.program)
        if found.program.hash not in self._kept:
            encoded = encode_net(found.program.net)
            await self._catalog.keep(CatalogEntry(found.program.hash, found.path, text, encoded, str(file)))
            self._kept.add(found.program.hash)
        self._files[found.program.hash] = str(file)
        return found

    async def registered(self, path: str, version: int | None = None) -> Found:
        """A playbook of the catalog, in that version or the latest. Raises `NotFound`, `PlaybookError`."""
        kept = await self._catalog.playbook(path, version)
        if kept is None:
            which = "" if version is None else f" in version {version}"
            raise NotFound(f"there is no playbook '{path}'{which} in the catalog: `noetl register FILE` puts it there")
        program = await self.program(kept.net)
        check_requirements(program.playbook)
        return Found(program, kept.path, None, version=kept.version, labels=kept.labels)

    async def _in_catalog(self, path: str) -> Found | None:
        bare = path.strip("/")
        for wanted in (bare, f"{bare}/{Path(bare).name}"):
            if await self._catalog.playbook(wanted) is not None:
                return await self.registered(wanted)
        return None

    async def program(self, wanted: str) -> Program:
        """The program of a net by its hash.

        Raises:
            NotFound: the store does not have it.
            LogCorrupt: it can't be read by this version.
        """
        program = self._programs.get(wanted)
        if program is None:
            entry = await self._catalog.by_hash(wanted)
            if entry is None:
                raise NotFound(f"the compiled playbook {wanted[:12]}… is not in this store")
            try:
                program = Program(decode_net(entry.net), wanted)
            except ValueError as error:
                raise LogCorrupt(f"the compiled playbook of {entry.path} can't be read by this version: {error}") from error
            self._programs[wanted] = program
            self._files[wanted] = entry.file
        return program

    def folder_of(self, wanted: str) -> Path | None:
        """The folder of the file that a net came from, for what it names relative to itself."""
        file = self._files.get(wanted)
        return None if file is None else Path(file).parent

    @property
    def roots(self) -> tuple[Path, ...]:
        return self._roots


def read_playbook(file: Path) -> str:
    """Raises `NotFound`; `Invalid` when it is not text."""
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise Invalid(str(file), [Problem(f"not UTF-8 text: {error.reason} at byte {error.start}", 1, 1, "", None, file=str(file))], []) from error
    except OSError as error:
        raise NotFound(f"{file} can't be read: {error.strerror or error}") from error


@functools.lru_cache(maxsize=256)
def compile_text(text: str, file: Path) -> Found:
    """Raises `Invalid`."""
    loaded = load(text, file=str(file), path=catalog_path(file), tools=frozenset(BUILT))
    if loaded.playbook is None:
        raise Invalid(str(file), loaded.errors, loaded.warnings)
    net = compile_net(loaded.playbook)
    return Found(Program(net, net_hash(encode_net(net))), loaded.playbook.path, file, loaded.warnings)


def check_requirements(playbook: Playbook) -> None:
    """Raises `PlaybookError` when the playbook requires tool kinds that are not here."""
    wanted = playbook.requires.get("tools") or ()
    missing = [kind for kind in wanted if canonical_kind(str(kind)) not in (*BUILT, LOADED_KIND)]
    if missing:
        raise PlaybookError(f"the playbook requires tool kinds that are not available here: {', '.join(missing)}", path="executor.requires.tools")


def catalog_path(file: Path) -> str:
    """The path of a playbook that names none: its file's, without the suffix, relative to the working directory when it lies below."""
    whole = file.resolve().with_suffix("")
    try:
        return whole.relative_to(Path.cwd()).as_posix()
    except ValueError:
        return whole.as_posix().lstrip("/")


def find_file(path: str, roots: Sequence[Path], relative_to: Path | None = None) -> Path | None:
    """The file of a playbook: `a/b` may be a/b, a/b.yaml, or a/b/b.yaml, below the caller's folder or a root; else the one that says it has that
    catalog path, or that with its last part twice."""
    for folder in _folders(roots, relative_to):
        for candidate in _candidates(folder, path):
            if candidate.is_file():
                return candidate
    bare = path.strip("/")
    named = (bare, f"{bare}/{Path(bare).name}")
    return next((file for wanted in named for file in _neighbours(roots, relative_to) if _has_path(file, wanted)), None)


def _neighbours(roots: Sequence[Path], relative_to: Path | None) -> Iterator[Path]:
    """Files beside the caller, and all files below the roots."""
    for pattern in ("*.yaml", "*.yml"):
        if relative_to is not None:
            yield from sorted(relative_to.glob(pattern))
        for root in roots:
            yield from sorted(root.rglob(pattern))


def _has_path(file: Path, wanted: str) -> bool:
    """Whether it is a playbook with this catalog path. One that can't be read has none."""
    try:
        text = read_playbook(file)
        return wanted in text and compile_text(text, file).path == wanted
    except (Invalid, NotFound):
        return False


def _folders(roots: Sequence[Path], relative_to: Path | None) -> Iterator[Path]:
    if relative_to is not None:
        yield relative_to
    yield Path.cwd()
    yield from roots


def _candidates(folder: Path, path: str) -> Iterator[Path]:
    given = Path(path)
    if given.is_absolute() and given.exists():
        yield given
    bare = path.strip("/")
    for suffix in _SUFFIXES:
        yield folder / f"{bare}{suffix}"
    for suffix in _SUFFIXES[1:]:
        yield folder / bare / f"{Path(bare).name}{suffix}"
