"""docs/guides/client.md: its scripts run against a node, and print what is shown; its table of errors is that of the code."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from noetl import errors
from noetl.client import Retries
from noetl.client.address import parse_address
from noetl.client.answer import error_of
from noetl.client.call import TIMEOUT_S
from noetl.client.connection import Response
from tests.cli.command import ENVIRONMENT
from tests.docs.page import ROOT, blocks, commands
from tests.serving import Node

PAGE = ROOT / "docs/guides/client.md"
FILES = dict(re.findall(r"<!-- file: ([\w.]+) -->\n```\w+\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL))
STATUSES = re.findall(r"^\| `(\w+)` \|.*\| ([\w, ]*?) *\|$", PAGE.read_text(), re.MULTILINE)


def test_the_scripts_print_what_the_page_shows(tmp_path: Path) -> None:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    with Node(tmp_path) as node:
        environment = ENVIRONMENT | {"PYTHONPATH": str(ROOT), "NOETL_URL": node.url}
        for command in [command for block in blocks(PAGE) if block.language == "console" for command in commands(block)]:
            program, script = command.line.split()
            assert program == "python"
            done = subprocess.run(
                [sys.executable, "-W", "error", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=50, check=False
            )
            assert (done.stdout.splitlines(), done.stderr) == (command.shown, "")


def test_every_block_of_code_is_a_script_that_is_run() -> None:
    run = {command.line.removeprefix("python ") for block in blocks(PAGE) if block.language == "console" for command in commands(block)}
    assert run == set(FILES)
    assert len([block for block in blocks(PAGE) if block.language != "console"]) == len(FILES) == 3


@pytest.mark.parametrize(("name", "statuses"), [(name, text) for name, text in STATUSES if text])
def test_an_error_has_the_statuses_that_the_page_says(name: str, statuses: str) -> None:
    problems = b'{"errors": [{"message": "m", "line": 1, "column": 1, "path": ""}]}' if name == "Invalid" else b"{}"
    for status in {"other 4xx": "400, 405, 413, 422", "429, 5xx": "429, 500, 503"}.get(statuses, statuses).split(", "):
        response = Response(int(status), {"content-type": "application/problem+json"}, problems)
        assert type(error_of(response, parse_address("http://h"))) is getattr(errors, name)


def test_the_figures_are_those_of_the_code() -> None:
    assert Retries() == Retries(attempts=3, first_s=0.1, longest_s=10.0)
    assert TIMEOUT_S == 30.0
    assert [name for name, _ in STATUSES] == list(dict(STATUSES))
    assert len(STATUSES) == 8
