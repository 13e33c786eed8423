"""The files that say which nodes run on this machine: `$NOETL_HOME/run/<node-id>.json`, made when a node is ready, gone when it has ended."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from noetl.engine.client import NodeInfo
from noetl.errors import NotFound
from noetl.node.incarnation import is_alive
from noetl.store.lease import Owner

_SUFFIX = ".json"


class NodeFile(Struct, frozen=True):
    """`process` tells the node from any other process that may get its pid."""

    info: NodeInfo
    process: Owner


@contextlib.contextmanager
def announced(home: Path, info: NodeInfo, process: Owner) -> Iterator[None]:
    """While the node runs, others on this machine can find it."""
    file = home / "run" / f"{info.node}{_SUFFIX}"
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = file.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_bytes(msgspec.json.encode(NodeFile(info, process)))
    temporary.replace(file)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def nodes_here(home: Path) -> list[NodeFile]:
    """The nodes that run, by id. Files that killed nodes have left are cleared away."""
    found: list[NodeFile] = []
    for file in sorted((home / "run").glob(f"*{_SUFFIX}")):
        try:
            node = msgspec.json.decode(file.read_bytes(), type=NodeFile)
        except (OSError, msgspec.MsgspecError):
            continue  # gone since, or no such file
        if is_alive(node.process):
            found.append(node)
        else:
            file.unlink(missing_ok=True)
    return found


def node_here(home: Path, wanted: str | None) -> NodeFile:
    """The node of that id; without one the only node that runs. Raises `NotFound`."""
    nodes = nodes_here(home)
    named = [node for node in nodes if wanted in (None, node.info.node)]
    if len(named) == 1:
        return named[0]
    ids = ", ".join(node.info.node for node in nodes)
    if not nodes:
        raise NotFound(f"no node runs here ({home / 'run'})")
    raise NotFound(f"several nodes run here: say which of {ids}" if wanted is None else f"there is no node '{wanted}' here; there are {ids}")
