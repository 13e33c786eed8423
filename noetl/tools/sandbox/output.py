"""What a call prints, as lines, while it runs; bounded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

_PIECE_BYTES: Final = 16_384
"""A longer line is delivered in pieces."""

_WORD_BYTES: Final = 1_024
"""So much of a line that is not over is kept back when it is cut: a secret that has not come whole is found when the rest has come."""

Scrub = Callable[[str], str]
Log = Callable[[str, str], None]


class Output:
    """Cuts the bytes of stdout and stderr into lines for `log(stream, line)`. After `max_bytes` in all it only counts.

    `scrub` takes out what must not be seen, before a long line is cut through it.
    """

    def __init__(self, log: Log, max_bytes: int, scrub: Scrub | None = None) -> None:
        self._log = log
        self._scrub = scrub
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
        self._open[stream] = self._shorten(stream, rest, 0 if self._scrub is None else _WORD_BYTES)

    def finish(self) -> None:
        """The call is over: deliver what has no newline at its end, and say what was dropped."""
        for stream, rest in self._open.items():
            if rest:
                self._log(stream, _text(self._shorten(stream, self._whole_words(rest)).removesuffix(b"\r")))
        self._open = dict.fromkeys(self._open, b"")
        if self._dropped:
            self._log("warning", f"output: {self._dropped:,} bytes dropped after the first {self._max_bytes:,} (python.log_max_bytes)")
            self._dropped = 0

    def _shorten(self, stream: str, line: bytes, keep: int = 0) -> bytes:
        """Deliver all of a line but its last piece, and at least `keep` bytes."""
        if len(line) > _PIECE_BYTES + keep:
            line = self._scrubbed(line)
        while len(line) > _PIECE_BYTES + keep:
            end = _cut(line, _PIECE_BYTES)
            self._log(stream, _text(line[:end]))
            line = line[end:]
        return line

    def _whole_words(self, rest: bytes) -> bytes:
        """What was cut off by the limit, without its end, where secrets may be: half of one would not be known."""
        return self._scrubbed(rest)[:-_WORD_BYTES] if self._dropped and self._scrub is not None else rest

    def _scrubbed(self, line: bytes) -> bytes:
        if self._scrub is None:
            return line
        return self._scrub(line.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")


def _cut(line: bytes, end: int) -> int:
    """Where to cut: behind the last white space of the piece, lest a word is torn that must not be seen; else between two characters."""
    space = max(line.rfind(b" ", end - _WORD_BYTES, end), line.rfind(b"\t", end - _WORD_BYTES, end))
    return space + 1 if space >= 0 else _character_end(line, end)


def _character_end(data: bytes, end: int) -> int:
    """`end`, or up to three bytes before it: not in the middle of a UTF-8 character."""
    return next((place for place in range(end, max(end - 4, 0), -1) if data[place] & 0xC0 != 0x80), end)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
