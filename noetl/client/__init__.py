"""Using a NoETL server from Python: `AsyncClient` on an event loop, `SyncClient` without one (docs/guides/client.md).

What they are asked and what they answer are the structs of `noetl.engine.client`; what goes wrong is raised as the errors of `noetl.errors`.
"""

from noetl.client.address import DEFAULT_URL
from noetl.client.attempts import Retries
from noetl.client.blocking import SyncClient
from noetl.client.looped import AsyncClient

__all__ = ["DEFAULT_URL", "AsyncClient", "Retries", "SyncClient"]
