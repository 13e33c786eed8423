"""Errors as RFC 9457 problem details."""

from __future__ import annotations

import http
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from aiohttp import web
from msgspec import Struct

from noetl.engine.client import ProblemView
from noetl.engine.service import Conflict, OutOfDomain
from noetl.engine.views import problem_view
from noetl.errors import (
    BadRequest,
    CallError,
    Invalid,
    LogCorrupt,
    LogUnavailable,
    NoetlError,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    Owned,
    PlaybookError,
    StoreError,
    TemplateError,
)

MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER_S: Final = 1


class ProblemDetails(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What went wrong (RFC 9457). `errors` are those of a playbook, with their places; `warnings` likewise."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str = ""
    errors: tuple[ProblemView, ...] = ()
    warnings: tuple[ProblemView, ...] = ()


class Refusal(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers


_STATUS: Final[tuple[tuple[type[Exception], int], ...]] = (
    (NotAuthenticated, 401),
    (Conflict, 409),
    (OutOfDomain, 403),
    (NotAllowed, 409),
    (BadRequest, 400),
    (Invalid, 422),
    (TemplateError, 422),
    (PlaybookError, 422),
    (NotFound, 404),
    (Owned, 409),
    (LogCorrupt, 409),
    (LogUnavailable, 503),
    (StoreError, 503),
    (CallError, 503),
)
"""The first that fits."""


def answer_to(error: Exception) -> web.Response:
    """The answer to a request that failed. Raises an error that is none of a request: a bug."""
    if isinstance(error, Refusal):
        return problem(error.status, error.detail, headers=error.headers)
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), None)
    if status is None:
        raise error
    headers = {"Retry-After": str(RETRY_AFTER_S)} if status == 503 else {"WWW-Authenticate": "Bearer"} if status == 401 else None
    if isinstance(error, Invalid):
        return problem(status, str(error), errors=error.problems, warnings=error.warnings, headers=headers)
    return problem(status, str(error) if isinstance(error, NoetlError) else "", headers=headers)


def problem(status: int, detail: str, *, errors: Any = (), warnings: Any = (), headers: Mapping[str, str] | None = None) -> web.Response:
    body = ProblemDetails(
        title=http.HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        errors=tuple(map(problem_view, errors)),
        warnings=tuple(map(problem_view, warnings)),
    )
    return web.Response(status=status, body=msgspec.json.encode(body), content_type=MEDIA_TYPE, headers=headers)
