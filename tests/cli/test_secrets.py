"""Secrets of the credentials file: `***` wherever a person can look, never in clear on the disk, and the real value for the steps."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from tests.cli.command import document, killed_at, newest, noetl, was_killed, write
from tests.cli.echo import echo_server

TOKEN = "t0k3n-ABC/def+42=="
PASSWORD = 'pä ss"wörd/+\\x&'
CREDENTIALS = [
    {"name": "api", "type": "bearer", "data": {"token": TOKEN}},
    {"name": "login", "type": "basic", "data": {"username": "joe", "password": PASSWORD}},
]
ENV = {"NOETL_CREDENTIALS": "credentials.json"}

LEAKY = """
    - step: start
      tool: {kind: http, url: "{{ workload.base }}/x", auth: api}
      set: {ctx.header: "{{ result.data.authorization }}", ctx.twice: "{{ (result.data.authorization ~ ' ') * 2 }}"}
      next: {arcs: [{step: login, args: {handed: "{{ ctx.header }}"}}]}
    - step: login
      tool: {kind: http, url: "{{ workload.base }}/y", auth: login}
      next: use
    - step: use
      args: {header: "{{ ctx.header }}", basic: "{{ login.data.authorization }}"}
      tool:
        kind: python
        code: |
          import base64, hashlib, json, sys, urllib.parse
          token = header.split()[1]
          password = base64.b64decode(basic.split()[1]).decode().partition(":")[2]
          print("token", token, "and password", password)
          print(json.dumps([password]), repr(password), urllib.parse.quote(password), urllib.parse.quote_plus(token), file=sys.stderr)
          print(token.encode().hex(), base64.b64encode(("xx" + token).encode()).decode())
          digests = [hashlib.sha256(text.encode()).hexdigest() for text in (token, password)]
          result = {"digests": digests, "both": [token, password], "by": {token: 1}}
      next: loop
    - step: loop
      loop: {in: "{{ use.both }}", iterator: secret}
      tool: {kind: noop, result: "{{ secret }}"}
      next: child
    - step: child
      tool: {kind: playbook, path: child, args: {secret: "{{ use.both[1] }}"}}
      next: guard
    - step: guard
      next: {arcs: [{step: url, when: "{{ ctx.header + 1 > 0 }}"}, {step: url}]}
    - step: url
      tool: {kind: http, url: "{{ workload.base }}/fail/{{ use.both[1] | urlencode }}?q={{ ctx.header }}", auth: api}
      next: {arcs: [{step: raising, when: "{{ event.name == 'step.failed' }}"}]}
    - step: raising
      args: {header: "{{ ctx.header }}"}
      tool: {kind: python, code: "raise ValueError('with ' + header)"}
      next: {arcs: [{step: refused, when: "{{ event.name == 'step.failed' }}"}]}
    - step: refused
      tool: {kind: noop, spec: {policy: {rules: [{else: {then: {do: fail, message: "no: {{ ctx.header }}"}}}]}}}
"""
CHILD = '- {step: start, tool: {kind: noop, result: "got {{ workload.secret }}"}}'


def in_clear(data: str | bytes) -> list[str]:
    """The forms of the secrets that are in what somebody can read."""
    content = data.encode() if isinstance(data, str) else data
    forms = {
        form
        for secret in (TOKEN, PASSWORD)
        for form in (
            secret,
            quote(secret),
            quote(secret, safe=""),
            quote_plus(secret),
            json.dumps(secret)[1:-1],
            json.dumps(secret, ensure_ascii=False)[1:-1],
            repr(secret)[1:-1],
            ascii(secret)[1:-1],
            repr(secret.encode())[2:-1],
            secret.encode().hex(),
            base64.b64encode(secret.encode()).decode(),
            base64.b64encode(f"joe:{secret}".encode()).decode(),
            base64.b64encode(f"xx{secret}".encode()).decode(),
        )
    }
    return [form for form in forms if form.encode() in content]


def seen(cwd: Path, *runs: subprocess.CompletedProcess[str]) -> str:
    """All that can be read of what has run: what was printed, and every command that looks at it."""
    text = "".join(run.stdout + run.stderr for run in runs)
    executions = {newest(cwd)}
    shown = noetl("executions", "show", *executions, cwd=cwd).stdout
    executions |= {line.split()[1] for line in shown.splitlines() if line.startswith("child ")}
    for execution in executions:
        for command in ("show", "events", "logs"):
            for options in ([], ["--json"]):
                looked = noetl("executions", command, execution, *options, cwd=cwd)
                assert looked.returncode == 0, looked.stderr
                text += looked.stdout
    return text + noetl("executions", "list", cwd=cwd).stdout


def on_disk(cwd: Path) -> bytes:
    return b"\n".join(path.read_bytes() for path in (cwd / ".noetl").rglob("*") if path.is_file())


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder with the playbooks, the credentials, and a server that echoes them."""
    with echo_server() as base:
        (tmp_path / "credentials.json").write_text(json.dumps(CREDENTIALS))
        write(tmp_path, CHILD, name="child")
        write(tmp_path, LEAKY, head=f"workload: {{base: '{base}'}}")
        yield tmp_path


