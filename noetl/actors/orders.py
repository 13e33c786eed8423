"""System messages that actors never see: their cells act on them, before all messages."""

from __future__ import annotations

from typing import Any

from noetl.actors.actor import Exit, Reason
from noetl.actors.ref import Ref
from noetl.actors.sleep import Sleep


class Shutdown:
    """The parent wants it to end."""

    __slots__ = ("reason",)

    def __init__(self, reason: Reason) -> None:
        self.reason = reason


class Crash:
    """A test wants it to fail as if the handler had."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


class SentExit(Exit):
    """An exit that somebody sent (`Ref.exit`), not one that came through a link."""

    __slots__ = ("is_own",)

    def __init__(self, target: Ref[Any], sender: Ref[Any] | None, reason: Reason) -> None:
        super().__init__(sender or target, reason)
        self.is_own = sender is target


Order = Shutdown | Crash | Sleep
