"""The lines with which NoETL's README has always shown the command line: they work as they are printed, but for the port."""

from __future__ import annotations

import re

import pytest

from tests.cli.command import document
from tests.serving import Node

LINES = {
    "noetl register tests/fixtures/playbooks/hello_world/hello_world.yaml --host localhost --port 8082": (
        r"tests/fixtures/playbooks/hello_world  version 1  (new|unchanged)"
    ),
    "noetl catalog list playbook --host localhost --port 8082": r"tests/fixtures/playbooks/hello_world  version 1  .*",
    "noetl catalog list credential --host localhost --port 8082": r"",
    'noetl execute playbook "tests/fixtures/playbooks/hello_world" --host localhost --port 8082': (
        r"execution \d{18} tests/fixtures/playbooks/hello_world"
    ),
    """noetl execute playbook "tests/fixtures/playbooks/hello_world" \\
  --host localhost --port 8082 \\
  --payload '{"custom_var": "value"}' --merge""": r"execution \d{18} tests/fixtures/playbooks/hello_world",
    "noetl register tests/fixtures/playbooks/hello_world/hello_world.yaml": r"tests/fixtures/playbooks/hello_world  version 1  unchanged",
    "noetl catalog list playbook     # List all playbooks": r"tests/fixtures/playbooks/hello_world  version 1  .*",
    "noetl catalog list credential   # List all credentials": r"",
    'noetl execute playbook "tests/fixtures/playbooks/hello_world" # Execute by catalog path': r"execution \d{18} tests/fixtures/playbooks/hello_world",
}


@pytest.mark.parametrize("line", LINES)
def test_the_line_works_as_it_is_printed(node: Node, line: str) -> None:
    done = node.shell(line.replace("8082", node.port))
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(LINES[line], done.stdout.rstrip("\n"))


def test_the_payload_reaches_the_workload(node: Node) -> None:
    line = 'noetl execute playbook tests/fixtures/playbooks/hello_world --payload \'{"name": "Ada"}\' --merge --wait --json'
    assert document(node.shell(line))["steps"]["start"]["result"] == {"greeting": "Hello, Ada!"}
