"""The code of a login is exchanged at a real OpenID provider, and the refresh token that it gives is used after that."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPConnection
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from tests.engine.conftest import Boot
from tests.engine.playbooks import playbook
from tests.engine.test_keychain import vault_of

BACK = "http://localhost/back"
PROVIDER = """
import sys
import oidc_provider_mock

with oidc_provider_mock.run_server_in_thread() as server:
    print(server.server_port, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def provider() -> Iterator[str]:
    """Its address. In a process of its own: it has threads, and warns of parts of its own."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([sys.executable, "-c", PROVIDER], text=True, **pipes) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield f"http://localhost:{int(process.stdout.readline())}"
        process.stdin.close()
        process.wait(10)


def logged_in(provider: str) -> str:
    """The code that a browser brings back after a login."""
    wanted = {"client_id": "me", "redirect_uri": BACK, "response_type": "code", "scope": "openid offline_access", "state": "x"}
    connection = HTTPConnection(urlsplit(provider).netloc)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    connection.request("POST", f"/oauth2/authorize?{urlencode(wanted)}", urlencode({"sub": "joe"}), form)
    response = connection.getresponse()
    response.read()
    location = response.headers["Location"]
    connection.close()
    return parse_qs(urlsplit(location).query)["code"][0]


async def test_a_login_at_a_provider_gives_tokens_for_good(boot: Boot, provider: str) -> None:
    bench = await boot()
    code = await asyncio.to_thread(logged_in, provider)
    client = {"token_url": f"{provider}/oauth2/token", "client_id": "me", "client_secret": "s3cr3t-of-me", "client_auth": "basic"}
    await vault_of(bench).put("login", "oauth2", {**client, "code": code, "redirect_uri": BACK})
    tool = {"kind": "http", "url": f"{provider}/userinfo", "auth": "login"}
    for _ in range(2):
        state = await bench.run(playbook(f"- {{step: start, tool: {json.dumps(tool)}}}"))
        assert state.status == "completed", state.error
        assert state.results["start"]["data"]["sub"] == "joe"
    info = await vault_of(bench).info("login")
    assert info is not None
    assert "refresh_token" in info.fields
    assert "code" not in info.fields
