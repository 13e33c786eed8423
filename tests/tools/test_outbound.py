"""Whom the node may call by HTTP: classes of addresses, names that resolve to them, redirects, and credentials that are for some hosts only."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from noetl.errors import SettingsError, ToolRefused
from noetl.settings import HttpSettings, Settings
from noetl.tools import http, script
from noetl.tools.outbound import Outbound, class_of, is_for
from noetl.tools.tool import Credential
from tests.tools.conftest import MakeContext

Call = Callable[..., Awaitable[dict[str, Any]]]
CLOSED = Settings(http=HttpSettings(("192.0.2.0/24",)))
"""Settings under which a node may not even call its own machine."""


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("8.8.8.8", None),
        ("2606:4700::1111", None),
        ("127.0.0.1", "loopback"),
        ("127.9.9.9", "loopback"),
        ("0.0.0.0", "loopback"),
        ("::", "loopback"),
        ("::1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("10.1.2.3", "private"),
        ("172.16.0.1", "private"),
        ("172.32.0.1", None),
        ("192.168.1.1", "private"),
        ("fd12::1", "private"),
        ("fec0::1", "private"),
        ("::ffff:10.0.0.1", "private"),
        ("2002:0a00:0001::", "private"),
        ("64:ff9b::10.0.0.1", "private"),
        ("64:ff9b::8.8.8.8", None),
        ("169.254.1.1", "link-local"),
        ("fe80::1", "link-local"),
        ("169.254.169.254", "cloud metadata"),
        ("::ffff:169.254.169.254", "cloud metadata"),
        ("64:ff9b::169.254.169.254", "cloud metadata"),
        ("169.254.170.2", "cloud metadata"),
        ("fd00:ec2::254", "cloud metadata"),
        ("100.100.100.200", "cloud metadata"),
        ("100.64.0.1", "reserved"),
        ("224.0.0.1", "multicast"),
        ("ff02::1", "multicast"),
        ("255.255.255.255", "private"),
    ],
)
def test_the_class_of_an_address(address: str, expected: str | None) -> None:
    assert class_of(ipaddress.ip_address(address)) == expected


@pytest.mark.parametrize(
    ("allow", "host", "address", "open_"),
    [
        ((), "example.org", "8.8.8.8", True),
        ((), "db", "10.0.0.1", False),
        (("private",), "db", "10.0.0.1", True),
        (("private",), "db", "127.0.0.1", False),
        (("private",), "meta", "fd00:ec2::254", False),
        (("link-local",), "meta", "169.254.169.254", False),
        (("169.254.169.254",), "meta", "169.254.169.254", True),
        (("10.0.0.0/8",), "db", "10.0.0.1", True),
        (("10.0.0.0/8",), "db", "::ffff:10.0.0.1", True),
        (("10.0.0.0/8",), "db", "192.168.0.1", False),
        (("db",), "db", "10.0.0.1", True),
        (("db",), "DB", "10.0.0.1", True),
        (("db",), "db.example", "10.0.0.1", False),
        (("*.corp.example",), "a.corp.example", "10.0.0.1", True),
        (("*.corp.example",), "corp.example", "10.0.0.1", False),
        (("loopback", " 10.0.0.1 "), "db", "10.0.0.1", True),
    ],
)
def test_a_setting_opens_what_it_names(allow: tuple[str, ...], host: str, address: str, open_: bool) -> None:
    outbound, found = Outbound(allow), ipaddress.ip_address(address)
    if open_:
        assert outbound.allowed(host, [found]) == [found]
    else:
        with pytest.raises(ToolRefused) as caught:
            outbound.allowed(host, [found])
        assert (caught.value.kind, caught.value.retryable) == ("refused", False)


def test_a_network_that_is_none_is_refused_at_the_start() -> None:
    with pytest.raises(SettingsError, match=r"http.allow: '10.0.0.0/33' is no network"):
        Outbound(["10.0.0.0/33"])


@pytest.mark.parametrize(
    ("host", "hosts", "expected"),
    [
        ("api.example", ["api.example"], True),
        ("API.example", ["api.example"], True),
        ("evil-api.example", ["api.example"], False),
        ("a.example", ["*.example"], True),
        ("example", ["*.example"], False),
        ("::1", ["[::1]"], True),
        ("b", ["a", "b"], True),
    ],
)
def test_a_host_is_one_of_those_or_below_one(host: str, hosts: list[str], expected: bool) -> None:
    assert is_for(host, hosts) is expected


class Server:
    """Shows what it was sent; `/to?where=…` sends elsewhere."""

    def __init__(self) -> None:
        self.port = 0
        self.seen: list[dict[str, str]] = []

    async def echo(self, request: web.Request) -> web.Response:
        self.seen.append({name.lower(): value for name, value in request.headers.items()})
        return web.Response(text="result = 1")

    async def to(self, request: web.Request) -> web.Response:
        return web.Response(status=int(request.query.get("status", "302")), headers={"Location": request.query["where"]})

    def at(self, host: str, path: str = "/echo") -> str:
        return f"http://{host}:{self.port}{path}"


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    app = web.Application()
    app.add_routes([web.route("*", "/echo", made.echo), web.route("*", "/to", made.to)])
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.port = runner.addresses[0][1]
    yield made
    await runner.cleanup()


@pytest.fixture
def dns(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What names resolve to, besides what they really do; the lookups are under `asked`."""
    names: dict[str, list[str]] = {"asked": []}
    real = socket.getaddrinfo

    def look(host: Any, port: Any, *args: Any, **more: Any) -> Any:
        if host not in names:
            return real(host, port, *args, **more)
        names["asked"].append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port)) for address in names[host]]

    monkeypatch.setattr(socket, "getaddrinfo", look)
    return names


