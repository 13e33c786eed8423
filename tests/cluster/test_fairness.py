"""Who is next among those that wait for workers."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noetl.cluster.fairness import FairQueue

ITEMS = st.lists(st.tuples(st.integers(0, 9), st.sampled_from("abc")), max_size=60)


def drained(queue: FairQueue[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    return [queue.pop() for _ in range(len(queue))]


def filled(items: list[tuple[int, str]]) -> FairQueue[tuple[int, int, str]]:
    queue: FairQueue[tuple[int, int, str]] = FairQueue()
    for number, (priority, key) in enumerate(items):
        queue.push((number, priority, key), priority, key)
    return queue


@given(ITEMS)
def test_everybody_has_a_turn_once_higher_priorities_first(items: list[tuple[int, str]]) -> None:
    came = drained(filled(items))
    assert sorted(came) == [(number, *item) for number, item in enumerate(items)]
    priorities = [priority for _, priority, _ in came]
    assert priorities == sorted(priorities, reverse=True)


@given(ITEMS)
def test_of_one_key_and_priority_who_came_first_goes_first(items: list[tuple[int, str]]) -> None:
    came = drained(filled(items))
    for kind in set(items):
        numbers = [number for number, *item in came if tuple(item) == kind]
        assert numbers == sorted(numbers)


@given(st.lists(st.sampled_from("abc"), max_size=60))
def test_while_several_keys_wait_none_has_two_turns_more_than_another(keys: list[str]) -> None:
    left, turns = Counter(keys), Counter[str]()
    for _, _, key in drained(filled([(5, key) for key in keys])):
        turns[key] += 1
        left[key] -= 1
        waiting = [other for other, number in left.items() if number > 0]
        assert all(turns[key] - turns[other] <= 1 for other in waiting)


def test_an_empty_queue_says_so() -> None:
    with pytest.raises(IndexError):
        FairQueue[int]().pop()
