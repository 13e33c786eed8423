"""Reads what a cluster has written afterwards, and says what must not be: in the style of Jepsen."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from itertools import pairwise

from noetl.events import (
    AnyEvent,
    AttemptFailed,
    AttemptSucceeded,
    ExecutionCompleted,
    ExecutionRequested,
    IterationCompleted,
    StepCompleted,
    StepScheduled,
)
from noetl.store.log import check_chain
from noetl.store.store import Store

_ONCE = {
    ExecutionRequested: lambda event: (),
    ExecutionCompleted: lambda event: (),
    StepScheduled: lambda event: event.run,
    StepCompleted: lambda event: event.run,
    IterationCompleted: lambda event: (event.run, event.index),
    AttemptSucceeded: lambda event: (event.run, event.index, event.task, event.attempt),
}
"""What happens once in an execution, by what tells it apart."""


class History:
    """The logs of accepted executions. `longest_pause_s`: between two appends of one of them, at most."""

    def __init__(self, events: Mapping[int, list[AnyEvent]], longest_pause_s: float = 0.0) -> None:
        self.events = events
        self.longest_pause_s = longest_pause_s

    @classmethod
    async def read(cls, store: Store, ids: Iterable[int]) -> History:
        """Raises `LogCorrupt` when a chain does not hold."""
        found: dict[int, list[AnyEvent]] = {}
        pauses = [0.0]
        for id_ in ids:
            rows = await store.log.read(id_)
            check_chain(rows)
            found[id_] = [event for row in rows for event in row.events()]
            pauses += [(after.at - before.at).total_seconds() for before, after in pairwise(rows)]
        return cls(found, max(pauses))

    def check(self, slots: Mapping[str, int]) -> None:
        """Every execution has ended well; nothing was applied twice; no node ran more at a time than it has slots."""
        for id_, events in self.events.items():
            assert any(isinstance(event, ExecutionCompleted) for event in events), f"{id_} has not completed"
            self._check_once(id_, events)
        for node, most in self._at_once().items():
            assert most <= slots.get(node, 0), f"{node} ran {most} at once, and has {slots.get(node)} slots"

    def _check_once(self, id_: int, events: list[AnyEvent]) -> None:
        for kind, key in _ONCE.items():
            counted = Counter(key(event) for event in events if isinstance(event, kind))  # type: ignore[no-untyped-call]
            twice = {what: count for what, count in counted.items() if count > 1}
            assert not twice, f"{id_}: {kind.__name__} more than once: {twice}"
        numbers = [event.run for event in events if isinstance(event, StepScheduled)]
        assert all(first < second for first, second in pairwise(numbers)), f"{id_}: runs are not numbered in order"

    def _at_once(self) -> dict[str, int]:
        """How many attempts each node ran at the same moment, at most."""
        edges: dict[str, list[tuple[float, int]]] = defaultdict(list)
        for events in self.events.values():
            for event in events:
                if isinstance(event, (AttemptSucceeded, AttemptFailed)) and event.node and event.started_at is not None:
                    began = event.started_at.timestamp()
                    edges[event.node] += [(began, 1), (began + event.duration_s, -1)]
        return {node: _most(sorted(found)) for node, found in edges.items()}

    def ran_on(self) -> Counter[str]:
        return Counter(event.node for events in self.events.values() for event in events if isinstance(event, (AttemptSucceeded, AttemptFailed)))


def _most(edges: list[tuple[float, int]]) -> int:
    now = most = 0
    for _, change in edges:  # of two at one moment, the end comes first: -1 sorts before 1
        now += change
        most = max(most, now)
    return most
