"""Which server a command talks to, as whom, and what its errors mean for the exit status."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from tests.cli.command import document, noetl
from tests.client.standin import StandIn, body, page, problem
from tests.client.test_calls import REPORT
from tests.serving import Node

LIST = ("catalog", "list", "playbook")
EMPTY = body({"entries": [], "next": None})


def test_the_server_is_that_of_the_options_else_of_the_environment(server: StandIn, tmp_path: Path) -> None:
    server.answer(EMPTY)
    port = server.url.rpartition(":")[2]
    wrong = {"NOETL_URL": "http://127.0.0.1:1"}
    assert noetl(*LIST, "--url", server.url, cwd=tmp_path, env=wrong).returncode == 0
    assert noetl(*LIST, "--host", "127.0.0.1", "--port", port, cwd=tmp_path, env=wrong).returncode == 0
    assert noetl(*LIST, "--port", port, cwd=tmp_path, env=wrong).returncode == 0
    assert noetl(*LIST, cwd=tmp_path, env={"NOETL_URL": f"{server.url}/"}).returncode == 0
    assert len(server.asked) == 4
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--url", "http://a", "--port", "1"), "not by both"),
        (("--url", "localhost:8082"), "is no URL of a server: it must be like http://127.0.0.1:8082"),
        (("--port", "0"), "0 is not in the range"),
    ],
)
def test_what_is_no_server_is_refused(tmp_path: Path, options: tuple[str, ...], says: str) -> None:
    found = noetl(*LIST, *options, cwd=tmp_path)
    assert (found.returncode, found.stdout) == (2, "")
    assert says in " ".join(found.stderr.split())


@pytest.mark.parametrize(
    "command", [LIST, ("execute", "playbook", "a"), ("credential", "list"), ("executions", "list"), ("executions", "show", "12")]
)
def test_a_server_that_is_not_there_is_named_with_how_to_start_one(tmp_path: Path, command: tuple[str, ...]) -> None:
    found = noetl(*command, "--url", "http://127.0.0.1:1", cwd=tmp_path)
    assert (found.returncode, found.stdout) == (1, "")
    assert found.stderr == (
        "error: no server at http://127.0.0.1:1: connection refused. Start one with `noetl node start solo`, or say where it is (--url, NOETL_URL)\n"
    )


@pytest.mark.parametrize(
    ("status", "code", "says"),
    [
        (400, 2, "error: no\n"),
        (401, 2, "error: no. Give a token: --token, NOETL_TOKEN, or `noetl login`, which keeps one\n"),
        (403, 2, "error: no\n"),
        (404, 2, "error: no\n"),
        (409, 2, "error: no\n"),
        (500, 1, "error: {url} answered 500: no\n"),
    ],
)
def test_what_was_asked_wrongly_is_2_and_what_went_wrong_is_1(server: StandIn, tmp_path: Path, status: int, code: int, says: str) -> None:
    server.answer(problem(status, "no"))
    found = noetl(*LIST, "--url", server.url, cwd=tmp_path)
    assert (found.returncode, found.stdout, found.stderr) == (code, "", says.format(url=server.url))


def test_something_else_on_the_port_is_no_server(server: StandIn, tmp_path: Path) -> None:
    server.answer(page(404, "<h1>Not Found</h1>"))
    found = noetl(*LIST, "--url", server.url, cwd=tmp_path)
    assert (found.returncode, found.stderr) == (1, f"error: {server.url} answered 404 (text/html): is it a NoETL server?\n")


# -- tokens ------------------------------------------------------------------------------------------------------------


def shown(server: StandIn) -> str | None:
    return server.last.headers.get("authorization")


def test_the_token_is_that_of_the_option_else_of_the_environment_else_the_kept_one(server: StandIn, tmp_path: Path) -> None:
    server.answer(EMPTY)
    assert noetl("login", "--token", "kept", "--url", server.url, cwd=tmp_path).stdout == f"kept for {server.url}\n"
    assert shown(server) == "Bearer kept", "it was tried"
    for options, env, expected in (
        (("--token", "a"), {"NOETL_TOKEN": "b"}, "Bearer a"),
        ((), {"NOETL_TOKEN": "b"}, "Bearer b"),
        ((), {}, "Bearer kept"),
        ((), {"NOETL_HOME": str(tmp_path / "other")}, None),
    ):
        assert noetl(*LIST, "--url", server.url, *options, cwd=tmp_path, env=env).returncode == 0
        assert shown(server) == expected


def test_a_token_is_kept_for_its_server_and_for_nobody_else_to_read(server: StandIn, tmp_path: Path) -> None:
    server.answer(EMPTY)
    file = tmp_path / ".noetl" / "login.json"
    other = noetl("login", "--token", "first", "--url", "http://127.0.0.1:1", cwd=tmp_path)
    assert (other.returncode, "the token was not tried: no server at" in other.stderr) == (0, True)
    old_mask = os.umask(0)
    try:
        assert noetl("login", "--token", "second", cwd=tmp_path, env={"NOETL_URL": f"{server.url}/"}).returncode == 0
    finally:
        os.umask(old_mask)
    assert json.loads(file.read_text()) == {"http://127.0.0.1:1": "first", server.url: "second"}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [each.name for each in file.parent.iterdir()] == ["login.json"]


def test_a_token_that_the_server_does_not_know_is_not_kept(server: StandIn, tmp_path: Path) -> None:
    server.answer(problem(401, "the token is not known"))
    found = noetl("login", "--token", "wrong", "--url", server.url, cwd=tmp_path)
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr.startswith("error: the token is not known.")
    assert "wrong" not in found.stderr
    assert not (tmp_path / ".noetl").exists()


def test_a_token_may_be_typed(server: StandIn, tmp_path: Path) -> None:
    server.answer(EMPTY)
    assert noetl("login", "--url", server.url, cwd=tmp_path, input="typed\n").returncode == 0
    assert shown(server) == "Bearer typed"


def test_a_token_that_can_not_be_sent_is_refused(server: StandIn, tmp_path: Path) -> None:
    for command in (LIST, ("login",)):
        found = noetl(*command, "--token", "a\nb", "--url", server.url, cwd=tmp_path)
        assert (found.returncode, "a token is of visible ASCII characters" in found.stderr, server.asked) == (2, True, [])


def test_a_node_that_wants_a_token_takes_the_one_that_is_kept(tmp_path: Path) -> None:
    with Node(tmp_path, env={"NOETL_API_AUTH": "on"}) as node:
        refused = node.noetl(*LIST)
        assert (refused.returncode, "Give a token: --token, NOETL_TOKEN, or `noetl login`" in refused.stderr) == (2, True)
        token = (tmp_path / ".noetl" / "admin.token").read_text()
        assert node.noetl("login", "--token", token).stdout == f"kept for {node.url}\n"
        assert (node.noetl(*LIST).returncode, node.noetl("executions", "list").returncode) == (0, 0)


def test_a_damaged_login_file_is_named(server: StandIn, tmp_path: Path) -> None:
    (tmp_path / ".noetl").mkdir()
    (tmp_path / ".noetl" / "login.json").write_text("[1]")
    found = noetl(*LIST, "--url", server.url, cwd=tmp_path)
    assert (found.returncode, "login.json is damaged" in found.stderr, server.asked) == (1, True, [])


# -- executions --------------------------------------------------------------------------------------------------------


def test_executions_come_from_the_server_that_is_named_and_from_the_store_otherwise(server: StandIn, tmp_path: Path) -> None:
    server.answer(EMPTY)
    assert document(noetl("executions", "list", "--json", cwd=tmp_path)) == []
    assert server.asked == []
    filters = ("--status", "failed", "--path", "a", "--label", "x=y", "--limit", "3")
    assert document(noetl("executions", "list", "--json", *filters, cwd=tmp_path, env={"NOETL_URL": server.url})) == []
    assert server.last.query == {"status": "failed", "path": "a", "label": "x=y", "limit": "3"}
    named = noetl("executions", "list", "--store", "none.db", cwd=tmp_path, env={"NOETL_URL": server.url})
    assert (named.returncode, "there is no store" in named.stderr) == (2, True)
    both = noetl("executions", "list", "--store", "none.db", "--url", server.url, cwd=tmp_path)
    assert (both.returncode, "name a store or a server, not both" in both.stderr) == (2, True)
    assert len(server.asked) == 1


def test_long_lists_are_fetched_page_by_page(server: StandIn, tmp_path: Path) -> None:
    view = {key: value for key, value in document_of(REPORT).items() if key not in ("result", "steps", "children")}
    full = {"entries": [view] * 1000, "next": "5"}
    server.answer(body(full), body({"entries": [view] * 200, "next": "4"}))
    found = noetl("executions", "list", "--json", "--limit", "1200", "--url", server.url, cwd=tmp_path)
    assert len(document(found)) == 1200
    assert [asked.query for asked in server.asked] == [{"limit": "1000"}, {"limit": "200", "after": "5"}]


def document_of(struct: object) -> dict[str, object]:
    import msgspec

    found: dict[str, object] = msgspec.to_builtins(struct)
    return found


@pytest.mark.parametrize(
    "arguments", [("list", "--json"), ("list",), ("show", "ID", "--json"), ("show", "ID"), ("events", "ID", "--json"), ("events", "ID")]
)
def test_a_server_prints_what_its_store_prints(node: Node, arguments: tuple[str, ...]) -> None:
    node.noetl("register", "tests/fixtures/playbooks/hello_world/hello_world.yaml")
    identifier = node.noetl("execute", "playbook", "tests/fixtures/playbooks/hello_world", "--wait").stdout.split()[1]
    asked = [identifier if argument == "ID" else argument for argument in arguments]
    remote = node.noetl("executions", *asked)
    here = noetl("executions", *asked, cwd=node.folder)
    assert remote.stdout == here.stdout != ""
    assert (remote.returncode, here.returncode) == (0, 0)


def test_a_server_says_what_it_does_not_have(node: Node) -> None:
    for command in ("show", "events", "cancel"):
        missing = node.noetl("executions", command, "12")
        assert (missing.returncode, missing.stdout, missing.stderr) == (2, "", "error: there is no execution 12\n")
    ended = document(node.noetl("executions", "list", "--status", "completed", "--json"))[0]["execution_id"]
    again = node.noetl("executions", "cancel", ended)
    assert (again.returncode, again.stderr) == (2, f"error: execution {ended} is completed already\n")
