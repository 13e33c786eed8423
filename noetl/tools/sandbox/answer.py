"""What comes of a call: its result, kept in the artifact store when it is large, or its error, told briefly."""

from __future__ import annotations

import linecache
import sys
import traceback
from pathlib import Path
from typing import Any, Final

from msgspec import Raw

from noetl.blobs import write_blob
from noetl.errors import LogCorrupt, NotFound
from noetl.tools.sandbox.messages import Done, Failed, Job
from noetl.tools.sandbox.sizes import show_bytes
from noetl.values import encode, handle_of, to_plain

_MAX_MESSAGE: Final = 4_000
_MAX_TRACEBACK: Final = 8_000
_NESTING: Final = 500
"""Frames of Python that turning a result into plain data may use, two for each level: every reader of the result must be able to decode it, and
has less of its stack left than this process."""


def done(value: Any, job: Job) -> Done | Failed:
    """Encode a result. Raises whatever the code's own objects raise while they are looked at."""
    odd: set[str] = set()
    try:
        plain = _plain(value, odd)
        encoded = encode(plain)
    except RecursionError:
        return Failed("python", "the result is nested too deeply, or contains itself", "RecursionError")
    except UnicodeEncodeError as error:
        return Failed("python", f"the result holds text that is not Unicode: {error.object[error.start : error.end]!r}", "UnicodeEncodeError")
    if len(encoded) > job.result_max_bytes:
        size, limit = show_bytes(len(encoded)), show_bytes(job.result_max_bytes)
        return Failed("limit", f"the result has {size}; the limit is {limit} (values.result_max_bytes)")
    if len(encoded) > job.inline_max_bytes:
        try:
            write_blob(Path(job.artifacts_dir), encoded)
        except OSError as error:
            return Failed("limit", f"the result of {show_bytes(len(encoded))} can't be stored in {job.artifacts_dir}: {error.strerror}")
        encoded = encode(handle_of(plain, encoded))
    warnings = (f"the result holds what has no JSON form and became text: {', '.join(sorted(odd))}",) if odd else ()
    return Done(Raw(encoded), warnings)


def _plain(value: Any, odd: set[str]) -> Any:
    usual = sys.getrecursionlimit()
    sys.setrecursionlimit(_NESTING)
    try:
        return to_plain(value, lambda item: odd.add("int of more than 64 bits" if type(item) is int else type(item).__name__))
    finally:
        sys.setrecursionlimit(usual)


def failed(error: BaseException, source: str, file: str) -> Failed:
    """What the author is to know of an exception: type, text, and where in the author's own source it came from."""
    if isinstance(error, (NotFound, LogCorrupt)):
        return Failed("not_found", f"a large value can't be read here: {error}", type(error).__name__)
    kind = type(error).__name__
    text = _text(error)
    lines = source.splitlines(keepends=True)
    linecache.cache[file] = (len(source), None, lines, file)
    try:
        told = _of_author(traceback.TracebackException.from_exception(error, lookup_lines=False), file)
        message = _cut(f"{kind}: {text}" if text else kind, _MAX_MESSAGE)
        return Failed("python", message, kind, _cut("".join(told.format()), _MAX_TRACEBACK), _line(error, told))
    finally:
        del linecache.cache[file]


def _of_author(told: traceback.TracebackException, file: str) -> traceback.TracebackException:
    """Without the frames of this package and of libraries, also in the exceptions that led to this one."""
    pending: list[traceback.TracebackException | None] = [told]
    while pending:
        one = pending.pop()
        if one is not None:
            one.stack = traceback.StackSummary.from_list([frame for frame in one.stack if frame.filename == file])
            pending += [one.__cause__, one.__context__, *(one.exceptions or ())]
    return told


def _line(error: BaseException, told: traceback.TracebackException) -> int | None:
    if isinstance(error, SyntaxError) and not told.stack:
        return error.lineno
    return told.stack[-1].lineno if told.stack else None


def _text(error: BaseException) -> str:
    try:
        if isinstance(error, SystemExit):
            return "" if error.code is None else str(error.code)
        return str(error)
    except Exception as second:  # noqa: BLE001  the author's __str__ may fail in any way
        return f"<its text can't be had: {type(second).__name__}>"


def _cut(text: str, limit: int) -> str:
    """The head and the tail of a text that is too long; only what can be encoded."""
    if len(text) > limit:
        text = f"{text[: limit // 2]}\n… {len(text) - limit} characters left out …\n{text[-(limit // 2) :]}"
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
