"""The http tool against a real server that does what servers do: answer, redirect, compress, stall, break."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import gzip
import json
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from noetl import __version__
from noetl.errors import ToolError, ToolRefused, ToolTimeout
from noetl.settings import Settings, ValueLimits
from noetl.tools import http as tool
from noetl.tools.http_reply import retry_after_s
from noetl.tools.http_request import Timeout, safe_url
from noetl.tools.tool import Credential
from noetl.values import encode
from tests.tools.conftest import MakeContext

Run = Callable[..., Awaitable[dict[str, Any]]]

NOW = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)


class Server:
    """A real server on a free port. `calls` are the requests of `/echo` as they came; `gone` is set when a client left a stalled one."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.stalled = asyncio.Event()
        self.gone = asyncio.Event()
        self.replies: list[web.Response] = []
        self.url = ""

    async def echo(self, request: web.Request) -> web.Response:
        """What came, as JSON."""
        call = {
            "method": request.method,
            "path": request.path,
            "query": [list(pair) for pair in request.query.items()],
            "headers": dict(request.headers),
            "body": (await request.read()).decode(),
        }
        self.calls.append(call)
        return web.json_response(call)

    async def reply(self, request: web.Request) -> web.Response:
        """The next of the replies that the test has laid down."""
        return self.replies.pop(0)

    async def stall(self, request: web.Request) -> web.StreamResponse:
        """Says nothing, or with `?after=n` nothing more after n bytes, until the client goes away."""
        response = web.StreamResponse(headers={"Content-Length": "1000000"})
        if "after" in request.query:
            await response.prepare(request)
            await response.write(b"x" * int(request.query["after"]))
        self.stalled.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.gone.set()
        return response

    async def endless(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65_536)

    async def break_off(self, request: web.Request) -> web.StreamResponse:
        """Closes the connection: at once, or with `?after=n` after n bytes of a longer body."""
        assert request.transport is not None
        if "after" in request.query:
            response = web.StreamResponse(headers={"Content-Length": "1000"})
            await response.prepare(request)
            await response.write(b"x" * int(request.query["after"]))
        request.transport.close()
        return web.Response()

    async def redirect(self, request: web.Request) -> web.Response:
        return web.Response(status=int(request.query.get("status", "302")), headers={"Location": request.query["to"]})

    async def circle(self, request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "/circle"})

    async def chunked(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        for piece in (b'{"a": ', b"[1, 2", b"]}"):
            await response.write(piece)
        return response


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    app = web.Application(client_max_size=2**24)
    app.add_routes(
        [
            web.route("*", f"/{name}", getattr(made, name))
            for name in ("echo", "reply", "stall", "endless", "break_off", "redirect", "circle", "chunked")
        ]
    )
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


@pytest.fixture
def run(make_context: MakeContext, server: Server) -> Run:
    """`await run("/echo", method="POST")`: a call of the tool; a path alone is on the test's server."""

    async def call(url: str, *, context: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
        whole = server.url + url if url.startswith("/") else url
        result = await tool.run(tool.Input(url=whole, **fields), make_context(**(context or {})))
        encode(result)  # every result must be a value
        return result

    return call


def sent(result: dict[str, Any], header: str) -> list[str]:
    """The values of a header that `/echo` has seen."""
    return [value for name, value in result["data"]["headers"].items() if name.lower() == header.lower()]


# What is sent


async def test_a_result_has_status_headers_body_address_and_time(run: Run, server: Server) -> None:
    server.replies.append(web.json_response({"paging": {"hasMore": False}}, headers={"X-Request-Id": "abc"}))
    result = await run("/reply")
    assert list(result) == ["status", "status_code", "headers", "data", "body", "url", "elapsed"]
    assert (result["status"], result["status_code"], result["url"]) == (200, 200, f"{server.url}/reply")
    assert result["data"] is result["body"]
    assert result["data"] == {"paging": {"hasMore": False}}
    assert result["headers"]["x-request-id"] == "abc"
    assert result["elapsed"] >= 0


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "get", "Query"])
async def test_every_method_can_be_sent_in_any_case(run: Run, method: str) -> None:
    assert (await run("/echo", method=method))["data"]["method"] == method.upper()


