"""What the author's code prints: a file of JSON lines for each execution, and a happening for whoever listens."""

from __future__ import annotations

import datetime as dt
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
from msgspec import Struct

from noetl.clock import Clock
from noetl.engine.order import Order
from noetl.probe import Happening, Probe
from noetl.vault.secrets import Secrets

_OPEN_FILES: Final = 64


class LogLine(Struct, frozen=True):
    """One line. `stream` is stdout, stderr or warning."""

    at: dt.datetime
    step: str
    iteration: int
    attempt: int
    stream: str
    text: str


class LineLogged(Happening, frozen=True):
    execution_id: int
    line: LogLine


class RunLog:
    """`directory` None: lines are only told to listeners."""

    def __init__(self, directory: Path | None, clock: Clock, secrets: Secrets, probe: Probe) -> None:
        self._directory = directory
        self._clock = clock
        self._secrets = secrets
        self._probe = probe
        self._files: OrderedDict[int, BinaryIO] = OrderedDict()

    def write(self, order: Order, stream: str, text: str) -> None:
        call = order.call
        line = LogLine(self._clock.now(), call.step, call.index, call.attempt, stream, self._secrets.scrub(text))
        if self._directory is not None:
            self._file(call.execution_id, self._directory).write(msgspec.json.encode(line) + b"\n")
        if self._probe.wanted:
            self._probe.emit(LineLogged(call.execution_id, line))

    def close(self) -> None:
        while self._files:
            self._files.popitem()[1].close()

    def _file(self, execution_id: int, directory: Path) -> BinaryIO:
        file = self._files.get(execution_id)
        if file is None:
            directory.mkdir(parents=True, exist_ok=True)
            file = self._files[execution_id] = log_file(directory, execution_id).open("ab", buffering=0)
            if len(self._files) > _OPEN_FILES:
                self._files.popitem(last=False)[1].close()
        else:
            self._files.move_to_end(execution_id)
        return file


def log_file(directory: Path, execution_id: int) -> Path:
    return directory / f"{execution_id}.jsonl"


def read_log(directory: Path, execution_id: int, step: str | None = None) -> Iterator[LogLine]:
    """The lines of an execution, oldest first. A last line that a kill cut short is left out."""
    file = log_file(directory, execution_id)
    if not file.exists():
        return
    decode = msgspec.json.Decoder(LogLine).decode
    with file.open("rb") as lines:
        for raw in lines:
            if raw.endswith(b"\n"):
                line = decode(raw)
                if step is None or line.step == step:
                    yield line
