"""Values that are too large for the log, by the SHA-256 of their bytes: what one node has stored, all nodes of the store can read.

Whoever reads files (processes for the author's code, tools) finds them in the folder `root` of its own machine, in the layout of `noetl.blobs`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from noetl.errors import StoreAway


class BucketUnavailable(StoreAway):
    """The bucket can't be reached now, or does not take it: try again."""


class Artifacts(Protocol):
    @property
    def root(self) -> Path: ...

    async def put(self, data: bytes) -> str:
        """Its hash. When this returns it is durable, for all nodes.

        Raises:
            LogUnavailable: the disk of this machine does not take it.
        """
        ...

    async def share(self, digest: str) -> None:
        """A process of this node has written it to `root`: make it durable for all. Raises as `put`, and `NotFound`."""
        ...

    async def get(self, digest: str) -> memoryview:
        """Its bytes, checked against the hash.

        Raises:
            NotFound: nobody has it, or the hash is none.
            LogCorrupt: what lies there is not what was written.
        """
        ...

    async def bring(self, digest: str) -> None:
        """See that it lies in `root`, and with it all artifacts that it speaks of. One that nobody has is missed by who reads it."""
        ...

    async def close(self) -> None: ...


class Bucket(Protocol):
    """Where the nodes of several machines keep artifacts. Each method raises `BucketUnavailable` when it can't be reached."""

    async def has(self, digest: str) -> bool: ...

    async def put(self, digest: str, data: bytes) -> None:
        """Durable when this returns."""
        ...

    async def get(self, digest: str) -> bytes | None:
        """None: it is not there."""
        ...

    async def close(self) -> None: ...
