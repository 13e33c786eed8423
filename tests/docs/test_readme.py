"""README.md shows the hello example as it is, and what it prints."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.docs.page import ROOT, blocks, commands
from tests.docs.reading import Reader
from tests.docs.terminal import Terminal

README = ROOT / "README.md"
HELLO = "examples/hello/hello.yaml"


def test_the_playbook_is_the_hello_example() -> None:
    assert [block.text for block in blocks(README) if block.language == "yaml"] == [(ROOT / HELLO).read_text()]


def test_every_command_prints_what_the_page_shows(tmp_path: Path) -> None:
    shutil.copytree((ROOT / HELLO).parent, tmp_path / "noetl" / Path(HELLO).parent)
    reader = Reader()
    shown = [command for block in blocks(README) if block.language == "console" for command in commands(block)]
    assert [command.line for command in shown] == [f"noetl run {HELLO}"]
    with Terminal(tmp_path / "noetl", tmp_path / "programs") as terminal:
        for command in shown:
            assert reader.difference(command.shown, terminal.type(command.line)) is None


def test_it_stays_one_page() -> None:
    assert len(README.read_text().splitlines()) <= 60