async def test_head_gives_headers_without_a_body(run: Run) -> None:
    result = await run("/echo", method="HEAD")
    assert (result["status"], result["data"], result["headers"]["content-type"]) == (200, "", "application/json; charset=utf-8")


@pytest.mark.parametrize(
    ("params", "query"),
    [
        ({"a": 1, "b": "x y&z", "gone": None}, [["a", "1"], ["b", "x y&z"]]),
        ({"yes": True, "no": False}, [["yes", "true"], ["no", "false"]]),
        ({"id": [1, 2, None], "f": 1.5}, [["id", "1"], ["id", "2"], ["f", "1.5"]]),
        ({"filter": {"a": [1]}}, [["filter", '{"a": [1]}']]),
        ('{"a": 1}', [["a", "1"]]),
        ("", []),
        (None, []),
    ],
)
async def test_params_become_the_query(run: Run, params: Any, query: list[list[str]]) -> None:
    assert (await run("/echo", params=params))["data"]["query"] == query


async def test_params_are_added_to_the_query_of_the_address(run: Run) -> None:
    assert (await run("/echo?sig=a%2Fb%3D&a=0", params={"a": 1}))["data"]["query"] == [["sig", "a/b="], ["a", "0"], ["a", "1"]]


@pytest.mark.parametrize(
    ("fields", "content_type", "body"),
    [
        ({"json": {"a": [1, None, "ä"]}}, "application/json", '{"a": [1, null, "ä"]}'),
        ({"payload": [1]}, "application/json", "[1]"),
        ({"body": {"a": 1}}, "application/json", '{"a": 1}'),
        ({"data": {"a": True}}, "application/json", '{"a": true}'),
        ({"json": '{"a": 1}'}, "application/json", '{"a": 1}'),
        ({"json": False}, "application/json", "false"),
        ({"body": "plain ä"}, "text/plain; charset=utf-8", "plain ä"),
        ({"data": "a=1"}, "text/plain; charset=utf-8", "a=1"),
        ({"form": {"a": "x y", "b": [1, 2], "c": None}}, "application/x-www-form-urlencoded", "a=x+y&b=1&b=2"),
        ({"form": "a=1&b=2"}, "application/x-www-form-urlencoded", "a=1&b=2"),
        ({"data": {"a": 1}, "headers": {"content-type": "application/x-www-form-urlencoded"}}, "application/x-www-form-urlencoded", "a=1"),
        ({"body": {"a": 1}, "headers": {"Content-Type": "application/vnd.api+json"}}, "application/vnd.api+json", '{"a": 1}'),
        ({"body": "<a/>", "headers": {"Content-Type": "application/xml"}}, "application/xml", "<a/>"),
    ],
)
async def test_the_body_is_sent_as_its_field_and_type_say(run: Run, fields: dict[str, Any], content_type: str, body: str) -> None:
    result = await run("/echo", method="POST", **fields)
    assert (sent(result, "Content-Type"), result["data"]["body"]) == ([content_type], body)


async def test_headers_are_sent_as_text_and_null_ones_are_not(run: Run) -> None:
    headers = (await run("/echo", headers={"X-Count": 3, "X-Flag": True, "X-None": None}))["data"]["headers"]
    assert (headers["X-Count"], headers["X-Flag"], "X-None" in headers) == ("3", "true", False)


async def test_the_caller_names_itself_unless_the_author_does(run: Run) -> None:
    assert (await run("/echo"))["data"]["headers"]["User-Agent"] == f"noetl/{__version__}"
    assert sent(await run("/echo", headers={"user-agent": "mine"}), "User-Agent") == ["mine"]


@pytest.mark.parametrize(("method", "has"), [("POST", True), ("PUT", True), ("PATCH", True), ("DELETE", True), ("GET", False), ("HEAD", False)])
async def test_a_call_that_changes_something_carries_its_id_as_idempotency_key(run: Run, server: Server, method: str, *, has: bool) -> None:
    await run("/echo", method=method, context={"id": "7:pay:1:0:pay:2"})
    assert server.calls[0]["headers"].get("Idempotency-Key") == ("7:pay:1:0:pay:2" if has else None)


async def test_the_authors_idempotency_key_wins(run: Run) -> None:
    assert sent(await run("/echo", method="POST", headers={"idempotency-key": "mine"}), "Idempotency-Key") == ["mine"]


