"""Where the runtime's own reports go: crashes of actors, and what holds the event loop. One file for each node, made by its first report."""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import time
from collections.abc import Callable, Iterator
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from noetl.actors.crash import Crash, CrashLog, CrashReport

if TYPE_CHECKING:
    from noetl.node.parts import Parts

LOGGER: Final = "noetl.actors"


@contextlib.contextmanager
def written(parts: Parts) -> Iterator[None]:
    """From its start on the node's reports are written to `logs/NODE.log` of its store; those of a node whose store is in memory to nowhere."""
    if not parts.keeps_files:
        handler: logging.Handler = logging.NullHandler()
    else:
        handler = _File(parts.directory / "logs" / f"{parts.owner.node}.log", parts.secrets.scrub, as_json=parts.settings.log.format == "json")
    logger = logging.getLogger(LOGGER)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()


def crashes(parts: Parts) -> CrashLog:
    """Reports crashes until it is closed. Those of a start that fails are told to the one who wanted it, and are no reports."""
    return CrashLog(parts.probe, parts.secrets.scrub, now=parts.clock.now)


def delete_reports(directory: Path, older_than_s: float) -> None:
    """Delete the files that were last written to so long ago."""
    for file in directory.glob("*.log"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - file.stat().st_mtime >= older_than_s:
                file.unlink()


class Line(Struct, frozen=True, omit_defaults=True):
    """A report as JSON."""

    at: dt.datetime
    level: str
    text: str
    crash: CrashReport | None = None


class _File(logging.FileHandler):
    """Opened with the first record. What can't be written is lost: no report is worth the run."""

    def __init__(self, file: Path, scrub: Callable[[str], str], *, as_json: bool) -> None:
        super().__init__(file, encoding="utf-8", errors="backslashreplace", delay=True)
        self._scrub = scrub
        self._as_json = as_json
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))

    def _open(self) -> TextIOWrapper:
        Path(self.baseFilename).parent.mkdir(parents=True, exist_ok=True)
        return super()._open()

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError):
            super().emit(record)

    def format(self, record: logging.LogRecord) -> str:
        return self._json(record) if self._as_json else self._scrub(super().format(record))

    def _json(self, record: logging.LogRecord) -> str:
        crash: Crash | None = getattr(record, "crash", None)
        report = None if crash is None else crash.report()
        text = record.getMessage() if report is None else f"{report.path} crashed: {report.reason}"
        line = Line(dt.datetime.fromtimestamp(record.created, dt.UTC), record.levelname, self._scrub(text), report)
        return msgspec.json.encode(line).decode()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  the name is logging's
        pass
