"""Starting executions, looking at them, watching and cancelling them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.api.conftest import HELLO, WAITING, Caller, Serving


async def test_an_execution_is_accepted_with_its_id_and_runs_to_its_end(api: Caller) -> None:
    await api.register(HELLO)
    answer = await api.post("/api/execute", {"path": "demo/hello"})
    assert answer.status == 202
    execution_id = answer.body["execution_id"]
    assert answer.body == {"execution_id": execution_id, "status": "pending", "path": "demo/hello", "version": 1}
    assert answer.headers["Location"] == f"/api/executions/{execution_id}"
    events = await follow(api, execution_id)
    assert events[-1][1] == "ExecutionCompleted"
    report = (await api.get(f"/api/executions/{execution_id}")).body
    assert (report["status"], report["version"], report["labels"], report["requested_by"]) == ("completed", 1, {"team": "red"}, "local")
    assert report["steps"]["start"]["result"] == "Hello, world! {'a': 1, 'b': 2}"


@pytest.mark.parametrize(("merge", "deep"), [(True, "{'a': 9, 'b': 2}"), (False, "{'a': 9}")])
async def test_a_payload_is_merged_or_replaces_what_it_names(api: Caller, merge: bool, deep: str) -> None:
    await api.register(HELLO)
    report = await api.run("demo/hello", payload={"deep": {"a": 9}}, merge=merge)
    assert report["result"] == f"Hello, world! {deep}"


async def test_an_execution_is_pinned_to_the_version_that_was_asked_for(api: Caller) -> None:
    await api.register(HELLO)
    await api.register(HELLO.replace("Hello", "Hi"))
    assert (await api.run("demo/hello", version=1))["result"].startswith("Hello")
    assert (await api.run("demo/hello"))["result"].startswith("Hi")
    for wanted in ({"path": "demo/hello", "version": 3}, {"path": "demo/nobody"}):
        assert (await api.post("/api/execute", wanted)).status == 404


async def test_the_same_request_under_one_key_starts_one_execution_also_at_the_same_time(api: Caller) -> None:
    await api.register(HELLO)
    sent = [api.post("/api/execute", {"path": "demo/hello", "idempotency_key": "k"}) for _ in range(8)]
    sent += [api.post("/api/execute", {"path": "demo/hello"}, headers={"Idempotency-Key": "k"}) for _ in range(8)]
    answers = await asyncio.gather(*sent)
    assert {answer.status for answer in answers} == {202}
    assert len({answer.body["execution_id"] for answer in answers}) == 1
    assert len((await api.get("/api/executions")).body["entries"]) == 1
    other = await api.post("/api/execute", {"path": "demo/hello", "payload": {"name": "x"}, "idempotency_key": "k"})
    assert (other.status, other.body["detail"]) == (409, "the idempotency key 'k' was used for another request")


async def test_waiting_ends_at_the_end_or_after_its_time(api: Caller) -> None:
    await api.register(WAITING)
    answer = await api.post("/api/run/playbook?wait=0.05", {"path": "demo/waiting"})
    assert (answer.status, answer.body["path"]) == (202, "demo/waiting")
    cancelled = await api.post(f"/api/executions/{answer.body['execution_id']}/cancel", {"reason": "enough"})
    assert cancelled.status == 202
    assert (await follow(api, answer.body["execution_id"]))[-1][1] == "ExecutionCancelled"
    again = await api.post(f"/api/executions/{answer.body['execution_id']}/cancel", {})
    assert (again.status, again.body["detail"]) == (409, f"execution {answer.body['execution_id']} is cancelled already")


async def test_a_run_that_fails_says_where_and_why(api: Caller) -> None:
    await api.register("""
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: bad, path: demo/bad}
workflow:
  - {step: start, tool: {kind: python, code: "raise ValueError('no such thing')"}}
