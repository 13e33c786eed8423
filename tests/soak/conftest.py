"""Long runs: `make soak`. They take an hour, so `make test` leaves them out."""

from __future__ import annotations

import os

from tests.cluster.conftest import cluster, four

__all__ = ["cluster", "four"]

collect_ignore = [] if os.environ.get("NOETL_SOAK") else ["test_cluster.py"]
