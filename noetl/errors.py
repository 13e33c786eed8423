"""Every error NoETL raises, told apart by who acts next.

    NoetlError
    ├── PlaybookError   the author fixes the YAML; never retried; carries file, line, column, path
    │   ├── Invalid
    │   ├── UnknownTool
    │   └── TemplateError
    ├── ToolError       the outside world said no; carries kind, retryable, retry_after_s
    │   ├── ToolTimeout
    │   └── ToolRefused
    ├── CallError       a message did not get through; the caller chooses
    │   ├── ActorDead
    │   ├── MailboxFull
    │   ├── AskTimeout
    │   ├── AskCycle
    │   ├── NotReachable
    │   ├── ServerFailed
    │   └── BadRequest
    ├── StoreError      reload and decide again, wait, or stop
    │   ├── StaleVersion
    │   ├── Fenced
    │   ├── LogUnavailable
    │   ├── LogCorrupt
    │   ├── StoreTooNew
    │   ├── NotFound
    │   ├── CredentialUnreadable
    │   └── Owned
    ├── AccessError     the caller may not; never carries a secret
    │   ├── NotAuthenticated
    │   └── NotAllowed
    └── SettingsError   the operator fixes config/, nodes/ or the environment; raised at boot only

Fields, not texts, carry what code needs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class NoetlError(Exception):
    """The root: `except NoetlError` catches what this library raises on purpose."""


class PlaybookError(NoetlError):
    """The author must change the playbook.

    `line` and `column` count from 1; `path` is like `workflow[2].tool.kind`.
    """

    def __init__(self, message: str, *, file: str | None = None, line: int | None = None, column: int | None = None, path: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.file = file
        self.line = line
        self.column = column
        self.path = path


class Flaw(Protocol):
    """One thing that the author should change: a `Problem` of the check, or the `ProblemView` that a server has sent."""

    @property
    def message(self) -> str: ...
    @property
    def line(self) -> int: ...
    @property
    def column(self) -> int: ...
    @property
    def path(self) -> str: ...
    @property
    def key(self) -> str | None: ...
    @property
    def hint(self) -> str | None: ...
    @property
    def file(self) -> str | None: ...


class Invalid(PlaybookError):
    """The playbook has errors: all of them are in `problems`."""

    def __init__(self, file: str, problems: Sequence[Flaw], warnings: Sequence[Flaw]) -> None:
        first = problems[0]
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(
            f"{file}:{first.line}:{first.column}: {first.message}{more}", file=file, line=first.line, column=first.column, path=first.path
        )
        self.problems = tuple(problems)
        self.warnings = tuple(warnings)


class UnknownTool(PlaybookError):
    """No tool of this kind exists."""


class TemplateError(PlaybookError):
    """A template does not parse or could not be rendered. When it was rendered, `path` is the place inside of what was rendered."""

    def within(self, place: str) -> None:
        """Say where what was rendered stands."""
        below = self.path or ""
        self.path = f"{place}.{below}" if below and not below.startswith("[") else place + below


class ToolError(NoetlError):
    """A tool's call failed. Becomes the `error` of the attempt's outcome.

    `kind` is one of the error kinds of docs/reference/language.md; `extra` holds further fields of the error (`code`, `status`, …);
    `result` is the answer when the outside world gave one (an HTTP 404 has a body).
    """

    def __init__(
        self,
        message: str,
        *,
        kind: str,
        retryable: bool = False,
        retry_after_s: float | None = None,
        result: Any = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.kind = kind
        self.retryable = retryable
        self.retry_after_s = retry_after_s
        self.result = result
        self.extra = dict(extra or {})


class ToolTimeout(ToolError):
    """The call took longer than it was given. Retryable."""

    def __init__(self, message: str, *, extra: Mapping[str, Any] | None = None) -> None:
        super().__init__(message, kind="timeout", retryable=True, extra=extra)


class ToolRefused(ToolError):
    """The call can't be made as written: a missing driver, a wrong field, a kind without a backend. Never retried."""

    def __init__(self, message: str, *, kind: str = "config", extra: Mapping[str, Any] | None = None) -> None:
        super().__init__(message, kind=kind, retryable=False, extra=extra)


class CallError(NoetlError):
    """A message to an actor did not get through."""


class ActorDead(CallError):
    """The actor is not running: it stopped, or it is between two incarnations."""


class MailboxFull(CallError):
    """The mailbox is at its bound and its policy is to reject."""


class AskTimeout(CallError):
    """No reply within the deadline. A reply that comes later is dropped."""


class AskCycle(CallError):
    """Actors wait for each other in a circle; `cycle` names them, the asker first and last."""

    def __init__(self, cycle: tuple[str, ...]) -> None:
        super().__init__("these actors ask each other in a circle: " + " -> ".join(cycle))
        self.cycle = cycle


class NotReachable(CallError):
    """No answer came from the server at `url`. `sent`: the request had gone out, so it may have been carried out all the same."""

    def __init__(self, message: str, *, url: str, sent: bool) -> None:
        super().__init__(message)
        self.url = url
        self.sent = sent


class ServerFailed(CallError):
    """The server could not do it, or not now (429, 5xx), or what answered is none of ours. `retry_after_s`: when it asks to be asked again."""

    def __init__(self, message: str, *, status: int, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s


class BadRequest(CallError):
    """What was asked can't be: the message says which field and what it must be. Asked again it would be the same."""


class StoreError(NoetlError):
    """The store refused, or could not be reached."""


class StaleVersion(StoreError):
    """Somebody else appended first: this writer's state is old."""


class Fenced(StoreError):
    """The shard has a newer epoch: this writer is no longer its owner."""


class LogUnavailable(StoreError):
    """The store can't be written or read now (disk full, no permission, locked, connection lost)."""


class StoreAway(LogUnavailable):
    """The server of the store can't be reached, or a connection to it was lost: what can wait does."""


class LogCorrupt(StoreError):
    """Stored bytes do not match their hash, or can't be decoded."""


class StoreTooNew(StoreError):
    """The store was written by a newer version of NoETL."""


class NotFound(StoreError):
    """No such execution, playbook or artifact in this store."""


class CredentialUnreadable(StoreError):
    """A sealed credential can't be opened: its master key is not here, or its row was changed."""


class Owned(StoreError):
    """A live process owns the execution; `owner` says which."""

    def __init__(self, message: str, *, owner: str) -> None:
        super().__init__(message)
        self.owner = owner


class AccessError(NoetlError):
    """The caller may not do this."""


class NotAuthenticated(AccessError):
    """Who is calling is not known."""


class NotAllowed(AccessError):
    """The caller is known and has no right to this."""


class SettingsError(NoetlError):
    """The operator must change a setting. Raised at boot only."""