async def test_cookies_of_one_call_are_not_sent_by_another(run: Run, server: Server) -> None:
    server.replies.append(web.Response(headers={"Set-Cookie": "session=1; Path=/"}))
    named = server.url.replace("127.0.0.1", "localhost")  # no jar keeps cookies of bare addresses
    await run(f"{named}/reply")
    assert sent(await run(f"{named}/echo"), "Cookie") == []


async def test_calls_share_one_session_of_the_node(run: Run, make_context: MakeContext) -> None:
    await asyncio.gather(*(run("/echo") for _ in range(20)))
    session = await make_context().resources.get("http", tool.open_session)
    assert not session.closed
    await make_context().resources.close()
    assert session.closed


# What is refused


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"url": "example.org/x"}, "has no scheme"),
        ({"url": ""}, "has no scheme"),
        ({"url": "ftp://example.org"}, "scheme 'ftp'"),
        ({"url": "file:///etc/passwd"}, "scheme 'file'"),
        ({"url": "http://"}, "names no host"),
        ({"url": "http://h:port/"}, "not a valid address"),
        ({"url": "http://h", "params": "not json"}, "'params' must be a mapping"),
        ({"url": "http://h", "params": [1]}, "'params' must be a mapping"),
        ({"url": "http://h", "form": [1]}, "'form' must be a mapping"),
        ({"url": "http://h", "json": {}, "body": "x"}, "one body, not 2: json, body"),
        ({"url": "http://h", "method": "GO AWAY"}, "'method' must be a word"),
        ({"url": "http://h", "headers": {"A b": "1"}}, "not the name of a header"),
        ({"url": "http://h", "headers": {"A": "1\r\nB: 2"}}, "header 'A' has a line break"),
    ],
)
async def test_a_call_that_can_not_be_made_as_written_is_refused(run: Run, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ToolRefused, match=message) as caught:
        await run(**fields)
    assert (caught.value.kind, caught.value.retryable) == ("config", False)


# Replies


@pytest.mark.parametrize(
    ("raw", "content_type", "body"),
    [
        (b'{"a": 1}', "application/json", {"a": 1}),
        (b"5", "application/vnd.api+json", 5),
        (b'"x"', "application/json; charset=utf-8", "x"),
        (b" [1]", "text/plain", [1]),
        (b'{"a": 1}', "text/html", {"a": 1}),
        (b'{"a": 1}', None, {"a": 1}),
        (b"5", "text/plain", "5"),
        (b"{not json}", "text/plain", "{not json}"),
        (b"<broken", "application/json", "<broken"),
        (b"", "application/json", ""),
        (b'{"a": 1}\n{"a": 2}\n', "application/x-ndjson", '{"a": 1}\n{"a": 2}\n'),
        (b"\xef\xbb\xbf[1]", "application/json", [1]),
        ("grün".encode("latin-1"), "text/plain; charset=iso-8859-1", "grün"),
        ("grün".encode(), "text/plain", "grün"),
        ("grün".encode(), "text/plain; charset=martian", "grün"),
        ("grün".encode(), "application/octet-stream", "grün"),
        (b"a\xff", "text/csv", "a\ufffd"),
        (b"<svg/>", "image/svg+xml", "<svg/>"),
        (b'{"n": 123456789012345678901234567890}', "application/json", {"n": "123456789012345678901234567890"}),
        (b"[" * 5_000 + b"]" * 5_000, "application/json", "[" * 5_000 + "]" * 5_000),
    ],
)
async def test_a_body_is_json_or_text(run: Run, server: Server, raw: bytes, content_type: str | None, body: Any) -> None:
    server.replies.append(web.Response(body=raw, headers={"Content-Type": content_type} if content_type else None))
    result = await run("/reply")
    assert (result["data"], "encoding" in result) == (body, False)


@pytest.mark.parametrize(
    ("raw", "content_type"),
    [(b"\x89PNG\r\n", "image/png"), (b"\x00\x01", "application/octet-stream"), (b"\xff\xfe\xfd", "application/pdf"), (b"abc", "audio/wav")],
)
async def test_a_binary_body_is_base64_text(run: Run, server: Server, raw: bytes, content_type: str) -> None:
    server.replies.append(web.Response(body=raw, headers={"Content-Type": content_type}))
    result = await run("/reply")
    assert (base64.b64decode(result["data"]), result["encoding"]) == (raw, "base64")


