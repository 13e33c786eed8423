"""What is told of a crash: once, with everything that explains it and nothing that is secret."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from typing import Any, ClassVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noetl.actors.actor import Actor, AsyncActor, Context, Exit, Signal
from noetl.actors.crash import Crash, CrashLog, CrashReport
from noetl.actors.redaction import MASK, Redactor
from noetl.actors.ref import Ref
from noetl.supervisors.factory import Factory, StartChild
from noetl.supervisors.spec import Backoff, ChildSpec, SupervisorSpec
from noetl.testing.world import World

SECRET = "hunter22"


class Order(msgspec.Struct):
    id: int
    password: str = "p"


class Failing(Actor[Any]):
    def __init__(self) -> None:
        self.seen = [1, 2]
        self.api_key = "k-123"
        self.note = f"it is {SECRET}"

    def handle(self, message: Any, ctx: Context[Any]) -> None:
        if isinstance(message, Ref):
            ctx.link(message)
        elif isinstance(message, Exception):
            raise message
        else:
            raise ValueError(f"no {SECRET} for {message!r}")  # noqa: TRY004


class FailingLater(AsyncActor[Any]):
    async def handle(self, message: Any, ctx: Context[Any]) -> None:
        raise ValueError("later")


class Parent(Actor[Any]):
    """Starts a child, and does not care for its end."""

    trap_exit: ClassVar[bool] = True

    def init(self, ctx: Context[Any]) -> None:
        self.child = ctx.spawn(Failing, "child")

    def signal(self, signal: Signal, ctx: Context[Any]) -> None:
        assert isinstance(signal, Exit)


class Careless(Parent):
    trap_exit: ClassVar[bool] = False


def scrub(text: str) -> str:
    return text.replace(SECRET, MASK)


class Told:
    """The reports of a world."""

    def __init__(self, world: World) -> None:
        self.crashes: list[Crash] = []
        self.log = CrashLog(world.runtime.probe, scrub, self.crashes.append, world.clock.now)

    @property
    def reports(self) -> list[CrashReport]:
        return [crash.report() for crash in self.crashes]

    @property
    def outcomes(self) -> dict[str, str]:
        return {report.path: report.outcome for report in self.reports}


@pytest.fixture
def told(world: World) -> Told:
    return Told(world)


def child_of(world: World, *path: str) -> Any:
    """The ref of an actor below the first root."""
    cell: Any = world.runtime.roots[0]
    for id_ in path:
        cell = next(child for child in cell.child_records() if str(child.id) == id_)
    return cell


async def test_a_report_says_who_with_what_why_and_what_follows_without_secrets(world: World, told: Told) -> None:
    await world.supervise(ChildSpec(id="a", start=Failing))
    child_of(world, "a").tell(Order(7))
    await world.settle()
    (report,) = told.reports
    assert (report.path, report.incarnation, report.kind) == ("top/a", 1, "Failing")
    assert report.reason == "ValueError: no *** for Order(id=7, password='p')"
    assert (report.message_kind, report.message) == ("Order", f"Order(id=7, password={MASK})")
    assert report.state == {"seen": "[1, 2]", "api_key": MASK, "note": f"'it is {MASK}'"}
    assert report.outcome == "top starts it again at once"
    assert report.traceback.startswith("Traceback (most recent call last):")
    assert "in handle" in report.traceback
    assert report.at == world.clock.now()
    assert SECRET not in str(report)


Setting = Callable[[World], Any]


async def under_backoff(world: World) -> Any:
    await world.supervise(ChildSpec(id="a", start=Failing, backoff=Backoff(initial_s=2.0, max_s=2.0, jitter=0.0)))
    return child_of(world, "a")


async def temporary(world: World) -> Any:
    await world.supervise(ChildSpec(id="a", start=Failing, restart="temporary"))
    return child_of(world, "a")


async def too_often(world: World) -> Any:
    await world.supervise(ChildSpec(id="a", start=Failing), intensity=0)
    return child_of(world, "a")


async def in_a_factory(world: World) -> Any:
    factory = await world.start(Factory, "top")
    factory.tell(StartChild("a", Failing))
    await world.settle()
    return child_of(world, "a")


async def alone(world: World) -> Any:
    return await world.start(Failing, "a")


async def under_one_who_does_not_care(world: World) -> Any:
    await world.start(Parent, "top")
    return child_of(world, "child")


async def under_one_who_ends_with_it(world: World) -> Any:
    await world.start(Careless, "top")
    return child_of(world, "child")


@pytest.mark.parametrize(
    ("setting", "outcome"),
    [
        (under_backoff, "top starts it again in 2.00 s"),
        (temporary, "top was told and does not start it again"),
        (too_often, "top gives up and ends: too many failures, or one at the first start"),
        (in_a_factory, "top was told and does not start it again"),
        (alone, "nothing: it has no supervisor"),
        (under_one_who_does_not_care, "top was told and does not start it again"),
        (under_one_who_ends_with_it, "top ends, too"),
    ],
)
async def test_what_the_supervisor_did_is_in_the_report(world: World, told: Told, setting: Any, outcome: str) -> None:
    failing = await setting(world)
    path = failing.path
    failing.tell(1)
    await world.settle()
    assert told.outcomes[path] == outcome
    assert [report.path for report in told.reports].count(path) == 1


async def test_a_crash_while_the_parent_ends_and_one_at_the_end_of_all_are_told(world: World, told: Told) -> None:
    class AtTheEnd(Failing):
        def terminate(self, reason: Any, ctx: Context[Any]) -> None:
            raise OSError("disk gone")

    class Holding(Failing):
        trap_exit: ClassVar[bool] = True

    top = await world.supervise(ChildSpec(id="a", start=Holding), ChildSpec(id="b", start=AtTheEnd))
    child_of(world, "a").tell(1)
    top.shutdown()  # type: ignore[attr-defined]
    await world.settle()
    assert set(told.outcomes.values()) <= {"top was told and does not start it again", "nothing: top was ending", "top ends, too"}
    assert {report.path for report in told.reports} >= {"top/a"}
    told.log.close()


async def test_a_failing_restart_is_a_crash_of_its_own(world: World, told: Told) -> None:
    class Worn(Failing):
        starts = 0

        def init(self, ctx: Context[Any]) -> None:
            Worn.starts += 1
            if Worn.starts == 2:
                raise OSError("not yet")

    await world.supervise(ChildSpec(id="a", start=Worn))
    child_of(world, "a").tell(1)
    await world.settle()
    assert [(report.incarnation, report.reason.partition(":")[0], report.outcome) for report in told.reports] == [
        (1, "ValueError", "top starts it again at once"),
        (2, "OSError", "top starts it again at once"),
    ]


async def test_an_actor_with_coroutines_is_told_of_as_well(world: World, told: Told) -> None:
    await world.supervise(ChildSpec(id="a", start=FailingLater))
    child_of(world, "a").tell("x")
    await world.settle()
    (report,) = told.reports
    assert (report.kind, report.message, report.outcome) == ("FailingLater", "'x'", "top starts it again at once")


async def test_the_chain_leads_through_links_and_supervisors(world: World, told: Told) -> None:
    await world.supervise(
        SupervisorSpec(id="inner", children=(ChildSpec(id="a", start=Failing),), intensity=0),
        ChildSpec(id="b", start=Failing),
        intensity=9,
    )
    a, b = child_of(world, "inner", "a"), child_of(world, "b")
    b.tell(a)
    await world.settle()
    a.tell(KeyError("lost"))
    await world.settle()
    chains = {report.path: report.chain for report in told.reports}
    assert chains["top/inner/a"] == ()
    assert chains["top/b"] == ("the exit of top/inner/a: KeyError: 'lost'",)
    assert chains["top/inner"] == ("the exit of top/inner/a: KeyError: 'lost'", "the failure of 'a': KeyError: 'lost'")


async def test_nothing_is_made_into_text_before_somebody_reads_it(world: World) -> None:
    class Loud(Exception):
        read = 0

        def __str__(self) -> str:
            Loud.read += 1
            return "loud"

    told = Told(world)
    await world.supervise(ChildSpec(id="a", start=Failing))
    child_of(world, "a").tell(Loud())
    await world.settle()
    assert Loud.read == 0
    assert told.reports[0].reason == "Loud: loud"
    assert Loud.read > 0


async def test_a_crash_is_one_record_in_the_log(world: World, caplog: pytest.LogCaptureFixture) -> None:
    log = CrashLog(world.runtime.probe, scrub)
    await world.supervise(ChildSpec(id="a", start=Failing))
    child_of(world, "a").tell(Order(7))
    await world.settle()
    log.close()
    child_of(world, "a").tell(Order(8))
    await world.settle()
    (record,) = [record for record in caplog.records if record.name == "noetl.actors"]
    assert record.levelno == logging.ERROR
    lines = record.getMessage().splitlines()
    assert lines[:3] == [
        "top/a (incarnation 1, Failing) crashed: ValueError: no *** for Order(id=7, password='p')",
        "  then: top starts it again at once",
        f"  handling Order: Order(id=7, password={MASK})",
    ]


@dataclasses.dataclass
class Point:
    x: int
    secret_name: str


class Rude:
    def __repr__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"password": "p", "user": "u"}, f"{{'password': {MASK}, 'user': 'u'}}"),
        (Point(1, "n"), f"Point(x=1, secret_name={MASK})"),
        ([Order(1, "a")] * 9, f"[{', '.join([f'Order(id=1, password={MASK})'] * 8)}, ...]"),
        ("x" * 1000, f"'{'x' * 199}… (1,002 characters)"),
        (b"abc", "<3 bytes>"),
        (10**400, "<int of 1,329 bits>"),
        (Rude(), "<Rude, whose repr raises RuntimeError>"),
        ({1: {2: {3: {4: 5}}}}, "{1: {2: {3: {…}}}}"),
    ],
)
def test_a_value_is_shown_bounded_and_masked(value: Any, text: str) -> None:
    assert Redactor(scrub).repr(value) == text


@given(st.text(), st.text(), st.integers(0, 400))
def test_no_part_of_a_secret_is_left_where_a_text_is_cut(before: str, after: str, fill: int) -> None:
    secret = "s3cr3t-" * 5
    shown = Redactor(lambda text: text.replace(secret, MASK)).repr("a" * fill + before + secret + after)
    assert "s3cr3t" not in shown
    assert len(shown) < 300
