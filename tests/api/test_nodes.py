"""What the node says of itself."""

from __future__ import annotations

import asyncio
from typing import Any

from noetl import __version__
from tests.api.conftest import WAITING, Caller


async def test_the_node_its_pools_and_its_actors_can_be_seen(api: Caller) -> None:
    await api.register(WAITING)
    execution_id = await api.execute("demo/waiting")
    (node,) = (await api.get("/api/nodes")).body["entries"]
    assert (node["node"], node["profile"], node["url"], node["version"]) == ("node-1", "solo", api.url, __version__)
    while (pools := {pool["name"]: pool for pool in (await api.get("/api/worker/pools")).body["entries"]})["python"]["free"] == pools["python"][
        "slots"
    ]:
        pass
    tree = (await api.get("/api/actors")).body
    assert execution_id in str(tree)
    await api.post(f"/api/executions/{execution_id}/cancel", {})


async def test_the_node_is_told_to_end_by_its_name(api: Caller) -> None:
    assert api.node.parts.serving is not None
    assert (await api.post("/api/nodes/another/drain", None)).status == 404
    assert not api.node.parts.serving.told.is_set()
    answer = await api.post("/api/nodes/node-1/drain", None)
    assert (answer.status, answer.body) == (202, {"node": "node-1"})
    assert api.node.parts.serving.told.is_set()


async def test_figures_are_in_the_format_of_prometheus(api: Caller) -> None:
    answer = await api.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    samples = [line for line in answer.raw.decode().splitlines() if not line.startswith("#")]
    assert any(line.startswith("noetl_actors ") for line in samples)
    assert 'noetl_pool_slots{node="node-1",pool="default"} 32' in samples


async def test_a_large_value_is_read_by_its_hash_and_in_parts(api: Caller) -> None:
    await api.register("""
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: large, path: demo/large}
workflow:
  - {step: start, tool: {kind: python, code: "result = 'x' * 100_000"}}
""")
    report = await api.run("demo/large")
    digest = report["result"]["_ref"].rpartition("/")[2] if "_ref" in report["result"] else str(report["result"])
    whole = await api.get(f"/api/artifacts/{digest}")
    assert (whole.status, len(whole.raw) >= 100_000) == (200, True)
    part = await api.get(f"/api/artifacts/{digest}", headers={"Range": "bytes=10-19"})
    assert (part.status, part.raw) == (206, whole.raw[10:20])
    for wrong in ("0" * 64, "..%2f..%2fvault.key", "x"):
        assert (await api.get(f"/api/artifacts/{wrong}")).status == 404


async def test_an_api_that_crashes_is_back_at_the_same_place_and_listens_once(api: Caller) -> None:
    """It is a branch of the tree like any other: what runs goes on meanwhile."""
    await api.register(WAITING)
    execution_id = await api.execute("demo/waiting")
    listeners = len(api.node.probe._listeners)
    root: Any = api.node.root
    server = next(child for child in root.child_records() if child.id == "api")
    server.crash(RuntimeError("a bug"))
    while server.incarnation == 1 or not server.is_ready():
        await asyncio.sleep(0.01)
    report = (await api.get(f"/api/executions/{execution_id}")).body
    assert report["status"] == "running"
    assert len(api.node.probe._listeners) == listeners
    await api.post(f"/api/executions/{execution_id}/cancel", {})
