"""Executions under chance: in whatever order actors have their turns, and whoever crashes, the result is the same."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from noetl.events import AnyEvent, AttemptSucceeded, CancelRequested, ChildStarted, IterationCompleted, StepCompleted, StepScheduled, TaskScheduled
from noetl.testing.simulation import Chaos, Simulation, simulate
from tests.engine.playbooks import playbook
from tests.simulation.node import Failure, SimulatedNode, Tool, simulated_node

SEEDS = int(os.environ.get("NOETL_TEST_SEEDS", "100"))
CHAOS = Chaos(late=0.15, crashes=3, crash=0.03, victims=lambda path: path.startswith("solo/shard/"))
"""Actors of executions, steps and attempts crash, and those that supervise them."""

Check = Callable[[SimulatedNode, Simulation], Awaitable[None]]

FAN_OUT = playbook("""
    - {step: start, tool: {kind: noop}, next: {spec: {mode: inclusive}, arcs: [{step: a, args: {n: 1}}, {step: b, args: {n: 2}}, {step: c, args: {n: 3}}, {step: d, args: {n: 4}}]}}
    - {step: a, tool: {kind: noop, args: {n: "{{ n }}"}}}
    - {step: b, tool: {kind: noop, args: {n: "{{ n }}"}}}
    - {step: c, tool: {kind: noop, args: {n: "{{ n }}"}}}
    - {step: d, tool: {kind: noop, args: {n: "{{ n }}"}}}
""")
JOIN = playbook("""
    - {step: start, tool: {kind: noop}, next: {spec: {mode: inclusive}, arcs: [{step: a}, {step: b}, {step: c}]}}
    - {step: a, tool: {kind: noop}, next: [{step: b2}]}
    - {step: b2, tool: {kind: noop}, next: [{step: sum}]}
    - {step: b, tool: {kind: noop}, next: [{step: sum}]}
    - {step: c, tool: {kind: noop}, next: [{step: sum}]}
    - {step: sum, spec: {join: all}, tool: {kind: noop, args: {of: ["{{ b2 }}", "{{ b }}", "{{ c }}"]}}}
""")
RETRY = playbook("""
    - step: start
      tool: {kind: noop, spec: {policy: {rules: [{when: "{{ error is defined }}", then: {do: retry, attempts: 5, backoff: exponential, delay: 1, jitter: true}}]}}}
      next: [{step: after}]
    - {step: after, tool: {kind: noop, args: {got: "{{ start }}"}}}
""")
LOOP = playbook("""
    - step: start
      loop: {in: "{{ range(12) | list }}", iterator: n, spec: {mode: parallel, max_in_flight: 4}}
      tool: {kind: noop, args: {n: "{{ n }}"}}
      next: [{step: after}]
    - {step: after, tool: {kind: noop, args: {all: "{{ start.results }}"}}}
""")


def once(events: list[AnyEvent]) -> None:
    """No step completed twice for one run, no iteration twice, and each outcome was taken once."""
    for kind, key in (
        (StepCompleted, lambda event: event.run),
        (StepScheduled, lambda event: event.run),
        (IterationCompleted, lambda event: (event.run, event.index)),
        (AttemptSucceeded, lambda event: (event.run, event.index, event.task, event.attempt)),
    ):
        counted = Counter(key(event) for event in events if isinstance(event, kind))  # type: ignore[no-untyped-call]
        assert all(count == 1 for count in counted.values()), (kind, counted)


async def completed(node: SimulatedNode, text: str) -> dict[str, Any]:
    state = await node.run(text)
    assert state.status == "completed", state.error
    once(await node.events(state.execution_id))
    return state.results


def echo(step: str, args: dict[str, Any], number: int) -> Any:
    return args.get("n", step)


async def fan_out(node: SimulatedNode, simulation: Simulation) -> None:
    results = await completed(node, FAN_OUT)
    assert {name: results[name] for name in "abcd"} == {"a": 1, "b": 2, "c": 3, "d": 4}


async def join(node: SimulatedNode, simulation: Simulation) -> None:
    assert (await completed(node, JOIN))["sum"] == ["b2", "b", "c"]


def sums(step: str, args: dict[str, Any], number: int) -> Any:
    return args["of"] if step == "sum" else step


async def retry(node: SimulatedNode, simulation: Simulation) -> None:
    assert (await completed(node, RETRY))["after"] == "third"


def third(step: str, args: dict[str, Any], number: int) -> Any:
    if step == "start" and number < 3:
        raise Failure(f"call {number}")
    return "third" if step == "start" else args["got"]


async def loop(node: SimulatedNode, simulation: Simulation) -> None:
    assert (await completed(node, LOOP))["after"] == [n * n for n in range(12)]


def squares(step: str, args: dict[str, Any], number: int) -> Any:
    return args["n"] ** 2 if step == "start" else args["all"]


async def cancel(node: SimulatedNode, simulation: Simulation) -> None:
    """Wherever it hits: nothing starts after the cancellation is in the log."""
    execution_id = await node.start(LOOP)
    await _sleep(simulation)
    await node.client.cancel(execution_id, "enough")  # type: ignore[arg-type]
    state = await node.ended(execution_id)
    events = await node.events(execution_id)
    once(events)
    asked = next((number for number, event in enumerate(events) if isinstance(event, CancelRequested)), None)
    assert (state.status == "cancelled") == (asked is not None)
    if asked is not None:
        assert not [event for event in events[asked:] if isinstance(event, (TaskScheduled, StepScheduled, ChildStarted))]


async def _sleep(simulation: Simulation) -> None:
    await asyncio.sleep(simulation.random.random() * 0.6)


SCENARIOS: list[tuple[Check, Tool]] = [(fan_out, echo), (join, sums), (retry, third), (loop, squares), (cancel, squares)]


def play(check: Check, tool: Tool, seed: int, monkeypatch: pytest.MonkeyPatch) -> Simulation:
    async def scenario(simulation: Simulation) -> Simulation:
        async with simulated_node(simulation, tool, monkeypatch) as node:
            await check(node, simulation)
        return simulation

    return simulate(scenario, seed, CHAOS)


@pytest.mark.parametrize(("check", "tool"), SCENARIOS, ids=[check.__name__ for check, _ in SCENARIOS])
def test_under_every_seed_the_execution_ends_as_it_should(check: Check, tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    crashes = sum(len(play(check, tool, seed, monkeypatch).crashed) for seed in range(SEEDS))
    assert crashes > SEEDS / 2, "the simulation crashes what it is meant to crash"


@pytest.mark.parametrize("seed", [3, 14])
def test_a_seed_gives_the_same_turns_every_time(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (play(loop, squares, seed, monkeypatch) for _ in range(2))
    assert (first.turns, first.crashed) == (second.turns, second.crashed)
    assert first.turns != play(loop, squares, seed + 1, monkeypatch).turns
