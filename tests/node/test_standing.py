"""Nodes as users start and stop them: processes, signals, files."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.api.conftest import HELLO, WAITING
from tests.servers import Server, server


def ask(url: str, body: Any = None, token: str | None = None) -> tuple[int, Any]:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urlopen(Request(url, None if body is None else json.dumps(body).encode(), headers), timeout=30) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except HTTPError as error:
        with error:
            return error.code, json.loads(error.read() or b"null")


def noetl(started: Server | None, *args: str, home: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = started.environment if started is not None else {**os.environ, "NOETL_HOME": str(home)}
    return subprocess.run([sys.executable, "-m", "noetl", *args], env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def test_a_node_says_where_it_listens_can_be_listed_and_is_gone_after_a_stop(home: Path) -> None:
    with server(home, "--id", "one") as one, server(home, "--id", "two") as two, server(home, "--id", "three") as three:
        assert noetl(one, "node", "drain", "three", "--url", three.url).returncode == 0
        assert three.wait() == 0
        unnamed = noetl(one, "node", "drain", "--url", one.url)
        assert (unnamed.returncode, "say which node" in unnamed.stderr) == (2, True)
        assert one.said == ["callers need no token: it listens on loopback only", f"node one listens at {one.url}"]
        listed = noetl(one, "node", "list").stdout.splitlines()
        assert [line.split()[0] for line in listed] == ["one", "two"]
        assert json.loads(noetl(one, "node", "list", "--json").stdout)["entries"][1]["url"] == two.url
        assert noetl(one, "node", "status", "one").stdout.split()[-1] == "ready"
        several = noetl(one, "server", "stop")
        assert (several.returncode, several.stderr) == (2, "error: several nodes run here: say which of one, two\n")
        assert noetl(one, "node", "stop", "one").stdout == "node one has ended\n"
        assert one.process.wait(10) == 0
        killed = noetl(two, "server", "stop", "--force")
        assert killed.stdout == "node two has ended\n"
        assert two.process.wait(10) == -signal.SIGKILL
    assert noetl(two, "node", "list").stdout == ""
    none = noetl(two, "node", "status")
    assert (none.returncode, none.stderr) == (2, f"error: no node runs here ({home / 'run'})\n")


def test_every_acknowledged_execution_goes_on_by_itself_after_a_kill(home: Path) -> None:
    slow = WAITING.replace("time.sleep(1000)", "time.sleep(0.5)")
    with server(home) as first:
        assert ask(f"{first.url}/api/catalog/register", {"content": slow})[0] == 201
        ids = [ask(f"{first.url}/api/execute", {"path": "demo/waiting"})[1]["execution_id"] for _ in range(5)]
        first.kill()
    with server(home) as second:
        for execution_id in ids:
            assert [event["name"] for event in _events_to_the_end(second, execution_id)][-1] == "ExecutionCompleted"


def test_what_runs_may_end_when_a_node_is_told_to_stop_and_what_waits_goes_on_with_the_next(home: Path) -> None:
    """Of two steps the first has begun: it is waited for, and the second is not started any more."""
    text = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: two, path: demo/two}
workflow:
  - {step: start, tool: {kind: python, code: "import time; open(BEGUN, 'w').close(); time.sleep(1); result = 1"}, next: b}
  - {step: b, tool: {kind: python, code: "result = 2"}}
""".replace("BEGUN", repr(str(home.parent / "begun")))
    with server(home) as first:
        ask(f"{first.url}/api/catalog/register", {"content": text})
        execution_id = ask(f"{first.url}/api/execute", {"path": "demo/two"})[1]["execution_id"]
        while not (home.parent / "begun").exists():
            time.sleep(0.01)
        assert first.stop() == 0
        assert first.said[-2:] == ["draining, for 10 s at most", "1 executions have not ended: they go on when a node starts on this store"]
    with server(home) as second:
        events = _events_to_the_end(second, execution_id)
    assert [event["data"]["result"] for event in events if event["name"] == "AttemptSucceeded"] == [1, 2]


