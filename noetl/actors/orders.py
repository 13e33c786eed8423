"""System messages that actors never see: their cells act on them, before all messages."""

from __future__ import annotations

from typing import Any

from noetl.actors.actor import Exit, Reason
from noetl.actors.ref import Ref


class Order:
    """Any of them."""

    __slots__ = ()


class Shutdown(Order):
    """The parent wants it to end."""

    __slots__ = ("reason",)

    def __init__(self, reason: Reason) -> None:
        self.reason = reason


class Crash(Order):
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


class Sleep(Order):
    """Passivate when idle. `wakes_at_once`: also when not idle, to go on with the code that its start gives now."""

    __slots__ = ("wakes_at_once",)

    def __init__(self, *, wakes_at_once: bool = False) -> None:
        self.wakes_at_once = wakes_at_once
