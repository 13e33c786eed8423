"""Which steps can be reached."""

from __future__ import annotations

from collections import deque

from noetl.dsl.net import targets
from noetl.dsl.playbook import Playbook
from noetl.dsl.problem import Place
from noetl.dsl.read.reader import Reader


def check_reach(read: Reader, playbook: Playbook) -> None:
    """A warning for each step to which no arc leads from the entry. Guards are ignored."""
    reached = _reached(playbook)
    for index, step in enumerate(playbook.steps):
        if step.name not in reached:
            read.warn(Place(step.line, step.column, f"workflow[{index}]"), f"step '{step.name}' is never reached", key="step")


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
