"""Who is next: the highest priority first; within one, keys take turns, so that nobody's thousand calls make another's single one wait. Pure."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    def __init__(self) -> None:
        self._levels: dict[int, OrderedDict[str, deque[T]]] = {}
        self._number = 0

    def __len__(self) -> int:
        return self._number

    def push(self, item: T, priority: int, key: str) -> None:
        level = self._levels.setdefault(priority, OrderedDict())
        level.setdefault(key, deque()).append(item)
        self._number += 1

    def pop(self) -> T:
        """Raises `IndexError` when it is empty."""
        if not self._levels:
            raise IndexError("nobody waits")
        priority = max(self._levels)
        level = self._levels[priority]
        key, waiting = next(iter(level.items()))
        item = waiting.popleft()
        self._number -= 1
        if waiting:
            level.move_to_end(key)  # the other keys come first now
        else:
            del level[key]
        if not level:
            del self._levels[priority]
        return item
