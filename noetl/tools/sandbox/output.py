"""What a call prints, as lines, while it runs; bounded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

_PIECE_BYTES: Final = 16_384
"""A longer line is delivered in pieces."""

_WORD_BYTES: Final = 1_024

Log = Callable[[str, str], None]


class Output:
    """Cuts the bytes of stdout and stderr into lines for `log(stream, line)`. After `max_bytes` in all it only counts."""

    def __init__(self, log: Log, max_bytes: int) -> None:
        self._log = log
        self._max_bytes = max_bytes
        self._left = max_bytes
        self._dropped = 0
        self._open = {"stdout": b"", "stderr": b""}

    def feed(self, stream: str, data: bytes) -> None:
        kept = data[: self._left]
        self._left -= len(kept)
        self._dropped += len(data) - len(kept)
        if not kept:
            return
        *lines, rest = (self._open[stream] + kept).split(b"\n")
        for line in lines:
            self._log(stream, _text(self._shorten(stream, line).removesuffix(b"\r")))
        self._open[stream] = self._shorten(stream, rest)

    def finish(self) -> None:
        """The call is over: deliver what has no newline at its end, and say what was dropped."""
        for stream, rest in self._open.items():
            if rest:
                self._log(stream, _text(rest.removesuffix(b"\r")))
        self._open = dict.fromkeys(self._open, b"")
        if self._dropped:
            self._log("warning", f"output: {self._dropped:,} bytes dropped after the first {self._max_bytes:,} (python.log_max_bytes)")
            self._dropped = 0

    def _shorten(self, stream: str, line: bytes) -> bytes:
        """Deliver all of a line but its last piece."""
        while len(line) > _PIECE_BYTES:
            end = _cut(line, _PIECE_BYTES)
            self._log(stream, _text(line[:end]))
            line = line[end:]
        return line


def _cut(line: bytes, end: int) -> int:
    """Where to cut: behind the last white space of the piece, lest a word is torn that must not be seen; else between two characters."""
    space = max(line.rfind(b" ", end - _WORD_BYTES, end), line.rfind(b"\t", end - _WORD_BYTES, end))
    return space + 1 if space >= 0 else _character_end(line, end)


def _character_end(data: bytes, end: int) -> int:
    """`end`, or up to three bytes before it: not in the middle of a UTF-8 character."""
    return next((place for place in range(end, max(end - 4, 0), -1) if data[place] & 0xC0 != 0x80), end)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
