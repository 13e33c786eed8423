"""Ctrl-C and SIGTERM while a run goes on."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Final, NoReturn

from noetl.cli.problems import say

_KILLED: Final = 128
"""Plus the signal's number: the exit status of a process that a signal has ended."""


class Interrupts:
    """The first Ctrl-C asks for the cancellation of the run, the second ends this process at once. SIGTERM does that too, so that another process can
    take the run up.

    `leave` is called before the end: for what the operating system does not tidy up. The processes of the author's code end with this one.
    """

    def __init__(self, leave: Callable[[], None]) -> None:
        self._leave = leave
        self._wanted = asyncio.Event()

    def __enter__(self) -> Interrupts:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, self._interrupted)
        loop.add_signal_handler(signal.SIGTERM, self._end, signal.SIGTERM)
        return self

    def __exit__(self, *_: object) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_signal_handler(signal.SIGINT)
        loop.remove_signal_handler(signal.SIGTERM)
        # It is over. When it was cancelled, a Ctrl-C that comes late must not hide how it ended.
        signal.signal(signal.SIGINT, signal.SIG_IGN if self.cancel else signal.SIG_DFL)

    @property
    def cancel(self) -> bool:
        """Whether the user wants the run cancelled."""
        return self._wanted.is_set()

    async def wait(self) -> None:
        """Until the user wants the run cancelled."""
        await self._wanted.wait()

    def _interrupted(self) -> None:
        if self._wanted.is_set():
            self._end(signal.SIGINT)
        say("cancelling (Ctrl-C again kills)")
        self._wanted.set()

    def _end(self, number: signal.Signals) -> NoReturn:
        self._leave()
        os._exit(_KILLED + number)
