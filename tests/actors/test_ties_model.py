"""Links, monitors and exit signals against a graph: who ends, why, and who is told what."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from noetl.actors.actor import KILL, KILLED, NOPROC, NORMAL, SHUTDOWN, Context, Down, Exit, Reason
from noetl.actors.ref import Ref
from tests.actors.kinds import Doer, Trapper, failing
from tests.machine import STEPS, WorldMachine

NAMES = "abcd"
CRASH = OSError("broken")
names = st.sampled_from(NAMES)
reasons = st.sampled_from([NORMAL, SHUTDOWN, KILLED, NOPROC, CRASH])


class TiesModel(WorldMachine):
    """`a` and `c` trap exits. All are children of one parent, which starts them again when it is told to."""

    @initialize()
    def start(self) -> None:
        self.parent = self.wait(self.world.start(lambda: Trapper(self.world), "parent"))
        self.refs: dict[str, Ref[Any]] = {}
        for name in NAMES:
            kind = Trapper if self.traps(name) else Doer
            self.let(self.parent, lambda ctx, name=name, kind=kind: self.refs.update({name: ctx.spawn(lambda: kind(self.world), name)}))
        self.alive = set(NAMES)
        self.links: dict[frozenset[str], None] = {}
        self.monitors: dict[tuple[str, str], None] = {}
        self.signals: deque[Callable[[], None]] = deque()
        """On their way. All arrive in the order of their sending: who was ended by one hears the next no more."""
        self.told: Counter[Any] = Counter()
        """What the actors should have been told. The news of the real ones hold what they were told, without by whom."""

    @staticmethod
    def traps(name: str) -> bool:
        return name in "ac"

    def let(self, ref: Ref[Any], work: Any) -> None:
        ref.tell(work)
        self.settle()

    # -- the model ------------------------------------------------------------------------------------------------------

    def dies(self, name: str, reason: Reason) -> None:
        self.happens(partial(self.ends, name, reason))

    def happens(self, first: Callable[[], None]) -> None:
        """With all that follows."""
        self.signals.append(first)
        while self.signals:
            self.signals.popleft()()

    def ends(self, name: str, reason: Reason) -> None:
        if name not in self.alive:
            return
        self.alive.remove(name)
        self.told[Exit, name, reason] += 1  # the parent traps it
        self.signals += [partial(self.hears_down, watcher, name, reason) for watcher, watched in self.monitors if watched == name]
        self.monitors = {pair: None for pair in self.monitors if name not in pair}
        self.signals += [partial(self.hears_exit, partner, name, reason) for link in self.links if name in link for partner in link - {name}]
        self.links = {link: None for link in self.links if name not in link}

    def hears_down(self, name: str, sender: str, reason: Reason) -> None:
        if name in self.alive:
            self.told[Down, sender, reason] += 1

    def hears_exit(self, name: str, sender: str, reason: Reason, *, is_own: bool = False) -> None:
        if name not in self.alive:
            return
        if self.traps(name):
            self.told[Exit, sender, reason] += 1
        elif reason is not NORMAL or is_own:
            self.ends(name, reason)

    # -- the rules ------------------------------------------------------------------------------------------------------

    @rule(one=names, other=names)
    def link(self, one: str, other: str) -> None:
        if one not in self.alive:
            return
        self.let(self.refs[one], lambda ctx: ctx.link(self.refs[other]))
        if other not in self.alive:
            self.happens(partial(self.hears_exit, one, other, NOPROC))
        elif one != other:
            self.links.setdefault(frozenset((one, other)))

    @rule(one=names, other=names)
    def unlink(self, one: str, other: str) -> None:
        if one in self.alive:
            self.let(self.refs[one], lambda ctx: ctx.unlink(self.refs[other]))
            self.links.pop(frozenset((one, other)), None)

    @rule(one=names, other=names)
    def monitor(self, one: str, other: str) -> None:
        if one not in self.alive:
            return
        self.let(self.refs[one], lambda ctx: ctx.monitor(self.refs[other]))
        if other in self.alive:
            self.monitors.setdefault((one, other))
        else:
            self.told[Down, other, NOPROC] += 1

    @rule(one=names, other=names)
    def demonitor(self, one: str, other: str) -> None:
        if one in self.alive:
            self.let(self.refs[one], lambda ctx: ctx.demonitor(self.refs[other]))
            self.monitors.pop((one, other), None)

    @rule(one=names, other=names)
    def cut_a_tie_whose_news_waits(self, one: str, other: str) -> None:
        """The other is killed within the turn of the one, which then wants to hear nothing of it."""
        if one == other or not {one, other} <= self.alive:
            return

        def work(ctx: Context[Any]) -> None:
            ctx.link(self.refs[other])
            ctx.monitor(self.refs[other])
            self.refs[other].kill()
            ctx.unlink(self.refs[other])
            ctx.demonitor(self.refs[other])

        self.let(self.refs[one], work)
        self.links.pop(frozenset((one, other)), None)
        self.monitors.pop((one, other), None)
        self.dies(other, KILLED)

    @rule(name=names, reason=reasons)
    def stop(self, name: str, reason: Reason) -> None:
        if name in self.alive:
            self.let(self.refs[name], failing(reason) if reason is CRASH else lambda ctx: ctx.stop(reason))
            self.dies(name, reason)

    @rule(name=names)
    def kill(self, name: str) -> None:
        self.refs[name].kill()
        self.settle()
        self.dies(name, KILLED)

    @rule(one=names, other=names, reason=st.sampled_from([NORMAL, SHUTDOWN, KILLED, KILL, CRASH]))
    def exit(self, one: str, other: str, reason: Reason) -> None:
        if one not in self.alive:
            return
        self.let(self.refs[one], lambda ctx: ctx.exit(self.refs[other], reason))
        if other not in self.alive:
            return
        if reason is KILL:
            self.dies(other, KILLED)
        else:
            self.happens(partial(self.hears_exit, other, one, reason, is_own=one == other))

    @rule(name=names)
    def start_again(self, name: str) -> None:
        self.let(self.parent, lambda ctx: ctx.respawn(self.refs[name]))
        self.alive.add(name)

    @invariant()
    def the_same_live_and_the_same_was_told(self) -> None:
        if not hasattr(self, "told"):
            return
        assert {name for name in NAMES if self.refs[name].is_alive()} == self.alive
        signals = [item for item in self.world.news if isinstance(item, (Exit, Down))]
        assert (
            Counter((Exit if isinstance(item, Exit) else Down, item.ref.path.removeprefix("parent/"), item.reason) for item in signals) == self.told
        )


TiesModel.TestCase.settings = STEPS
TestTies = TiesModel.TestCase
