"""Who belongs to a worker: pure, on tables of processes."""

from __future__ import annotations

import pytest

from noetl.tools.sandbox.processes import Process, family

# worker 10 leads session 10; 90 is the nursery, 20 another worker
TABLE = [
    Process(1, 0, 1),
    Process(90, 1, 90),
    Process(10, 90, 10),
    Process(20, 90, 20),
    Process(11, 10, 10),  # a child
    Process(12, 11, 12),  # its child, in a session of its own
    Process(13, 12, 12),
    Process(14, 90, 10),  # an orphan that stayed in the session
    Process(15, 14, 15),  # and its child, which did not
    Process(16, 90, 16),  # an orphan that left it
    Process(21, 20, 20),
]


@pytest.mark.parametrize(
    ("leaders", "members"),
    [({10}, {11, 12, 13, 14, 15}), ({20}, {21}), ({10, 16}, {11, 12, 13, 14, 15}), ({12}, {13}), ({99}, set()), (set(), set())],
)
def test_a_family_is_all_that_descends_or_shares_the_session(leaders: set[int], members: set[int]) -> None:
    assert family(leaders, TABLE) == members
