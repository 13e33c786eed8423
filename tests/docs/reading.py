"""Whether what a command prints is what a page shows of it: the same, but for ids, times and the like.

An id, a pid or a port of the page stands for one of this session: wherever the page names it again, that one is meant.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

ANY_LINES = "…"
_KEPT = r"\b\d{18}\b|(?<=\(pid )\d+|(?<=127\.0\.0\.1:)\d+"
_VARIES = {
    "number": (r"^ +\d+(?=  \d\d:)", r" +\d+"),
    "seconds": (r" +\d+\.\d\d s\b", r" +\d+\.\d\d s"),
    "date": (r"\d{4}-\d\d-\d\d", r"\d{4}-\d\d-\d\d"),
    "time": (r"\d\d:\d\d:\d\d(?:\.\d+)?", r"\d\d:\d\d:\d\d(?:\.\d+)?"),
    "version": (r"(?<=version )\d+\.\d+\.\d+", r"\d+\.\d+\.\d+"),
    "node": (r"run-[0-9a-f]{8}", r"run-[0-9a-f]{8}"),
    "host": (r"(?<= on )\w+(?=\)$)", r"[^)]+"),
    "cut": (r"(?<=.)…$", r".*"),
}
"""How it is recognised on the page, and what may stand there instead."""
_TOKEN = re.compile("|".join([_KEPT, *(f"(?P<{name}>{look})" for name, (look, _) in _VARIES.items())]))


class Reader:
    """Knows what the ids of the page are in this session."""

    def __init__(self) -> None:
        self._meant: dict[str, str] = {}

    def meant(self, text: str) -> str:
        """The text with the page's ids replaced by those of this session."""
        return re.sub(r"\d+", lambda found: self._meant.get(found[0], found[0]), text)

    def difference(self, shown: Sequence[str], printed: Sequence[str]) -> str | None:
        """What the first line is that is not as it is shown; None when all are. `…` alone stands for any lines."""
        rest = list(printed)
        for position, line in enumerate(shown):
            if line == ANY_LINES:
                rest = self._skipped_to(shown[position + 1 :], rest)
            elif not rest:
                return f"nothing was printed where the page shows {line!r}"
            elif not self.reads(line, rest.pop(0)):
                return f"the page shows {line!r}; printed was\n" + "\n".join(printed)
        return f"the page does not show {rest[0]!r}" if rest else None

    def _skipped_to(self, shown: Sequence[str], printed: list[str]) -> list[str]:
        if not shown:
            return []
        while printed and not self.reads(shown[0], printed[0]):
            del printed[0]
        return printed

    def reads(self, shown: str, printed: str) -> bool:
        """Whether a line is as the page shows it. Ids that the page names for the first time are learnt."""
        new: list[str] = []
        found = re.fullmatch(self._pattern(shown, new), printed)
        if found is None:
            return False
        self._meant |= dict(zip(new, found.groups(), strict=True))
        return True

    def _pattern(self, shown: str, new: list[str]) -> str:
        pattern, end = "", 0
        for token in _TOKEN.finditer(shown):
            pattern += re.escape(shown[end : token.start()])
            end = token.end()
            if token.lastgroup is not None:
                pattern += _VARIES[token.lastgroup][1]
            elif token[0] in self._meant:
                pattern += self._meant[token[0]]
            elif token[0] in new:
                pattern += rf"(?:\{new.index(token[0]) + 1})"
            else:
                new.append(token[0])
                pattern += r"(\d+)"
        return pattern + re.escape(shown[end:])
