"""docs/reference/api.md says what the routes say."""

from __future__ import annotations

import re
from pathlib import Path

from noetl.api.app import ROUTES

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "api.md"


def test_the_page_lists_every_route_with_its_role() -> None:
    documented = re.findall(r"^\| `([A-Z]+)` \| `(\S+)` \| (\S+) \| (.+) \|$", PAGE.read_text(), re.MULTILINE)
    assert documented == [(route.method, route.path.replace("...", ""), route.role or "(anybody)", route.summary) for route in ROUTES]
