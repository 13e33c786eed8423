"""What the author's code prints: a file of JSON lines for each execution, and a happening for whoever listens."""

from __future__ import annotations

import datetime as dt
import os
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


class LogLost(Happening, frozen=True):
    """From now on the lines are told to listeners only: the files can't be written."""

    reason: str


class RunLog:
    """`directory` None: lines are only told to listeners."""

    def __init__(self, directory: Path | None, clock: Clock, secrets: Secrets, probe: Probe) -> None:
        self._directory = directory
        self._clock = clock
        self._secrets = secrets
        self._probe = probe
        self._files: OrderedDict[int, BinaryIO] = OrderedDict()

    def write(self, order: Order, stream: str, text: str) -> None:
        """Never raises: what the code prints is not worth the call."""
        call = order.call
        line = LogLine(self._clock.now(), call.step, call.index, call.attempt, stream, self._secrets.scrub(text))
        if self._directory is not None:
            try:
                self._file(call.execution_id, self._directory).write(msgspec.json.encode(line) + b"\n")
            except OSError as error:
                self._lose(f"{self._directory}: {error.strerror}")
        if LineLogged in self._probe.wanted:
            self._probe.emit(LineLogged(call.execution_id, line))

    def close(self) -> None:
        while self._files:
            self._files.popitem()[1].close()

    def _lose(self, reason: str) -> None:
        self._directory = None
        self.close()
        self._probe.emit(LogLost(reason))

    def _file(self, execution_id: int, directory: Path) -> BinaryIO:
        file = self._files.get(execution_id)
        if file is None:
            directory.mkdir(parents=True, exist_ok=True)
            file = self._files[execution_id] = _opened(log_file(directory, execution_id))
            if len(self._files) > _OPEN_FILES:
                self._files.popitem(last=False)[1].close()
        else:
            self._files.move_to_end(execution_id)
        return file


def _opened(path: Path) -> BinaryIO:
    """For more lines. One that a kill or a full disk has cut short is ended."""
    file = path.open("a+b", buffering=0)
    if file.tell() > 0:
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.write(b"\n")
    return file


def log_file(directory: Path, execution_id: int) -> Path:
    return directory / f"{execution_id}.jsonl"


def read_log(directory: Path, execution_id: int, step: str | None = None) -> Iterator[LogLine]:
    """The lines of an execution, oldest first. What was cut short is left out."""
    file = log_file(directory, execution_id)
    if not file.exists():
        return
    decode = msgspec.json.Decoder(LogLine).decode
    with file.open("rb") as lines:
        for raw in lines:
            try:
                line = decode(raw)
            except msgspec.DecodeError:
                continue
            if step is None or line.step == step:
                yield line
