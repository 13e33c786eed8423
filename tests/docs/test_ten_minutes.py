"""docs/start/ten-minutes.md: every command on it runs, in its order, and prints what is shown."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.docs.page import ROOT, Block, blocks, commands, prose
from tests.docs.reading import Reader
from tests.docs.terminal import Terminal

PAGE = ROOT / "docs/start/ten-minutes.md"


def follow(block: Block, terminal: Terminal, reader: Reader) -> None:
    """Do what the page asks for in one block."""
    if block.file is not None:
        (terminal.folder() / block.file).write_text(block.text)
    elif block.language == "console":
        for command in commands(block):
            line = reader.meant(command.line)
            if block.is_left_running:
                printed = terminal.leave_running(line, count=len(command.shown))
            else:
                printed = terminal.type(line)
            difference = reader.difference(command.shown, printed)
            assert difference is None, f"$ {command.line}\n{difference}"


@pytest.mark.timeout(180)
def test_every_command_prints_what_the_page_shows(tmp_path: Path) -> None:
    checkout = tmp_path / "noetl"
    shutil.copytree(ROOT / "examples", checkout / "examples", ignore=shutil.ignore_patterns("out", "__pycache__", ".noetl"))
    reader = Reader()
    with Terminal(checkout, tmp_path / "programs") as terminal:
        for block in blocks(PAGE):
            follow(block, terminal, reader)


def test_every_block_of_the_page_is_either_typed_or_saved() -> None:
    """Only the installation is not done again."""
    others = [block.text for block in blocks(PAGE) if block.language != "console" and block.file is None]
    assert [text.splitlines()[0].split()[:2] for text in others] == [["make", "run"]]


def test_the_page_takes_less_than_ten_minutes_to_read() -> None:
    assert len(prose(PAGE).split()) / 200 < 5, "at 200 words a minute; the rest of the time is for the outputs"
