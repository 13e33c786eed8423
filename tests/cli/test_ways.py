"""A playbook that tries to show its secrets in every way that there is. Nobody can read them: not on the terminal, not in a report, not on the disk."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import document, killed_at, newest, noetl, was_killed, write
from tests.cli.echo import echo_server
from tests.cli.test_secrets import in_clear as forms_of
from tests.cli.test_secrets import on_disk, seen
from tests.cli.test_vault import with_store

SEALED = 'pä ss"wörd/+\\x&'
TOKEN = "t0k3n-ABC/def+42=="
"""The secrets that `forms_of` looks for: one of a credential in the vault, read through `keychain`; one that a token endpoint gives."""
CLIENT = "cl13nt-s3cr3t-%&=#"
ARGS = {"key": "{{ keychain.login.password }}", "token": "{{ token('api') }}"}


def python(code: str) -> dict[str, Any]:
    return {"tool": {"kind": "python", "args": ARGS, "code": code}}


def http(**fields: Any) -> dict[str, Any]:
    return {"tool": {"kind": "http", "url": "{{ workload.base }}/x"} | fields}


def noop(result: Any = "x", **more: Any) -> dict[str, Any]:
    return {"tool": {"kind": "noop", "result": result}, **more}


KEY, GIVEN = ARGS["key"], ARGS["token"]
WAYS: dict[str, dict[str, Any]] = {
    "print": python("print('key', key, 'token', token)"),
    "standard-error": python("import sys; sys.stderr.write(key + token)"),
    "a-subprocess": python("import subprocess; subprocess.run(['echo', key, token])"),
    "logging": python("import logging; logging.warning('key %s', key); logging.error('token %r', token)"),
    "json-escapes": python("import json; print(json.dumps({'a': [key, token]})); print(json.dumps(json.dumps(key)))"),
    "repr": python("print(repr([key, token]), ascii(key), {'k': key}, key.encode(), [token.encode()])"),
    "url-escapes": python("from urllib.parse import quote, quote_plus; print(quote(key), quote_plus(token), quote(quote(key, safe='')))"),
    "base64": python(
        "import base64; print(*(base64.b64encode((lead + s).encode()).decode() for s in (key, token) for lead in ('', 'x', 'ab', 'u:p')))"
    ),
    "hex": python("print(key.encode().hex(), token.encode().hex().upper())"),
    "html": python("import html; print(html.escape(key), html.escape(token))"),
    "a-long-line": python("print('x' * 16380 + key + 'y' * 40000 + token); print('x' * 16370 + token + ' ' * 9 + key)"),
    "without-a-newline": python("import sys\nfor s in (key, token):\n  for c in s:\n    sys.stdout.write(c); sys.stdout.flush()"),
    "beyond-the-log": python("print('z' * 1048563 + token + key * 100)"),
    "an-exception": python("raise ValueError(f'with {key} and {token}')"),
    "a-chain-of-exceptions": python("try:\n  {}[key]\nexcept KeyError as error:\n  raise RuntimeError(token) from error"),
    "the-name-of-an-exception": python("raise type('Bad' + token, (Exception,), {})(key)"),
    "an-exit": python("import sys; sys.exit(key + token)"),
    "a-result": python("result = {'a': [key, {'b': token}], token: 1, 'both': key + token}"),
    "a-large-result": python("result = {'rows': [key, token] * 20000, 'text': ('x' * 70000) + key}"),
    "a-url": http(url="{{ workload.base }}/fail/" + KEY + "?q=" + GIVEN),
    "a-server-that-is-not-there": http(url="http://localhost:1/" + GIVEN + "?password=" + KEY),
    "an-echoed-header": http(headers={"Authorization": "Bearer " + GIVEN, "X-Key": "{{ keychain.login.password | urlencode }}"}),
    "an-echoed-credential": http(auth="login"),
    "an-echoed-body": http(method="POST", json={"a": KEY, "b": [GIVEN]}),
    "an-echoed-form": http(method="POST", form={"a": KEY, "b": GIVEN}),
    "a-header-that-can-not-be": http(headers={"X": KEY + "\n" + GIVEN}),
    "an-address-that-can-not-be": http(url=KEY),
    "a-sql-error": {
        "tool": {"kind": "duckdb", "command": "selekt '{{ keychain.login.password | replace(\"'\", \"''\") }} " + GIVEN + "' from nowhere"}
    },
    "a-sql-result": {"tool": {"kind": "duckdb", "query": "select $$" + KEY + "$$ as a, '" + GIVEN + "' as b"}},
    "a-database-that-is-not-there": {"tool": {"kind": "postgres", "auth": {"type": "postgres", "key": "db"}, "command": "select 1"}},
    "a-template-error": noop("{{ keychain.login.password + 1 }}"),
    "a-number-that-is-none": {"tool": {"kind": "noop", "timeout": GIVEN}},
    "a-field-that-is-none": noop("{{ keychain.login[keychain.login.password] }}"),
    "an-entry-that-is-none": noop("{{ keychain[token('api')] }}"),
    "a-credential-that-is-none": http(auth=GIVEN),
    "a-file-that-is-not-there": {"tool": {"kind": "python", "script": {"uri": GIVEN + ".py"}}},
    "a-playbook-that-is-not-there": {"tool": {"kind": "playbook", "path": GIVEN}},
    "a-key-of-a-result": noop({"{{ token('api') }}": 1, "a": {"{{ keychain.login.password }}": 2}}),
    "a-refusal-that-repeats-it": http(headers={"Authorization": "Bearer {{ token('refused') }}"}),
    "a-rule-that-fails": {
        "tool": {"kind": "http", "url": "{{ workload.base }}/x", "auth": "login"}
        | {"spec": {"policy": {"rules": [{"else": {"then": {"do": "fail", "message": "no: {{ outcome.data.authorization }}"}}}]}}}
    },
    "a-sub-playbook": {"tool": {"kind": "playbook", "path": "child", "payload": {"secret": KEY, "other": {"deep": GIVEN}}}},
    "a-write": {**noop(GIVEN), "set": {"ctx.kept": "{{ result }}", "ctx.twice": "{{ (result ~ ' ') * 2 }}"}},
    "an-argument": {**noop("{{ ctx.kept }}"), "args": {"header": "Bearer {{ ctx.kept }}"}},
    "a-loop": {"loop": {"in": "{{ ctx.both }}", "iterator": "secret"}, **noop("{{ secret }}")},
    "a-guard": {**noop(), "set": {"ctx.guarded": "{{ ctx.kept == 'x' }}"}},
    "a-set-that-fails": {**noop(GIVEN), "set": {"ctx.n": "{{ result + 1 }}"}},
}
CHILD = '- {step: start, tool: {kind: noop, result: "got {{ workload.secret }} and {{ workload.other }}"}}'


def leaky() -> str:
    """The steps one after another, whether they fail or not."""
    steps: list[dict[str, Any]] = [{"step": "start", **python("result = [key, token]"), "set": {"ctx.both": "{{ result }}"}}]
    steps += [{"step": name, **way} for name, way in WAYS.items()]
    for step, following in zip(steps, [*steps[1:], {"step": "end"}], strict=True):
        arc = {"step": following["step"], "args": {"handed": "{{ ctx.both }}"}}
        failed = {**arc, "when": "{{ event.name == 'step.failed' and (ctx.both[0] ~ error.message) }}"}
        step["next"] = {"arcs": [{**failed, "when": "{{ event.name == 'step.failed' }}"}, {**failed, "when": "{{ ctx.both + 1 }}"}, arc]}
    return "\n".join(f"- {json.dumps(step)}" for step in [*steps, {"step": "end"}])


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    with echo_server() as base:
        client = {"token_url": f"{base}/token", "client_id": "me", "client_secret": CLIENT, "audience": TOKEN}
        write(tmp_path, CHILD, name="child")
        entries = [
            {"name": "login", "kind": "credential"},
            {"name": "api", "kind": "oauth2", "credential": "client"},
            {"name": "refused", "kind": "oauth2", "endpoint": f"{base}/refuse", "data": {"password": KEY, "token": GIVEN}},
        ]
        write(tmp_path, leaky(), head=f"workload: {{base: '{base}'}}\nkeychain: {json.dumps(entries)}")

        async def put(_: Any, vault: Any) -> None:
            await vault.put("login", "basic", {"username": "joe", "password": SEALED})
            await vault.put("client", "oauth2", client)
            await vault.put("db", "postgres", {"host": "127.0.0.1", "port": 1, "user": "joe", "password": SEALED, "database": "x"})

        with_store(tmp_path, put)
        yield tmp_path


def in_clear(data: str | bytes) -> list[str]:
    content = data.encode() if isinstance(data, str) else data
    return forms_of(content) + ([CLIENT] if CLIENT.encode() in content else [])


def elsewhere(cwd: Path) -> bytes:
    """What was written beside the store."""
    files = [path for path in cwd.rglob("*") if path.is_file() and ".noetl" not in path.parts]
    return b"\n".join(path.read_bytes() for path in files)


def test_it_is_tried_in_more_than_25_ways() -> None:
    assert len(WAYS) > 25


def test_no_way_shows_a_secret(place: Path) -> None:
    run = noetl("run", "test.yaml", "--json", cwd=place, env={"TMPDIR": str(place)})
    steps = document(run)["steps"]
    assert document(run)["status"] == "completed", document(run)["error"]
    assert set(steps) == {"start", *WAYS, "end"}, "every way was tried"
    assert steps["start"]["result"] == ["***", "***"]
    assert in_clear(run.stdout + run.stderr) == []
    assert in_clear(seen(place, run)) == []
    assert in_clear(on_disk(place)) == []
    assert in_clear(elsewhere(place)) == []


def test_no_way_shows_a_secret_on_the_terminal(place: Path) -> None:
    run = noetl("run", "test.yaml", "-v", cwd=place)
    assert "completed" in run.stdout
    assert in_clear(run.stdout + run.stderr) == []


@pytest.mark.parametrize("append", [8, 20, 35])
def test_what_a_killed_run_leaves_shows_no_secret_and_its_resume_shows_none(place: Path, append: int) -> None:
    killed = killed_at(append, "after", "run", "test.yaml", cwd=place)
    assert was_killed(killed), killed.stdout
    assert (place / ".noetl" / "noetl.db-wal").exists()
    assert in_clear(on_disk(place)) == []
    resumed = noetl("run", "--resume", newest(place), "--json", cwd=place)
    assert document(resumed)["status"] == "completed", document(resumed)["error"]
    assert in_clear(seen(place, killed, resumed)) == []
    assert in_clear(on_disk(place)) == []
