"""Rules that take a whole node are shown on one."""

from tests.engine.conftest import boot

__all__ = ["boot"]
