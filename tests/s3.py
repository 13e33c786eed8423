"""A server that speaks S3, on a free port of the loopback: moto's, in threads of this process."""

from __future__ import annotations

import logging
import re
import urllib.request
from typing import Self

from moto.server import ThreadedMotoServer


class S3:
    """`with S3() as s3:`. `environment` is what its clients find it by."""

    def __init__(self) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)

    def __enter__(self) -> Self:
        self._server.start()
        host, port = self._server.get_host_and_port()
        self.url = f"http://{host}:{port}"
        self.environment = {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "tests",
            "AWS_SECRET_ACCESS_KEY": "tests",
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
        }
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._server.stop()

    def bucket(self, name: str) -> str:
        """Make one; its URL."""
        name = f"b-{re.sub('[^a-z0-9]+', '-', name.lower()).strip('-')}"[:60]
        urllib.request.urlopen(urllib.request.Request(f"{self.url}/{name}", method="PUT")).close()
        return f"s3://{name}/artifacts"
