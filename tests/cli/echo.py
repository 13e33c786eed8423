"""An HTTP server that sends back what it was sent, headers and all."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs


class Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """`/fail…` answers 500."""
        answer = {"authorization": self.headers.get("Authorization"), "path": self.path, "headers": dict(self.headers)}
        self._answer(500 if self.path.startswith("/fail") else 200, answer)

    def do_POST(self) -> None:
        """`/token` gives the token that the form asks for; `/refuse` refuses, with all that it was sent in its words."""
        body = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
        if self.path == "/token":
            self._answer(200, {"access_token": parse_qs(body)["audience"][0], "expires_in": 3600})
        elif self.path == "/refuse":
            self._answer(400, {"error": "invalid_client", "error_description": f"what is {body}, or {parse_qs(body)}?"})
        else:
            self._answer(200, {"body": body, "headers": dict(self.headers)})

    def _answer(self, status: int, answer: object) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Not on the terminal."""


@contextmanager
def echo_server() -> Iterator[str]:
    """Its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
