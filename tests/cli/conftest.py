"""A node for commands that talk to a server."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client.standin import StandIn
from tests.serving import Node

FIXTURES = Path(__file__).parents[1] / "fixtures"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """In a folder with the fixtures where a checkout has them."""
    folder = tmp_path_factory.mktemp("node")
    shutil.copytree(FIXTURES, folder / "tests" / "fixtures")
    with Node(folder) as node:
        yield node


@pytest.fixture
def server() -> Iterator[StandIn]:
    """Answers as it is told to."""
    with StandIn() as server:
        yield server
