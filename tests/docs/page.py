"""The fenced blocks of a page, and what stands in a console block."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]


class Block(NamedTuple):
    language: str
    text: str
    file: str | None
    """Under which name the reader is asked to save it."""
    is_left_running: bool
    """Its one command goes on while the reader goes on."""


class Command(NamedTuple):
    line: str
    shown: list[str]
    """The output as the page shows it."""


_BLOCK = re.compile(r"(?P<before>[^\n]*)\n\n?```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_SAVE = re.compile(r"Save this as `([\w.]+)`")


def blocks(page: Path) -> Iterator[Block]:
    for found in _BLOCK.finditer(page.read_text()):
        named = _SAVE.search(found["before"])
        yield Block(found["language"], found["text"], named[1] if named else None, found["before"] == "<!-- left running -->")


def commands(block: Block) -> list[Command]:
    """The lines after `$ `, each with the lines that follow it."""
    found: list[Command] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append(Command(line[2:], []))
        else:
            found[-1].shown.append(line)
    return found


def prose(page: Path) -> str:
    """What is left of the page without its blocks."""
    return _BLOCK.sub(lambda found: found["before"], page.read_text())