@pytest.fixture
def call(make_context: MakeContext) -> Call:
    async def run(url: str, *, settings: Settings | None = None, context: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
        return await http.run(http.Input(url=url, **fields), make_context(settings=settings, **(context or {})))

    return run


@pytest.mark.parametrize(
    ("host", "says"),
    [
        (
            "127.0.0.1",
            "127.0.0.1 is a loopback address: not called from here unless http.allow (NOETL_HTTP_ALLOW) has the host, its network or 'loopback'",
        ),
        ("localhost", "localhost is 127.0.0.1, a loopback address"),
        ("10.0.0.1", "10.0.0.1 is a private address"),
        (
            "169.254.169.254",
            "169.254.169.254 is the address of cloud metadata: not called from here unless http.allow (NOETL_HTTP_ALLOW) has the host or its network",
        ),
        ("[::ffff:a00:1]", "::ffff:a00:1 is a private address"),
        ("inside.example", "inside.example is 10.0.0.7, a private address"),
        ("meta.example", "meta.example is 169.254.169.254, the address of cloud metadata"),
        ("0.0.0.0", "0.0.0.0 is a loopback address"),
    ],
)
async def test_what_is_inside_is_refused_before_anything_is_sent(call: Call, server: Server, dns: dict[str, list[str]], host: str, says: str) -> None:
    dns |= {"localhost": ["127.0.0.1"], "inside.example": ["10.0.0.7"], "meta.example": ["169.254.169.254"]}
    with pytest.raises(ToolRefused) as caught:
        await call(server.at(host), settings=CLOSED)
    assert caught.value.kind == "refused"
    assert says in caught.value.message
    assert caught.value.message.startswith(f"GET http://{host}:{server.port}/echo: ")
    assert server.seen == []


@pytest.mark.parametrize("host", ["2130706433", "127.1", "0x7f.1", "017700000001"])
async def test_other_spellings_of_an_address_lead_nowhere_inside(call: Call, server: Server, host: str) -> None:
    with pytest.raises(Exception, match=r"can't be called|loopback|not a valid|can't be resolved|failed"):
        await call(server.at(host), settings=CLOSED)
    assert server.seen == []


async def test_a_name_is_looked_up_once_and_what_was_checked_is_what_is_called(call: Call, server: Server, dns: dict[str, list[str]]) -> None:
    dns["shop.example"] = ["127.0.0.1"]
    assert (await call(server.at("shop.example")))["status"] == 200
    assert dns["asked"] == ["shop.example"]


async def test_of_several_addresses_only_the_open_ones_are_tried(call: Call, server: Server, dns: dict[str, list[str]]) -> None:
    dns["shop.example"] = ["10.255.255.1", "127.0.0.1", "169.254.169.254"]
    assert (await call(server.at("shop.example")))["status"] == 200


async def test_a_name_that_changes_to_an_address_inside_is_refused_at_the_next_lookup(call: Call, server: Server, dns: dict[str, list[str]]) -> None:
    dns["shop.example"] = ["127.0.0.1"]
    await call(server.at("shop.example"))
    dns["shop.example"] = ["10.0.0.7"]
    with pytest.raises(ToolRefused, match=r"shop.example is 10.0.0.7, a private address"):
        await call(f"http://shop.example:{server.port + 1}/echo")


@pytest.mark.parametrize("where", ["http://10.0.0.1/", "http://meta.example/", "http://[fd00::1]/"])
@pytest.mark.parametrize("status", [302, 307])
async def test_a_redirect_does_not_lead_inside(call: Call, server: Server, dns: dict[str, list[str]], where: str, status: int) -> None:
    dns["meta.example"] = ["169.254.169.254"]
    with pytest.raises(ToolRefused) as caught:
        await call(server.at("127.0.0.1", f"/to?status={status}&where={where}"))
    assert caught.value.kind == "refused"


async def test_headers_that_are_named_like_secrets_do_not_follow_a_redirect_to_another_host(call: Call, server: Server) -> None:
    headers = {"Authorization": "Bearer t", "X-Api-Key": "k", "Cookie": "session=1", "X-Trace": "kept"}
    where = server.at("localhost")
    await call(server.at("127.0.0.1", f"/to?status=307&where={where}"), headers=headers, method="POST")
    await call(server.at("127.0.0.1", "/to?where=/echo"), headers=headers)
    elsewhere, here = server.seen
    assert {"authorization", "x-api-key", "cookie"} & set(elsewhere) == set()
    assert {"x-trace", "idempotency-key"} <= set(elsewhere)
    assert {"authorization", "x-api-key", "cookie", "x-trace"} <= set(here)


@pytest.mark.parametrize(
    ("only", "path", "refused"),
    [
        ((("127.0.0.1",),), "/echo", False),
        ((("127.0.0.1", "localhost"),), "/to?where=LOCALHOST", False),
        ((("api.example",),), "/echo", True),
        ((("127.0.0.1",),), "/to?where=LOCALHOST", True),
        ((("127.0.0.1",), ("api.example",)), "/echo", True),
    ],
)
async def test_a_call_with_a_credential_for_some_hosts_goes_to_no_other(
    call: Call, server: Server, only: tuple[tuple[str, ...], ...], path: str, refused: bool
) -> None:
    context = {"credentials": {"": Credential("c", "bearer", {"token": "t"})}, "hosts": only}
    url = server.at("127.0.0.1", path.replace("LOCALHOST", server.at("localhost")))
    if refused:
        with pytest.raises(ToolRefused, match="a credential of this call is for ") as caught:
            await call(url, context=context)
        assert caught.value.kind == "refused"
        assert server.seen == []
    else:
        assert (await call(url, context=context))["status"] == 200


async def test_a_script_is_not_fetched_from_inside(make_context: MakeContext, server: Server) -> None:
    source = {"uri": server.at("127.0.0.1"), "source": {"type": "http"}}
    with pytest.raises(ToolRefused, match="is a loopback address"):
        await script.fetch(source, make_context(settings=CLOSED))
    assert (await script.fetch(source, make_context(settings=Settings(http=HttpSettings(("loopback",))))))[0] == "result = 1"