async def test_a_large_body_is_decoded_whole(run: Run, server: Server) -> None:
    rows = [{"n": number, "text": "x" * 50} for number in range(20_000)]
    server.replies.append(web.json_response(rows))
    assert (await run("/reply"))["data"] == rows


async def test_a_chunked_and_a_compressed_body_arrive_whole(run: Run, server: Server) -> None:
    assert (await run("/chunked"))["data"] == {"a": [1, 2]}
    server.replies.append(web.Response(body=gzip.compress(b'{"a": 1}'), headers={"Content-Encoding": "gzip", "Content-Type": "application/json"}))
    assert (await run("/reply"))["data"] == {"a": 1}


async def test_headers_have_lower_case_names_and_repeated_ones_are_joined(run: Run, server: Server) -> None:
    response = web.Response()
    response.headers.add("Link", "<a>; rel=next")
    response.headers.add("LINK", "<b>; rel=last")
    server.replies.append(response)
    headers = (await run("/reply"))["headers"]
    assert headers["link"] == "<a>; rel=next, <b>; rel=last"
    assert all(name == name.lower() for name in headers)


# Redirects


@pytest.mark.parametrize(("status", "method", "then"), [(302, "GET", "GET"), (303, "POST", "GET"), (307, "POST", "POST"), (308, "PUT", "PUT")])
async def test_redirects_are_followed(run: Run, server: Server, status: int, method: str, then: str) -> None:
    result = await run(f"/redirect?status={status}&to=/echo", method=method, **({"json": {"a": 1}} if then != "GET" else {}))
    assert (result["status"], result["data"]["method"], result["url"]) == (200, then, f"{server.url}/echo")
    assert result["data"]["body"] == ('{"a": 1}' if then != "GET" else "")


async def test_redirects_are_not_followed_when_the_author_says_so(run: Run) -> None:
    result = await run("/redirect?to=/echo", follow_redirects=False)
    assert (result["status"], result["headers"]["location"]) == (302, "/echo")


async def test_a_circle_of_redirects_ends(run: Run) -> None:
    with pytest.raises(ToolError, match="more than 10 redirects") as caught:
        await run("/circle")
    assert (caught.value.kind, caught.value.retryable) == ("connection", False)


async def test_a_redirect_to_something_else_than_http_is_an_error(run: Run) -> None:
    with pytest.raises(ToolError, match="redirected to an address that can't be called"):
        await run("/redirect?to=file:///etc/passwd")


@pytest.mark.parametrize("kind", ["bearer", "api_key"])
async def test_a_credential_does_not_follow_a_redirect_to_another_host(run: Run, server: Server, kind: str) -> None:
    credential = {"bearer": Credential("c", "bearer", {"token": "t"}), "api_key": Credential("c", "api_key", {"header": "X-Key", "value": "t"})}[kind]
    header = {"bearer": "Authorization", "api_key": "X-Key"}[kind]
    elsewhere = server.url.replace("127.0.0.1", "localhost")
    await run(f"/redirect?to={elsewhere}/echo", context={"credentials": {"": credential}})
    await run("/redirect?to=/echo", context={"credentials": {"": credential}})
    assert [header in call["headers"] for call in server.calls] == [False, True]


# Statuses


@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (400, "client_error", False),
        (401, "auth", False),
        (403, "auth", False),
        (404, "not_found", False),
        (409, "client_error", False),
        (422, "client_error", False),
        (429, "rate_limit", True),
        (500, "server_error", True),
        (503, "server_error", True),
    ],
)
async def test_a_status_from_400_is_an_error_that_keeps_the_result(run: Run, server: Server, status: int, kind: str, *, retryable: bool) -> None:
    server.replies.append(web.json_response({"why": "because"}, status=status, headers={"X-Id": "1"}))
    with pytest.raises(ToolError, match=rf"GET {server.url}/reply\?page=1 answered {status} ") as caught:
        await run("/reply?page=1")
    error = caught.value
    assert (error.kind, error.retryable, error.retry_after_s) == (kind, retryable, None)
    assert (error.result["status_code"], error.result["data"]) == (status, {"why": "because"})
    assert (error.extra["status"], error.extra["status_code"], error.extra["http"]["status"]) == (status, status, status)
    assert error.extra["http"]["headers"]["x-id"] == "1"


