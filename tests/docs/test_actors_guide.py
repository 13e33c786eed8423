"""docs/guides/actors.md: its files are written as the page says, and its commands print what is shown."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from noetl.actors.cell import Cell
from noetl.testing.world import World
from tests.docs.page import ROOT, blocks, commands

PAGE = ROOT / "docs/guides/actors.md"
FILES = dict(re.findall(r"<!-- file: ([\w.]+) -->\n```\w+\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_every_block_of_code_is_a_file_or_a_command() -> None:
    assert len([block for block in blocks(PAGE) if block.language != "console"]) == len(FILES) == 8


@pytest.mark.parametrize(
    "command", [command for block in blocks(PAGE) if block.language == "console" for command in commands(block)], ids=lambda c: c.line
)
async def test_a_command_prints_what_the_page_shows(command: Any, folder: Path) -> None:
    line = command.line.replace("python", sys.executable, 1)
    process = await asyncio.create_subprocess_shell(line, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={"PYTHONPATH": str(ROOT)})
    printed = (await process.communicate())[0].decode()
    assert re.sub(r" in [\d.]+s", "", printed).splitlines() == command.shown


async def test_the_basket_keeps_its_articles_while_it_sleeps_and_takes_up_those_of_version_1(world: World) -> None:
    names: dict[str, Any] = {}
    exec(compile(FILES["basket.py"], "basket.py", "exec"), names)  # what the page shows
    made: list[Any] = []

    def start() -> Any:
        made.append(names["Basket"]())
        return made[-1]

    ref = await world.start(start)
    ref.tell("lamp")
    await world.pass_time(1300)
    assert isinstance(ref, Cell)
    assert ref.is_asleep()
    ref.tell("rug")
    await world.settle()
    assert made[-1].articles == ["lamp", "rug"]
    assert made[-1].evolve(1, "lamp,rug") == ("lamp", "rug")
