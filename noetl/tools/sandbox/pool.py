"""The processes that run the author's code on this node, shared by all calls."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import Any, Final

from noetl.errors import ToolError
from noetl.machine import cores
from noetl.tools.sandbox.frames import bound
from noetl.tools.sandbox.keeper import Keeper
from noetl.tools.sandbox.messages import Done, Failed, Job, encode_job
from noetl.tools.sandbox.output import Log, Output, Scrub
from noetl.tools.sandbox.sizes import show_bytes
from noetl.tools.sandbox.worker import End, NotBegun, Worker
from noetl.tools.tool import Resources
from noetl.values import decode

_GRACE_S: Final = 0.5
"""What the code's own cleanup may take when its call is cancelled."""
_PATIENCE_S: Final = 5.0
"""What the nursery may take, beyond the grace, to say that a worker is gone."""
_WATCH_AFTER_S: Final = 0.05
"""Calls that are shorter are not worth a look at their memory."""
_TRIES: Final = 5
"""Workers that may die before they begin, one after the other."""


async def open_sandbox(resources: Resources) -> Sandbox:
    """For `ctx.resources.get("python", open_sandbox)`."""
    sandbox = Sandbox(resources)
    sandbox.start()
    return sandbox


class Sandbox:
    """Calls wait in line for one of at most `settings.python.processes` workers. One more than is in use is kept ready, as far as that allows."""

    def __init__(self, resources: Resources) -> None:
        settings = resources.settings
        self._resources = resources
        self._max_frame_bytes = bound(settings.values.result_max_bytes)
        self._limits = settings.python
        self._max = settings.python.processes or cores()
        self._slots = asyncio.Semaphore(self._max)
        self._directory = Path(tempfile.mkdtemp(prefix="noetl-python-"))
        self._keeper = Keeper(self._directory, self._max_frame_bytes, self._welcome, self._miss)
        self._coming: set[Worker] = set()
        self._idle: list[Worker] = []
        self._busy: set[Worker] = set()
        self._waiting: collections.deque[asyncio.Future[Worker]] = collections.deque()
        self._closed = False

    def start(self) -> None:
        """Have a worker made ready; does not wait for it. A node does this while it loads other things."""
        self._refill()

    async def call(self, job: Job, *, log: Log, scrub: Scrub | None = None, memory_bytes: int | None = None) -> Any:
        """Run a job in a worker and return its result: plain data, or a handle when it is large.

        When this is cancelled, the code is stopped, and all of it is gone before the cancellation goes through.

        Raises:
            ToolError: kinds `python`, `limit`, `not_found`: by the code. `worker_lost`: its process was, through no fault of the code.
        """
        request = encode_job(job)
        if len(request) > self._max_frame_bytes:
            raise ToolError(f"the arguments have {show_bytes(len(request))}, more than values.result_max_bytes allows", kind="limit")
        output = Output(log, self._limits.log_max_bytes, scrub)
        async with self._slots:
            answer = await self._run(request, output, memory_bytes or self._limits.memory_bytes)
        for warning in answer.warnings:
            log("warning", warning)
        if answer.left is not None:
            log("warning", f"the code left {answer.left} behind; its process was replaced")
        if isinstance(answer, Failed):
            raise _as_error(answer)
        return decode(answer.value)

    async def close(self) -> None:
        self._closed = True
        while self._waiting:
            self._refuse("the node is closing")
        await self._keeper.close()
        await self._resources.run_blocking(lambda: shutil.rmtree(self._directory, ignore_errors=True))  # a nursery that was lost has not done it

    async def _run(self, request: bytes, output: Output, limit_bytes: int) -> Done | Failed:
        """In a worker that may have died while it was idle: then in another."""
        for _ in range(_TRIES):
            worker = await self._take()
            try:
                return await self._run_in(worker, request, output, limit_bytes)
            except NotBegun:
                continue
        raise _lost(f"{_TRIES} ended before they began, the last one with code {worker.gone.result().code}; the log may say why")

    async def _run_in(self, worker: Worker, request: bytes, output: Output, limit_bytes: int) -> Done | Failed:
        watch = asyncio.get_running_loop().call_later(_WATCH_AFTER_S, self._keeper.watch, worker, limit_bytes)
        try:
            answer = await worker.ask(request, output)
            if answer is None:
                raise worker.why(await self._end(worker, _GRACE_S), limit_bytes)
            if answer.left is not None:
                await self._end(worker, 0)
        except (NotBegun, asyncio.CancelledError):
            await self._end(worker, _GRACE_S)
            raise
        finally:
            if worker.is_watched:
                self._keeper.watch(worker, 0)
            watch.cancel()
            self._give_back(worker)
        return answer

    async def _take(self) -> Worker:
        """A free worker, for a call that has its turn."""
        if self._closed:
            raise _lost("the node is closing")
        worker = self._pop_idle() or await self._next_offer()
        self._busy.add(worker)
        worker.leaving = worker.calls + 1 >= self._limits.calls_per_process
        self._refill()
        return worker

    def _pop_idle(self) -> Worker | None:
        while self._idle:
            worker = self._idle.pop()
            if worker.is_open:
                return worker
        return None

    async def _next_offer(self) -> Worker:
        turn: asyncio.Future[Worker] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._refill()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                with contextlib.suppress(ValueError):  # passed over already
                    self._waiting.remove(turn)
            elif turn.exception() is None:  # offered in the moment in which we were cancelled
                self._give_back(turn.result())  # which may have died since
            raise

    def _offer(self, worker: Worker) -> None:
        turn = self._next_waiting()
        if turn is None:
            self._idle.append(worker)
        else:
            self._busy.add(worker)
            turn.set_result(worker)

    def _next_waiting(self) -> asyncio.Future[Worker] | None:
        """Who has waited longest. One that was cancelled in this moment, and does not know it yet, waits no more."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                return turn
        return None

    def _give_back(self, worker: Worker) -> None:
        worker.drain()
        self._busy.discard(worker)
        if worker.gone.done() or worker.leaving:
            worker.close()  # one that lives on reads the end of its socket and exits
        else:
            self._offer(worker)

    async def _end(self, worker: Worker, grace_s: float) -> End:
        """Kill a worker and wait until nothing of it is left, also when we are cancelled (again) meanwhile."""
        worker.leaving = True
        self._keeper.kill(worker, grace_s)
        self._refill()
        give_up = asyncio.get_running_loop().call_later(grace_s + _PATIENCE_S, self._keeper.give_up)
        cancelled = False
        while not worker.gone.done():
            try:
                await asyncio.wait([worker.gone])
            except asyncio.CancelledError:
                cancelled = True
        give_up.cancel()
        if cancelled:
            raise asyncio.CancelledError
        return worker.gone.result()

    def _refill(self) -> None:
        """Ask for the workers that the calls under way will not give back, and for one more."""
        if self._closed:
            return
        staying = sum(not worker.leaving for worker in self._busy)
        wanted = min(self._max, len(self._busy) + len(self._waiting) + 1)
        for _ in range(wanted - len(self._idle) - len(self._coming) - staying):
            try:
                self._coming.add(self._keeper.fork())
            except OSError as error:  # nobody waits: the next call will try again, and say so
                self._refuse(f"no process could be started: {error}")
                return

    def _welcome(self, worker: Worker) -> None:
        self._coming.discard(worker)
        self._offer(worker)

    def _miss(self, worker: Worker) -> None:
        """A worker has ended. If a call has it, that call sees to it."""
        if worker in self._busy:
            return
        worker.close()
        if worker in self._idle:
            self._idle.remove(worker)
            if worker.calls:  # one that ends before it was ever used would do so for ever
                self._refill()
        elif worker in self._coming:
            self._coming.discard(worker)
            self._refuse(worker.gone.result().reason)

    def _refuse(self, reason: str) -> None:
        """Tell the first who waits that there is no worker to be had. Not asked for again here: what failed now would fail for ever."""
        turn = self._next_waiting()
        if turn is not None:
            turn.set_exception(_lost(reason))


def _lost(reason: str) -> ToolError:
    return ToolError(f"there is no process to run the code: {reason}", kind="worker_lost", retryable=True)


def _as_error(answer: Failed) -> ToolError:
    facts = {"exception_type": answer.exception_type, "traceback": answer.traceback, "line": answer.line}
    known = {key: value for key, value in facts.items() if value is not None}
    return ToolError(answer.message, kind=answer.kind, extra=known)
