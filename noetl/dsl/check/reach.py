"""Which steps can be reached."""

from __future__ import annotations

from collections import deque

from noetl.dsl.net import compile_net, targets
from noetl.dsl.playbook import Playbook
from noetl.dsl.problem import Place
from noetl.dsl.read.reader import Reader


def check_reach(read: Reader, playbook: Playbook) -> None:
    """A warning for each step to which no arc leads from the entry, and for each join that waits for more than there is. Guards are ignored."""
    reached = _reached(playbook)
    for index, step in enumerate(playbook.steps):
        if step.name not in reached:
            read.warn(Place(step.line, step.column, f"workflow[{index}]"), f"step '{step.name}' is never reached", key="step")
    places = compile_net(playbook).inputs
    for index, step in enumerate(playbook.steps):
        if isinstance(step.join, int) and step.join > len(places[step.name]):
            place = Place(step.line, step.column, f"workflow[{index}].spec.join")
            read.warn(place, f"join {step.join} of step '{step.name}' is never complete: {len(places[step.name])} can come", key="join")


def _reached(playbook: Playbook) -> set[str]:
    after = {step.name: tuple(targets(step)) for step in playbook.steps}
    found = {playbook.entry, playbook.final_step or playbook.entry}
    frontier = deque(found)
    while frontier:
        for name in after.get(frontier.popleft(), ()):
            if name not in found:
                found.add(name)
                frontier.append(name)
    return found
