"""The compiled playbook: a Petri net as plain data.

A step is a transition. For every pair (source, target) there is one place, named by the two; the place of the first token has the source "". The
net is pinned by the hash of its content for the life of an execution.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec
from msgspec import Struct

from noetl.dsl.playbook import Emit, Playbook, Step
from noetl.values import content_hash

START: Final = ""
"""The source of the first token."""


class Net(Struct, frozen=True, omit_defaults=True):
    """`inputs` are the sources of each step's places, in the document order of the arcs."""

    playbook: Playbook
    inputs: dict[str, tuple[str, ...]]


def compile_net(playbook: Playbook) -> Net:
    inputs: dict[str, dict[str, None]] = {step.name: {} for step in playbook.steps}
    inputs[playbook.entry][START] = None
    for step in playbook.steps:
        for target in targets(step):
            inputs[target][step.name] = None
    return Net(playbook, {name: tuple(sources) for name, sources in inputs.items()})


def targets(step: Step) -> Iterator[str]:
    """Where tokens of this step may go: its arcs, then what its rules choose."""
    for arc in step.arcs:
        yield arc.step
    for rule in step.rules:
        for action in rule.actions:
            if isinstance(action, Emit):
                for target in action.targets:
                    yield target.step


def reach_sets(net: Net, target: str) -> dict[str, frozenset[str]]:
    """For each place of `target`, by source: the steps from which a token can still get into it without passing through `target`. Guards are
    ignored."""
    backward: dict[str, set[str]] = {name: set() for name in net.inputs}
    for name, sources in net.inputs.items():
        if name != target:
            backward[name].update(source for source in sources if source not in (START, target))
    return {source: _ancestors(source, backward, target) for source in net.inputs[target]}


def _ancestors(source: str, backward: Mapping[str, set[str]], target: str) -> frozenset[str]:
    """`source` and all from which it can be reached."""
    if source in (START, target):
        return frozenset()
    found = {source}
    frontier = deque(found)
    while frontier:
        for before in backward[frontier.popleft()]:
            if before not in found:
                found.add(before)
                frontier.append(before)
    return frozenset(found)


def encode_net(net: Net) -> bytes:
    return _encode(net)


def decode_net(data: bytes) -> Net:
    """Raises `msgspec.ValidationError` when this version can't read it."""
    return _decoder().decode(data)


def net_hash(encoded: bytes) -> str:
    return content_hash(encoded)


_encode = msgspec.json.Encoder(order="deterministic").encode


@functools.cache
def _decoder() -> msgspec.json.Decoder[Net]:
    return msgspec.json.Decoder(Net)