""")
    report = await api.run("demo/bad")
    assert (report["status"], report["error"]["kind"], report["error"]["step"]) == ("failed", "python", "start")
    (listed,) = (await api.get("/api/executions?status=failed")).body["entries"]
    assert "no such thing" in listed["error"]


async def test_executions_are_listed_by_what_is_asked_for_and_page_by_page(api: Caller) -> None:
    await api.register(HELLO)
    await api.register(HELLO, path="risk/hello", labels={"team": "blue"})
    ids = [
        (await api.run(path, labels=labels))["execution_id"] for path, labels in (("demo/hello", {}), ("risk/hello", {}), ("demo/hello", {"x": "1"}))
    ]

    async def listed(query: str) -> list[str]:
        return [entry["execution_id"] for entry in (await api.get(f"/api/executions?{query}")).body["entries"]]

    assert await listed("") == ids[::-1]
    assert await listed("path=risk/hello") == [ids[1]]
    assert await listed("label=team=blue") == [ids[1]]
    assert await listed("label=x") == [ids[2]]
    assert await listed("label=team=green") == []
    assert await listed("status=completed&limit=2") == [ids[2], ids[1]]
    first = (await api.get("/api/executions?limit=2")).body
    assert await listed(f"limit=2&after={first['next']}") == [ids[0]]
    at = (await api.get(f"/api/executions/{ids[1]}")).body["requested_at"]
    assert await listed(f"since={at}") == [ids[2], ids[1]]
    assert await listed(f"until={at}") == [ids[0]]


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "status=odd", "since=yesterday", "after=abc"])
async def test_a_query_that_can_not_be_is_refused(api: Caller, query: str) -> None:
    assert (await api.get(f"/api/executions?{query}")).status == 400


async def test_events_are_listed_from_where_one_wants(api: Caller) -> None:
    await api.register(HELLO)
    execution_id = (await api.run("demo/hello"))["execution_id"]
    whole = (await api.get(f"/api/executions/{execution_id}/events")).body
    names = [event["name"] for event in whole["entries"]]
    assert (names[0], names[-1], whole["next"]) == ("ExecutionRequested", "ExecutionCompleted", None)
    page = (await api.get(f"/api/events?execution_id={execution_id}&after=2&limit=3")).body
    assert ([event["seq"] for event in page["entries"]], page["next"]) == ([3, 4, 5], 5)


async def test_a_stream_goes_on_behind_the_last_event_that_was_seen(api: Caller) -> None:
    await api.register(HELLO)
    execution_id = (await api.run("demo/hello"))["execution_id"]
    whole = await follow(api, execution_id)
    assert [number for number, _ in whole] == list(range(1, len(whole) + 1))
    assert await follow(api, execution_id, {"Last-Event-ID": "3"}) == whole[3:]


async def test_many_watch_one_execution_and_all_see_everything(api: Caller) -> None:
    await api.register(HELLO.replace("kind: noop, result:", 'kind: python, code: "import time; time.sleep(0.2)", args: {x: 1}, desc:'))
    execution_id = await api.execute("demo/hello")
    streams = await asyncio.gather(*(follow(api, execution_id) for _ in range(30)))
    assert streams[0][-1][1] == "ExecutionCompleted"
    assert all(stream == streams[0] for stream in streams)


async def test_events_come_over_a_websocket_too(api: Caller) -> None:
    await api.register(HELLO)
    execution_id = await api.execute("demo/hello")
    async with api.session.ws_connect(f"{api.url}/api/executions/{execution_id}/events") as socket:
        names = [json.loads(message.data)["name"] async for message in socket]
    assert (names[0], names[-1]) == ("ExecutionRequested", "ExecutionCompleted")


async def test_the_context_and_templates_show_what_the_execution_knows(api: Caller) -> None:
    await api.register(HELLO)
    execution_id = (await api.run("demo/hello", payload={"name": "Ada"}, merge=True))["execution_id"]
    context = (await api.get(f"/api/executions/{execution_id}/ctx")).body
    assert context["workload"] == {"name": "Ada", "deep": {"a": 1, "b": 2}}
    assert context["steps"]["start"].startswith("Hello, Ada!")
    asked = {"execution_id": execution_id, "template": {"who": "{{ workload.name | upper }}", "sum": "{{ workload.deep.a + 1 }}"}}
    assert (await api.post("/api/context/render", asked)).body == {"rendered": {"who": "ADA", "sum": 2}}
    wrong = await api.post("/api/context/render", {"execution_id": execution_id, "template": "{{ 1 / 0 }}"})
    assert wrong.status == 422
    assert "division by zero" in wrong.body["detail"]


@pytest.mark.parametrize("path", ["", "/events", "/ctx"])
async def test_an_execution_that_is_not_there_is_not_found(api: Caller, path: str) -> None:
    assert (await api.get(f"/api/executions/123{path}")).status == 404
    assert (await api.get(f"/api/executions/abc{path}")).status == 400


async def test_what_a_killed_node_has_left_goes_on_when_the_next_one_starts(serving: Serving) -> None:
    """The first node is not stopped: its shard is taken for that of a dead process, as after a kill -9."""
    first = await serving()
    await first.register(WAITING.replace("time.sleep(1000)", "open('calls', 'a').write('x'); time.sleep(0.3)"))
    execution_id = await first.execute("demo/waiting")
    store = first.node.parts.store
    assert store is not None
    assert first.node.parts.lease is not None
    await store.shards.release(first.node.parts.lease)
    second = await serving(name="node-2")
    assert (await follow(second, execution_id))[-1][1] == "ExecutionCompleted"


async def follow(api: Caller, execution_id: str, headers: dict[str, str] | None = None) -> list[tuple[int, str]]:
    """The numbers and names of the events of a stream, to its end."""
    found: list[tuple[int, str]] = []
    asked = {"Accept": "text/event-stream", **(headers or {})}
    async with api.session.get(f"{api.url}/api/executions/{execution_id}/events", headers=asked) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/event-stream"
        frame: dict[str, Any] = {}
        async for line in response.content:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name == "event" and value == "end":
                return found
            frame[name] = value
            if name == "data":
                assert json.loads(value)["seq"] == int(frame["id"])
                found.append((int(frame["id"]), frame["event"]))
    raise AssertionError("the stream ended without saying so")
