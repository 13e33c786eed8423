"""A supervisor against a model of OTP's rules: who is started and ended, in which order, and when it gives up or ends itself."""

from __future__ import annotations

from typing import Any, get_args

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from noetl.actors.actor import NORMAL, SHUTDOWN, is_abnormal
from noetl.actors.ref import Ref
from noetl.errors import CallError
from noetl.supervisors.spec import AutoShutdown, ChildSpec, Restart, Strategy, SupervisorSpec
from noetl.supervisors.static import delete_child, restart_child, start_child, start_tree, terminate_child, which_children
from tests.machine import STEPS, WorldMachine
from tests.supervisors.children import CRASH, Worker, end, lifecycle

NAMES = "abcde"
PERIOD_S = 10.0
names = st.sampled_from(NAMES)
kinds = st.tuples(st.sampled_from(get_args(Restart)), st.booleans())


class SupervisorModel(WorldMachine):
    """`specs` maps id -> spec in start order; `up` are those that run. The log has `+a` for a start and `-a` for an end."""

    @initialize(
        strategy=st.sampled_from(get_args(Strategy)),
        auto_shutdown=st.sampled_from(get_args(AutoShutdown)),
        intensity=st.integers(0, 4),
        children=st.lists(kinds, min_size=1, max_size=4),
    )
    def start(self, strategy: Strategy, auto_shutdown: AutoShutdown, intensity: int, children: list[tuple[Restart, bool]]) -> None:
        self.auto_shutdown: AutoShutdown = auto_shutdown
        specs = tuple(self.spec(name, kind) for name, kind in zip(NAMES, children, strict=False))
        self.top_spec = SupervisorSpec("top", specs, strategy=strategy, intensity=intensity, period_s=PERIOD_S, auto_shutdown=auto_shutdown)
        self.log: list[str] = []
        self.start_top()

    def spec(self, name: str, kind: tuple[Restart, bool]) -> ChildSpec:
        restart, significant = kind
        return ChildSpec(id=name, start=Worker, restart=restart, significant=significant and restart != "permanent" and self.auto_shutdown != "never")

    @rule()
    def start_top(self) -> None:
        """When it has given up, somebody starts it again."""
        if self.log and self.top.is_alive():
            return
        self.top = self.wait(start_tree(self.world.runtime, self.top_spec))
        self.specs: dict[str, ChildSpec] = {spec.id: spec for spec in self.top_spec.children if isinstance(spec, ChildSpec)}
        self.up: set[str] = set()
        self.restarts: list[float] = []
        self.is_up = True
        self.starts(list(self.specs))

    # -- the model ------------------------------------------------------------------------------------------------------

    def starts(self, ids: list[str]) -> None:
        self.log += [f"+{name}" for name in ids]
        self.up |= set(ids)

    def ends(self, ids: list[str]) -> None:
        self.log += [f"-{name}" for name in reversed(ids)]
        self.up -= set(ids)

    def running(self, ids: list[str]) -> list[str]:
        return [name for name in ids if name in self.up]

    def ended(self, name: str, reason: Any) -> None:
        self.ends([name])
        spec, now = self.specs[name], self.loop.time()
        if spec.restart == "permanent" or (spec.restart == "transient" and (reason == "kill" or is_abnormal(reason))):
            self.restarts = [at for at in self.restarts if at > now - PERIOD_S] + [now]
            if len(self.restarts) > self.top_spec.intensity:
                self.top_ends()
            else:
                self.restart_group(name)
            return
        if spec.restart == "temporary":
            del self.specs[name]
        others = any(self.specs[other].significant for other in self.up)
        if spec.significant and (self.auto_shutdown == "any_significant" or not others):
            self.top_ends()

    def restart_group(self, name: str) -> None:
        ids = list(self.specs)
        group = {"one_for_one": [name], "one_for_all": ids, "rest_for_one": ids[ids.index(name) :]}[self.top_spec.strategy]
        self.ends(self.running(group))
        for other in group:
            if self.specs[other].restart == "temporary":
                del self.specs[other]
        self.starts([other for other in group if other in self.specs])

    def top_ends(self) -> None:
        self.ends(self.running(list(self.specs)))
        self.is_up = False

    # -- the rules ------------------------------------------------------------------------------------------------------

    def ref(self, name: str) -> Ref[Any] | None:
        return self.wait(which_children(self.top)).get(name)

    @rule(name=names, reason=st.sampled_from([NORMAL, SHUTDOWN, CRASH, "kill"]))
    def child_ends(self, name: str, reason: Any) -> None:
        if self.is_up and name in self.up:
            ref = self.ref(name)
            assert ref is not None
            end(ref, reason)
            self.settle()
            self.ended(name, reason)

    @rule(seconds=st.sampled_from([0.5, 3.0, 10.0]))
    def pass_time(self, seconds: float) -> None:
        self.wait(self.world.pass_time(seconds))

    def change(self, work: Any) -> bool:
        """Whether it was allowed."""
        try:
            self.wait(work)
        except CallError:
            return False
        return True

    @rule(name=names, kind=kinds)
    def add(self, name: str, kind: tuple[Restart, bool]) -> None:
        if self.is_up:
            assert self.change(start_child(self.top, self.spec(name, kind))) == (name not in self.specs)
            if name not in self.specs:
                self.specs[name] = self.spec(name, kind)
                self.starts([name])

    @rule(name=names)
    def terminate(self, name: str) -> None:
        if self.is_up:
            assert self.change(terminate_child(self.top, name)) == (name in self.specs)
            self.ends(self.running([name]))
            if name in self.specs and self.specs[name].restart == "temporary":
                del self.specs[name]

    @rule(name=names)
    def restart(self, name: str) -> None:
        if self.is_up:
            allowed = name in self.specs and name not in self.up
            assert self.change(restart_child(self.top, name)) == allowed
            if allowed:
                self.starts([name])

    @rule(name=names)
    def delete(self, name: str) -> None:
        if self.is_up:
            allowed = name in self.specs and name not in self.up
            assert self.change(delete_child(self.top, name)) == allowed
            if allowed:
                del self.specs[name]

    @invariant()
    def the_same_has_happened(self) -> None:
        if not hasattr(self, "log"):
            return
        assert lifecycle(self.world) == self.log
        assert self.top.is_alive() == self.is_up
        if self.is_up:
            children = self.wait(which_children(self.top))
            assert list(children) == list(self.specs)
            assert {name for name, ref in children.items() if ref is not None} == self.up

    def teardown(self) -> None:
        if hasattr(self, "top"):
            self.wait(self.world.runtime.stop(self.top))
            assert self.world.runtime.living == 0
        super().teardown()


SupervisorModel.TestCase.settings = STEPS
TestSupervisor = SupervisorModel.TestCase