def test_a_second_signal_ends_the_drain(home: Path) -> None:
    with server(home) as started:
        ask(f"{started.url}/api/catalog/register", {"content": WAITING})
        ask(f"{started.url}/api/execute", {"path": "demo/waiting"})
        while not ask(f"{started.url}/api/worker/pools")[1]["entries"][0]["free"] < 2:
            time.sleep(0.01)
        started.process.send_signal(signal.SIGTERM)
        while "draining, for 10 s at most" not in started.said:
            time.sleep(0.01)
        started.process.send_signal(signal.SIGTERM)
        assert started.process.wait(9) == 0


def test_a_detached_node_is_ready_when_the_command_returns(home: Path) -> None:
    begun = noetl(None, "server", "start", "--detach", "--id", "quiet", "--port", "0", home=home)
    try:
        assert begun.stdout.startswith("node quiet listens at http://127.0.0.1:")
        assert ask(begun.stdout.split()[-1] + "/ready")[0] == 200
    finally:
        assert noetl(None, "server", "stop", home=home).stdout == "node quiet has ended\n"


@pytest.mark.parametrize("detach", [[], ["--detach"]])
def test_a_port_that_is_taken_is_named(home: Path, detach: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = noetl(None, "node", "start", "solo", "--port", str(port), *detach, home=home)
    assert refused.returncode == 2
    assert f"the API can't listen on 127.0.0.1:{port}" in refused.stderr
    assert "--port takes another" in refused.stderr


def test_a_worker_without_nats_says_what_is_missing(home: Path) -> None:
    refused = noetl(None, "worker", "start", home=home)
    assert refused.returncode == 2
    assert "nats.urls and postgres.dsn are missing" in refused.stderr


def test_an_unknown_profile_is_named(home: Path) -> None:
    refused = noetl(None, "node", "start", "solos", home=home)
    assert (refused.returncode, refused.stderr.startswith("error: there is no profile 'solos'")) == (2, True)


def test_profiles_and_settings_come_from_the_folder_that_was_named(home: Path, tmp_path: Path) -> None:
    for folder, name, text in (
        ("nodes", "small.yaml", "roles: [store, tools, pools, shard, api]\npools: {only: {slots: 1, tools: ['*']}}\n"),
        ("config", "dev.yaml", "api: {body_max_bytes: 100}\n"),
        ("config", "odd.yaml", "api: {body_most: 100}\n"),
    ):
        (tmp_path / "set" / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / folder / name).write_text(text)
    with server(home, "--config-dir", str(tmp_path / "set"), profile="small", environment={"NOETL_API_AUTH": "off"}) as started:
        assert [pool["name"] for pool in ask(f"{started.url}/api/worker/pools")[1]["entries"]] == ["only"]
        assert ask(f"{started.url}/api/catalog/register", {"content": HELLO})[0] == 413
    odd = {**os.environ, "NOETL_HOME": str(home), "NOETL_ENV": "odd"}
    command = [sys.executable, "-m", "noetl", "node", "start", "small", "--config-dir", str(tmp_path / "set")]
    refused = subprocess.run(command, env=odd, capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode == 2
    assert "odd.yaml" in refused.stderr
    assert "body_most" in refused.stderr


def test_a_node_with_login_makes_an_admin_token_once_that_only_its_user_can_read(home: Path) -> None:
    with server(home, environment={"NOETL_API_AUTH": "on"}) as started:
        file = home / "admin.token"
        assert started.said[0] == f"an admin token was made: {file}"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        token = file.read_text().strip()
        assert ask(f"{started.url}/api/nodes")[0] == 401
        assert ask(f"{started.url}/api/nodes", token=token)[0] == 200
        assert token not in "".join(started.said)
    with server(home, environment={"NOETL_API_AUTH": "on"}) as again:
        assert not [line for line in again.said if "token" in line]
        assert ask(f"{again.url}/api/nodes", token=token)[0] == 200


def _events_to_the_end(started: Server, execution_id: str) -> list[Any]:
    request = Request(f"{started.url}/api/executions/{execution_id}/events", headers={"Accept": "text/event-stream"})
    with urlopen(request, timeout=30) as stream:
        return [json.loads(line[6:]) for line in stream if line.startswith(b"data: ") and line.strip() != b"data: {}"]
