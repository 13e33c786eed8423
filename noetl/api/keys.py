"""What the application holds."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from noetl.api.deps import Deps

DEPS: Final = web.AppKey("deps", Deps)
DOCUMENT: Final = web.AppKey("document", bytes)
"""The OpenAPI document, encoded."""
