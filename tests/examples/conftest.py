"""What the tests of the examples share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.examples.facts import Facts, read_facts
from tests.examples.place import Place


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """After the test no process of it may be left."""
    place = Place(tmp_path)
    yield place
    place.close()
    assert place.processes() == set()


@pytest.fixture(scope="session")
def facts() -> Facts:
    return read_facts()