@pytest.mark.parametrize("status", [201, 204, 304, 399])
async def test_a_status_below_400_is_a_result(run: Run, server: Server, status: int) -> None:
    server.replies.append(web.Response(status=status))
    assert (await run("/reply"))["status"] == status


async def test_a_reply_may_say_when_to_come_again(run: Run, server: Server) -> None:
    server.replies.append(web.Response(status=429, headers={"Retry-After": "7"}))
    with pytest.raises(ToolError) as caught:
        await run("/reply")
    assert caught.value.retry_after_s == 7.0


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("120", 120.0),
        (" 0 ", 0.0),
        ("Thu, 01 Jan 2026 12:00:30 GMT", 30.0),
        ("Thu, 01 Jan 2026 11:00:00 GMT", 0.0),
        ("Thu, 01 Jan 2026 13:00:30 -0000", 3630.0),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str | None, seconds: float | None) -> None:
    assert retry_after_s(header, NOW) == seconds


# Failures to connect


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_a_server_that_is_not_there_is_a_connection_error(run: Run) -> None:
    url = f"http://127.0.0.1:{free_port()}/x"
    with pytest.raises(ToolError, match=f"GET {url}: connection refused") as caught:
        await run(url)
    assert (caught.value.kind, caught.value.retryable, caught.value.result) == ("connection", True, None)


async def test_a_host_that_does_not_exist_is_a_connection_error(run: Run) -> None:
    with pytest.raises(ToolError, match="name can't be resolved") as caught:
        await run("http://nowhere.invalid/x")
    assert (caught.value.kind, caught.value.retryable) == ("connection", True)


@pytest.mark.parametrize(("path", "reason"), [("/break_off", "without a reply"), ("/break_off?after=10", "in the middle of the reply")])
async def test_a_connection_that_breaks_is_a_connection_error(run: Run, path: str, reason: str) -> None:
    with pytest.raises(ToolError, match=reason) as caught:
        await run(path, method="POST")
    assert (caught.value.kind, caught.value.retryable) == ("connection", True)


