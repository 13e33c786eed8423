"""The OpenAPI document against the server: whatever is sent, no answer is a bug, and none is undocumented."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from noetl.api.app import ROUTES
from noetl.api.openapi import document
from tests.api.conftest import HELLO
from tests.servers import Server, server

EXAMPLES = int(os.environ.get("NOETL_TEST_EXAMPLES", "20"))
SCHEMA = schemathesis.openapi.from_dict(document(ROUTES))
CHECKS = (not_a_server_error, status_code_conformance, content_type_conformance, response_headers_conformance, response_schema_conformance)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    import requests

    home = tmp_path_factory.mktemp("schema") / "home"
    with server(home) as started:
        assert requests.post(f"{started.url}/api/catalog/register", json={"content": HELLO}, timeout=10).status_code == 201
        assert requests.post(f"{started.url}/api/execute?wait=10", json={"path": "demo/hello"}, timeout=20).status_code == 200
        yield started


@SCHEMA.parametrize()
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_answer_is_documented_and_none_is_a_bug(case: schemathesis.Case, running: Server) -> None:
    case.call_and_validate(base_url=running.url, checks=CHECKS, timeout=20)
    assert running.process.poll() is None


def test_the_document_is_valid_openapi(tmp_path: Path) -> None:
    SCHEMA.validate()
    for path, methods in SCHEMA.raw_schema["paths"].items():
        for operation in methods.values():
            assert operation["operationId"], path
