"""What a response says: the body that was asked for, or the error that a client in the server's process would have raised."""

from __future__ import annotations

from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct

from noetl.client.address import Address
from noetl.client.call import Call
from noetl.client.connection import Response
from noetl.engine.client import ProblemView
from noetl.errors import BadRequest, Invalid, NoetlError, NotAllowed, NotAuthenticated, NotFound, ServerFailed

T = TypeVar("T")

_PROBLEM: Final = "application/problem+json"
_SAME_AS_HERE: Final[dict[int, type[NoetlError]]] = {401: NotAuthenticated, 403: NotAllowed, 404: NotFound, 409: NotAllowed}
_SHOWN: Final = 200


class ProblemDetails(Struct, frozen=True):
    """RFC 9457, and the problems of a playbook that was rejected."""

    title: str = ""
    detail: str = ""
    errors: Any = None

    @property
    def text(self) -> str:
        return self.detail or self.title


def answer(call: Call[T], response: Response, address: Address) -> T:
    """The body.

    Raises:
        NotFound, NotAuthenticated, NotAllowed, Invalid: as in the server's process.
        BadRequest: another status of 4xx.
        ServerFailed: 429, 5xx, or no answer of a NoETL server.
    """
    if not 200 <= response.status < 300:
        raise error_of(response, address)
    if call.returns is None:
        return None  # type: ignore[return-value]  # T is None then
    try:
        found: T = msgspec.json.decode(response.body, type=call.returns)
    except msgspec.MsgspecError as error:
        raise ServerFailed(f"{address.url}{call.path}: the answer can't be read: {error}. Is it a NoETL server?", status=response.status) from error
    return found


def error_of(response: Response, address: Address) -> NoetlError:
    """The error that a status outside of 2xx stands for."""
    status = response.status
    problem = _problem(response)
    if problem is None:
        return ServerFailed(_strange(response, address), status=status, retry_after_s=_retry_after_s(response))
    if status == 429 or status >= 500:
        return ServerFailed(f"{address.url} answered {status}: {problem.text}", status=status, retry_after_s=_retry_after_s(response))
    problems = _problems(problem)
    if problems:
        return Invalid(problems[0].file or "<playbook>", problems, ())
    if status in _SAME_AS_HERE:
        return _SAME_AS_HERE[status](problem.text)
    return BadRequest(problem.text)


def _problem(response: Response) -> ProblemDetails | None:
    if response.media_type != _PROBLEM:
        return None
    try:
        return msgspec.json.decode(response.body, type=ProblemDetails)
    except msgspec.MsgspecError:
        return None


def _problems(problem: ProblemDetails) -> tuple[ProblemView, ...]:
    """Those of a playbook; other lists of errors are told by the detail."""
    try:
        return msgspec.convert(problem.errors or (), tuple[ProblemView, ...])
    except msgspec.ValidationError:
        return ()


def _strange(response: Response, address: Address) -> str:
    """What answered is a proxy, or something else on that port."""
    if "location" in response.headers:
        return f"{address.url} answered {response.status}: it is at {response.headers['location']} now"
    text = " ".join(response.body[:_SHOWN].decode(errors="replace").split()) if response.media_type == "text/plain" else response.media_type
    return f"{address.url} answered {response.status}{f' ({text})' if text else ''}: is it a NoETL server?"


def _retry_after_s(response: Response) -> float | None:
    """Seconds; a date, which the header may also hold, is not read: then the client's own delay holds."""
    text = response.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() else None