async def talk(reply: bytes, tls: ssl.SSLContext | None = None) -> tuple[asyncio.Server, str]:
    """A server that says these bytes whatever it hears."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(reply)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    return server, f"{'https' if tls else 'http'}://localhost:{server.sockets[0].getsockname()[1]}"


async def test_a_reply_that_is_not_http_is_a_connection_error(run: Run) -> None:
    server, url = await talk(b"SSH-2.0-OpenSSH\r\n\r\n")
    async with server:
        with pytest.raises(ToolError, match="not HTTP") as caught:
            await run(url)
    assert caught.value.kind == "connection"


async def test_a_body_that_is_compressed_wrongly_is_a_connection_error(run: Run, server: Server) -> None:
    server.replies.append(web.Response(body=b"not gzip", headers={"Content-Encoding": "gzip"}))
    with pytest.raises(ToolError) as caught:
        await run("/reply")
    assert caught.value.kind == "connection"


async def test_a_plain_server_called_with_https_is_a_connection_error(run: Run, server: Server) -> None:
    with pytest.raises(ToolError, match="no secure connection") as caught:
        await run(server.url.replace("http:", "https:") + "/echo")
    assert (caught.value.kind, caught.value.retryable) == ("connection", False)


def self_signed(directory: Path) -> ssl.SSLContext:
    """A server's context with a certificate for localhost that nobody has reason to trust."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    today = dt.datetime.now(dt.UTC)
    unsigned = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), today, today + dt.timedelta(days=1))
    certificate = unsigned.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False).sign(key, hashes.SHA256())
    file = directory / "server.pem"
    plain_key = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(plain_key + certificate.public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


async def test_a_certificate_is_checked_unless_the_author_says_otherwise(run: Run, tmp_path: Path) -> None:
    server, url = await talk(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", self_signed(tmp_path))
    async with server:
        with pytest.raises(ToolError, match="certificate is not trusted; 'verify_ssl: false'") as caught:
            await run(url)
        assert (caught.value.kind, caught.value.retryable) == ("connection", False)
        assert (await run(url, verify_ssl=False))["data"] == "hi"


# Time-outs


async def test_a_call_that_takes_too_long_says_what_it_was_waiting_for(run: Run, server: Server) -> None:
    for path, phase in (("/stall", "waiting for the reply"), ("/stall?after=10", "reading the reply")):
        with pytest.raises(ToolTimeout, match=f"while {phase}") as caught:
            await run(path, timeout=0.05)
        assert (caught.value.kind, caught.value.retryable, caught.value.extra) == ("timeout", True, {"phase": phase})


async def test_the_tasks_own_timeout_bounds_the_call(run: Run) -> None:
    with pytest.raises(ToolTimeout, match="waiting for the reply"):
        await run("/stall", context={"timeout_s": 0.05})


async def test_a_read_timeout_bounds_the_silence_and_not_the_call(run: Run) -> None:
    for path, phase in (("/stall", "waiting for the reply"), ("/stall?after=10", "reading the reply")):
        with pytest.raises(ToolTimeout, match=phase):
            await run(path, timeout=Timeout(connect=5, read=0.05), context={"timeout_s": 0.001})


async def test_a_connect_timeout_bounds_the_connecting(run: Run) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        port = deaf.getsockname()[1]
        filler = [socket.socket() for _ in range(4)]  # the queue of those that wait to be accepted is full
        for client in filler:
            client.settimeout(0)
            client.connect_ex(("127.0.0.1", port))
        with pytest.raises(ToolTimeout, match="while connecting"):
            await run(f"http://127.0.0.1:{port}/", timeout=Timeout(connect=0.05, read=5))
        for client in filler:
            client.close()


async def test_a_cancelled_call_closes_its_connection(run: Run, server: Server) -> None:
    call = asyncio.ensure_future(run("/stall"))
    await server.stalled.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await server.gone.wait()


# Bounds


async def test_a_body_beyond_the_limit_is_not_read_to_its_end(run: Run) -> None:
    small = Settings(values=ValueLimits(result_max_bytes=100_000))
    with pytest.raises(ToolError, match="more than 100,000 bytes") as caught:
        await run("/endless", context={"settings": small})
    assert (caught.value.kind, caught.value.retryable) == ("limit", False)


async def test_the_limit_holds_for_what_a_compressed_body_unpacks_to(run: Run, server: Server) -> None:
    server.replies.append(web.Response(body=gzip.compress(b"x" * 10_000_000), headers={"Content-Encoding": "gzip"}))
    with pytest.raises(ToolError) as caught:
        await run("/reply", context={"settings": Settings(values=ValueLimits(result_max_bytes=100_000))})
    assert caught.value.kind == "limit"


# Credentials


@pytest.mark.parametrize(
    ("kind", "data", "header", "value"),
    [
        ("bearer", {"token": "t0ken"}, "Authorization", "Bearer t0ken"),
        ("oauth2", {"access_token": "t0ken", "token_url": "x"}, "Authorization", "Bearer t0ken"),
        ("basic", {"username": "ann", "password": "pä:ss"}, "Authorization", "Basic " + base64.b64encode("ann:pä:ss".encode()).decode()),
        ("api_key", {"header": "X-Secret", "value": "k"}, "X-Secret", "k"),
        ("api_key", {"value": "k"}, "X-API-Key", "k"),
    ],
)
async def test_a_credential_becomes_a_header(run: Run, kind: str, data: dict[str, Any], header: str, value: str) -> None:
    result = await run("/echo", context={"credentials": {"": Credential("c", kind, data)}})
    assert result["data"]["headers"][header] == value


async def test_a_header_of_the_author_wins_over_the_credential(run: Run) -> None:
    result = await run("/echo", headers={"authorization": "Bearer mine"}, context={"credentials": {"": Credential("c", "bearer", {"token": "t"})}})
    assert sent(result, "Authorization") == ["Bearer mine"]


async def test_a_login_in_the_address_is_sent_and_not_shown(run: Run, server: Server) -> None:
    result = await run(server.url.replace("//", "//ann:p%40ss@") + "/echo")
    assert sent(result, "Authorization") == ["Basic " + base64.b64encode(b"ann:p@ss").decode()]
    assert result["url"] == f"{server.url}/echo"
    with pytest.raises(ToolRefused, match="give one of them"):
        await run("http://ann:pw@h/", headers={"Authorization": "Bearer t"})


@pytest.mark.parametrize(
    ("credential", "kind", "message"),
    [
        (Credential("c", "oauth2", {"token_url": "x", "client_id": "y", "client_secret": "s3cret"}), "config", "has no 'access_token'"),
        (Credential("c", "postgres", {"password": "s3cret"}), "config", "of kind 'postgres': only bearer"),
        (Credential("c", "bearer", {"tokn": "s3cret"}), "config", "has no 'token'"),
        (Credential("c", "bearer", {"token": "s3cret\n"}), "config", "line break"),
    ],
)
async def test_a_credential_that_http_can_not_use_is_refused(run: Run, credential: Credential, kind: str, message: str) -> None:
    with pytest.raises(ToolRefused, match=message) as caught:
        await run("/echo", context={"credentials": {"": credential}})
    assert caught.value.kind == kind
    assert "s3cret" not in caught.value.message


async def test_two_credentials_for_one_call_are_refused(run: Run) -> None:
    credential = Credential("c", "bearer", {"token": "t"})
    with pytest.raises(ToolRefused, match="one credential"):
        await run("/echo", context={"credentials": {"a": credential, "b": credential}})


# Secrets


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://ann:pw@h:1/p?a=1&api_key=k&Token=t&X-Amz-Signature=s#frag", "https://h:1/p?a=1&api_key=***&Token=***&X-Amz-Signature=***"),
        ("https://h/p?client_secret=x&password=y&page=2", "https://h/p?client_secret=***&password=***&page=2"),
        ("https://h/p", "https://h/p"),
        ("http://ann:pw@[::1/p?token=t", "[::1/p"),
        ("no url at all", "no url at all"),
    ],
)
def test_an_address_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert safe_url(url) == shown


