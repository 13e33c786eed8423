"""When a call that did not get through is made again."""

from __future__ import annotations

import random
from typing import Any, Final

from msgspec import Struct

from noetl.client.call import Call
from noetl.errors import NoetlError, NotReachable, ServerFailed

_LATER: Final = (429, 503)


class Retries(Struct, frozen=True):
    """At most `attempts` in all. The n-th retry waits `first_s * 2 ** (n - 1)`, a little more or less; or as long as the server asks, unless that is
    above `longest_s`: then there is none."""

    attempts: int = 3
    first_s: float = 0.1
    longest_s: float = 10.0


class Attempts:
    """Those of one call."""

    def __init__(self, retries: Retries, *, repeatable: bool = True) -> None:
        self._retries = retries
        self._repeatable = repeatable
        self._made = 0

    @classmethod
    def of(cls, call: Call[Any], retries: Retries) -> Attempts:
        return cls(retries, repeatable=call.repeatable)

    def delay_s(self, error: NoetlError) -> float:
        """Seconds until the next one. Raises `error` when there is none."""
        self._made += 1
        if not (self._repeatable and is_passing(error)) or self._made >= self._retries.attempts:
            raise error
        asked = (error.retry_after_s or 0.0) if isinstance(error, ServerFailed) else 0.0
        if asked > self._retries.longest_s:
            raise error
        own: float = self._retries.first_s * 2 ** (self._made - 1) * random.uniform(0.8, 1.2)  # noqa: S311  spreads clients, hides nothing
        return max(own, asked)

    def succeeded(self) -> None:
        """What comes now counts anew."""
        self._made = 0


def is_passing(error: NoetlError) -> bool:
    """Whether it may be otherwise in a moment."""
    return isinstance(error, NotReachable) or (isinstance(error, ServerFailed) and error.status in _LATER)
