"""Reports of crashes: one for each actor that ends abnormally, told when it is known what becomes of it.

At the crash only references are kept. They become text when a sink reads the report, without secrets and of bounded size.
"""

from __future__ import annotations

import datetime as dt
import logging
import traceback
from collections.abc import Callable, Iterator
from typing import Any, Final

from msgspec import Struct

from noetl.actors.actor import Down, Exit
from noetl.actors.observer import attributes
from noetl.actors.redaction import Redactor
from noetl.probe import ActorCrashed, ActorExited, ChildRestarting, ExitHandled, Happening, Probe, SupervisorGaveUp

_logger: Final = logging.getLogger("noetl.actors")
_TRACE_CHARS: Final = 8_000
_CHAIN: Final = 10


class CrashReport(Struct, frozen=True):
    """What people are told. All texts are redacted."""

    at: dt.datetime
    path: str
    incarnation: int
    kind: str
    """Name of the actor's class."""
    reason: str
    chain: tuple[str, ...]
    """What led to the reason, from the nearest on: the actor whose exit came through a link, the reasons for which supervisors below gave up."""
    message_kind: str | None
    """What it was handling; None: it was starting or ending, or nothing is known."""
    message: str | None
    state: dict[str, str]
    """The actor's attributes."""
    outcome: str
    """What its supervisor did."""
    traceback: str

    def __str__(self) -> str:
        lines = [f"{self.path} (incarnation {self.incarnation}, {self.kind}) crashed: {self.reason}", f"  then: {self.outcome}"]
        lines += [f"  because of: {cause}" for cause in self.chain]
        if self.message_kind is not None:
            lines.append(f"  handling {self.message_kind}: {self.message}")
        lines += [f"  state {name} = {text}" for name, text in self.state.items()]
        return "\n".join([*lines, *(f"  {line}" for line in self.traceback.splitlines())])


class Crash:
    """A report that is not written yet. Keeps what crashed alive as long as it is there."""

    __slots__ = ("_at", "_crashed", "_outcome", "_redactor")

    def __init__(self, crashed: ActorCrashed, outcome: str, at: dt.datetime, redactor: Redactor) -> None:
        self._crashed = crashed
        self._outcome = outcome
        self._at = at
        self._redactor = redactor

    def __str__(self) -> str:
        return str(self.report())

    def report(self) -> CrashReport:
        crashed, redactor = self._crashed, self._redactor
        message, reason = crashed.message, crashed.reason
        return CrashReport(
            at=self._at,
            path=crashed.path,
            incarnation=crashed.incarnation,
            kind=type(crashed.actor).__name__,
            reason=redactor.text(_words(reason)),
            chain=tuple(redactor.text(cause) for cause in _causes(message, reason)),
            message_kind=None if message is None else type(message).__name__,
            message=None if message is None else redactor.repr(message),
            state=redactor.fields(attributes(crashed.actor)),
            outcome=redactor.text(self._outcome),
            traceback=redactor.text("".join(traceback.format_exception(reason)), _TRACE_CHARS) if isinstance(reason, BaseException) else "",
        )


class CrashLog:
    """Listens to a probe and hands each crash to `sink`, once. Without a sink it is one record in the log `noetl.actors`."""

    def __init__(
        self,
        probe: Probe,
        scrub: Callable[[str], str] = str,
        sink: Callable[[Crash], object] | None = None,
        now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
    ) -> None:
        self._redactor = Redactor(scrub)
        self._sink = sink or _log
        self._now = now
        self._open: dict[str, tuple[ActorCrashed, dt.datetime]] = {}
        """Crashes whose outcome is not known yet, by path."""
        self._probe = probe
        self._unsubscribe = probe.subscribe(self._crashed, ActorCrashed)
        self._follow: Callable[[], None] | None = None
        """Ends the listening to what becomes of crashes; None while there is none to follow."""

    def close(self) -> None:
        """Listen no longer. Of what was decided nothing is known then."""
        self._unsubscribe()
        self._follow_no_more()
        for path in tuple(self._open):
            self._decided(path, "nothing any more: the runtime was stopped")

    def _crashed(self, happening: Happening) -> None:
        assert isinstance(happening, ActorCrashed)
        path = happening.path
        self._open[path] = happening, self._now()
        if happening.parent is None:
            self._decided(path, "nothing: it has no supervisor")
        elif happening.is_late:
            self._decided(path, f"nothing: {happening.parent} was ending")
        elif self._follow is None:
            self._follow = self._probe.subscribe(self._hear, ActorExited, ChildRestarting, SupervisorGaveUp, ExitHandled)

    def _hear(self, happening: Happening) -> None:
        match happening:
            case ActorExited(path=path):
                for child in [child for child, (crashed, _) in self._open.items() if crashed.parent == path]:
                    self._decided(child, f"{path} ends, too")
            case ChildRestarting(supervisor, child, _, delay_s):
                when = f"again in {delay_s:.2f} s" if delay_s > 0 else "again at once"
                self._decided(f"{supervisor}/{child}", f"{supervisor} starts it {when}")
            case SupervisorGaveUp(supervisor, child):
                self._decided(f"{supervisor}/{child}", f"{supervisor} gives up and ends: too many failures, or one at the first start")
            case ExitHandled(path, child):
                self._decided(child, f"{path} was told and does not start it again")
            case _:
                pass

    def _follow_no_more(self) -> None:
        if self._follow is not None:
            self._follow()
            self._follow = None

    def _decided(self, path: str, outcome: str) -> None:
        crashed = self._open.pop(path, None)
        if not self._open:
            self._follow_no_more()
        if crashed is not None:
            self._sink(Crash(crashed[0], outcome, crashed[1], self._redactor))


def _log(crash: Crash) -> None:
    _logger.error("%s", crash, extra={"crash": crash})


def _words(reason: Any) -> str:
    if not isinstance(reason, BaseException):
        return repr(reason)
    try:
        return f"{type(reason).__name__}: {reason}"
    except Exception as error:  # noqa: BLE001  whatever an author's __str__ does
        return f"{type(reason).__name__}, whose text raises {type(error).__name__}"


def _causes(message: Any, reason: Any) -> Iterator[str]:
    if isinstance(message, Exit | Down):
        yield f"the exit of {message.ref.path}: {_words(message.reason)}"
    for _ in range(_CHAIN):
        child, reason = getattr(reason, "child", None), getattr(reason, "reason", None)
        if child is None or reason is None:
            return
        yield f"the failure of '{child}': {_words(reason)}"