@given(
    secret=st.text(alphabet=st.characters(categories=("L", "N")), min_size=8, max_size=20),
    name=st.sampled_from(["token", "access_token", "apiKey", "client-secret", "PASSWORD", "sig", "X-Amz-Credential"]),
    user=st.booleans(),
)
@settings(max_examples=100)
def test_no_secret_of_an_address_is_ever_shown(secret: str, name: str, *, user: bool) -> None:
    login = f"ann:{secret}@" if user else ""
    assert secret not in safe_url(f"https://{login}h/p?page=1&{name}={secret}#{secret}")


async def test_no_error_shows_what_was_sent(run: Run, server: Server) -> None:
    port = free_port()
    server.replies += [web.Response(status=500), web.Response(status=302, headers={"Location": "http://ann:s3cret-4@[bad"})]
    secretive = {
        "headers": {"X-Custom": "s3cret-1"},
        "params": {"token": "s3cret-2"},
        "context": {"credentials": {"": Credential("c", "bearer", {"token": "s3cret-3"})}},
    }
    for url in (
        server.url.replace("//", "//ann:s3cret-4@") + "/reply",
        f"http://ann:s3cret-4@127.0.0.1:{port}/",
        server.url + "/break_off",
        server.url + "/reply",
    ):
        fields = secretive if "@127" not in url else {**secretive, "context": {}}
        with pytest.raises(ToolError) as caught:
            await run(url, **fields)
        assert "s3cret" not in caught.value.message
        assert "s3cret" not in json.dumps(caught.value.extra)


# Scripts


async def test_the_text_at_an_address_can_be_fetched(server: Server, make_context: MakeContext) -> None:
    server.replies += [web.Response(text='{"looks": "like json"}'), web.Response(status=404), web.Response(body=b"\x00\xff")]
    ctx = make_context()
    assert await tool.get_text(f"{server.url}/reply", {"X-A": "1"}, 5, ctx) == '{"looks": "like json"}'
    with pytest.raises(ToolError) as caught:
        await tool.get_text(f"{server.url}/reply", None, None, ctx)
    assert caught.value.kind == "not_found"
    with pytest.raises(ToolError, match="gave no text"):
        await tool.get_text(f"{server.url}/reply", None, None, ctx)