def check(report: dict[str, object], cwd: Path, *runs: subprocess.CompletedProcess[str]) -> None:
    """Everything ran with the real values, and nobody can read them."""
    assert report["steps"]["use"]["result"]["digests"] == [hashlib.sha256(secret.encode()).hexdigest() for secret in (TOKEN, PASSWORD)]  # type: ignore[index]
    text = seen(cwd, *runs)
    assert in_clear(text) == []
    assert in_clear(on_disk(cwd)) == []
    for words in (
        "Bearer ***",
        "token *** and password ***",
        '["***"]',
        "fail/***?q=Bearer",
        "ValueError: with Bearer ***",
        "no: Bearer ***",
        "got ***",
    ):
        assert words in text


def test_no_secret_can_be_read_anywhere_and_every_step_has_it(place: Path) -> None:
    run = noetl("run", "test.yaml", "--json", cwd=place, env=ENV)
    plain = noetl("run", "test.yaml", "-v", cwd=place, env=ENV)
    assert (run.returncode, plain.returncode) == (1, 1)
    assert "failed    url" in plain.stdout
    check(document(run), place, run, plain)


@pytest.mark.parametrize("append", [3, 5, 8, 12])
def test_after_a_kill_and_a_resume_the_values_are_real_and_still_unseen(place: Path, append: int) -> None:
    killed = killed_at(append, "after", "run", "test.yaml", cwd=place, env=ENV)
    assert was_killed(killed), killed.stdout
    assert in_clear(on_disk(place)) == []
    resumed = noetl("run", "--resume", newest(place), "--json", cwd=place, env=ENV)
    check(document(resumed), place, killed, resumed)


def test_another_key_does_not_open_what_was_sealed(place: Path) -> None:
    was_killed(killed_at(4, "after", "run", "test.yaml", cwd=place, env=ENV))
    (place / ".noetl" / "vault.key").write_bytes(b"k" * 32)
    resumed = noetl("run", "--resume", newest(place), cwd=place, env=ENV)
    assert resumed.returncode == 1
    assert "a sealed value can't be opened: the vault's key is not the one that it was sealed with" in resumed.stderr


def test_the_key_is_for_its_owner_only(place: Path) -> None:
    noetl("run", "test.yaml", cwd=place, env=ENV)
    assert (place / ".noetl" / "vault.key").stat().st_mode & 0o777 == 0o600


LARGE = """
    - step: start
      tool: {kind: http, url: "{{ workload.base }}/x", auth: api}
      set: {ctx.large: "{{ result.data.authorization.ljust(70000) }}"}
      next: use
    - step: use
      args: {large: "{{ ctx.large }}"}
      tool: {kind: python, code: "result = {'text': large * 2, 'length': len(large.strip())}"}
"""


def test_a_large_value_with_a_secret_lies_nowhere_in_clear(place: Path) -> None:
    base = (place / "test.yaml").read_text().partition("'")[2].partition("'")[0]
    write(place, LARGE, head=f"workload: {{base: '{base}'}}")
    run = noetl("run", "test.yaml", "--json", cwd=place, env=ENV)
    assert document(run)["status"] == "completed", run.stderr
    assert document(run)["steps"]["use"]["result"]["length"] == len(f"Bearer {TOKEN}")
    assert in_clear(seen(place, run)) == []
    assert in_clear(on_disk(place)) == []


def test_an_unknown_credential_is_named_and_no_other(place: Path) -> None:
    write(place, "- {step: start, tool: {kind: http, url: 'http://localhost:1', auth: apii}}")
    run = noetl("run", "test.yaml", cwd=place, env=ENV)
    assert "there is no credential 'apii': add it to the vault, or to the file that NOETL_CREDENTIALS names" in run.stdout
    assert in_clear(run.stdout + run.stderr) == []


@pytest.mark.parametrize(
    "data",
    [
        {"dsn": "postgres://joe:hunter-22%21@127.0.0.1:1/db"},
        {"host": "127.0.0.1", "port": 1, "user": "joe", "password": "hunter-22!", "database": "db"},
    ],
    ids=["dsn", "fields"],
)
def test_a_database_that_does_not_answer_is_named_without_its_password(place: Path, data: dict[str, object]) -> None:
    (place / "credentials.json").write_text(json.dumps([{"name": "db", "type": "postgres", "data": data}]))
    write(place, "- {step: start, tool: {kind: postgres, auth: db, command: select 1}}")
    run = noetl("run", "test.yaml", "--json", cwd=place, env=ENV)
    assert document(run)["error"]["kind"] == "connection"
    for readable in (seen(place, run).encode(), on_disk(place)):
        assert b"hunter-22" not in readable
