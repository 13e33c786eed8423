"""Subjects of messages: words between dots. In a pattern `*` stands for any one word, a last `>` for one or more."""

from __future__ import annotations

import functools


@functools.lru_cache(maxsize=4_096)
def matches(pattern: str, subject: str) -> bool:
    wanted, given = pattern.split("."), subject.split(".")
    if wanted[-1] == ">":
        return len(given) >= len(wanted) and _same(wanted[:-1], given)
    return len(wanted) == len(given) and _same(wanted, given)


def _same(wanted: list[str], given: list[str]) -> bool:
    return all(word in ("*", part) for word, part in zip(wanted, given, strict=False))
