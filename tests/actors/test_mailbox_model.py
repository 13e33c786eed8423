"""A mailbox against a list: what is kept, what is dropped, what is refused, in which order, under each policy."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from noetl.actors.actor import AsyncActor, Context, Overflow
from noetl.actors.cell import Cell
from noetl.errors import MailboxFull
from tests.machine import STEPS, WorldMachine

CAPACITY = 3


class Gated(AsyncActor[Any]):
    """Handles one message for each time that the gate is opened."""

    capacity: ClassVar[int] = CAPACITY

    def __init__(self, gate: asyncio.Semaphore, seen: list[str]) -> None:
        self.gate = gate
        self.seen = seen

    async def handle(self, message: str, ctx: Context[str]) -> None:
        await self.gate.acquire()
        self.seen.append(message)


class Dropping(Gated):
    overflow: ClassVar[Overflow] = "drop_oldest"


class MailboxModel(WorldMachine):
    """The model is `hand`, the message that is being handled, and `waiting`, those behind it. Names of reports start with `r`."""

    @initialize(overflow=st.sampled_from(["reject", "drop_oldest"]))
    def start(self, overflow: str) -> None:
        self.overflow = overflow
        self.gate, self.seen = asyncio.Semaphore(0), list[str]()
        self.ref = self.wait(self.world.start(lambda: (Gated if overflow == "reject" else Dropping)(self.gate, self.seen)))
        self.hand: str | None = None
        self.waiting: list[str] = []
        self.expected: list[str] = []
        self.count = 0

    def name(self, kind: str) -> str:
        self.count += 1
        return f"{kind}{self.count}"

    def go_on(self) -> None:
        if self.hand is None and self.waiting:
            self.hand = self.waiting.pop(0)
        self.settle()

    @rule(count=st.integers(1, 6))
    def tell(self, count: int) -> None:
        for _ in range(count):
            message, is_refused = self.name("t"), False
            try:
                self.ref.tell(message)
            except MailboxFull:
                is_refused = True
            assert is_refused == (len(self.waiting) >= CAPACITY and self.overflow == "reject")
            if len(self.waiting) >= CAPACITY and self.overflow == "drop_oldest":
                oldest = next((waiting for waiting in self.waiting if waiting.startswith("t")), None)
                if oldest is None:
                    continue
                self.waiting.remove(oldest)
            if not is_refused:
                self.waiting.append(message)
        self.go_on()

    @rule(count=st.integers(1, 3))
    def report(self, count: int) -> None:
        for _ in range(count):
            self.waiting.append(self.name("r"))
            self.ref.report(self.waiting[-1])
        self.go_on()

    @rule(count=st.integers(1, 4))
    def handle(self, count: int) -> None:
        for _ in range(count):
            if self.hand is not None:
                self.expected.append(self.hand)
                self.hand = None
                self.gate.release()
            self.go_on()

    @invariant()
    def the_same_was_handled_and_the_same_waits(self) -> None:
        if not hasattr(self, "ref"):
            return
        assert self.seen == self.expected
        assert isinstance(self.ref, Cell)
        assert len(self.ref.messages or ()) == len(self.waiting)


class SenderModel(WorldMachine):
    """Senders that wait for room: nothing is lost or doubled, each one's messages keep their order, and the bound holds."""

    @initialize()
    def start(self) -> None:
        self.gate, self.seen = asyncio.Semaphore(0), list[str]()
        self.ref = self.wait(self.world.start(lambda: Gated(self.gate, self.seen)))
        self.sent: dict[int, list[str]] = {}
        self.tasks: dict[int, asyncio.Task[None]] = {}

    async def _send(self, sender: int, count: int) -> None:
        for number in range(count):
            message = f"{sender}.{number}"
            await self.ref.send(message)
            self.sent[sender].append(message)

    @rule(count=st.integers(1, 6))
    def begin(self, count: int) -> None:
        sender = len(self.sent)
        self.sent[sender] = []
        self.tasks[sender] = self.loop.create_task(self._send(sender, count))
        self.settle()

    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        if self.tasks:
            self.tasks.pop(data.draw(st.sampled_from(sorted(self.tasks)))).cancel()
            self.settle()

    @rule(count=st.integers(1, 5), gives_up=st.booleans())
    def handle(self, count: int, gives_up: bool) -> None:
        for _ in range(count):
            self.gate.release()
        if gives_up and self.tasks:  # in the moment in which it may be let in
            self.loop.call_soon(self.tasks.pop(min(self.tasks)).cancel)
        self.settle()

    @invariant()
    def the_bound_holds(self) -> None:
        if hasattr(self, "ref"):
            assert isinstance(self.ref, Cell)
            assert len(self.ref.messages or ()) <= CAPACITY

    def teardown(self) -> None:
        if hasattr(self, "ref"):
            for _ in range(200):
                self.gate.release()
            for _ in range(5):
                self.settle()
            assert all(task.done() for task in self.tasks.values()), "nobody waits for ever"
            for sender, messages in self.sent.items():
                assert [seen for seen in self.seen if seen.startswith(f"{sender}.")] == messages
        super().teardown()


MailboxModel.TestCase.settings = SenderModel.TestCase.settings = STEPS
TestMailbox = MailboxModel.TestCase
TestSenders = SenderModel.TestCase
