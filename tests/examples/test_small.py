"""The small examples: each does what its comments say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from noetl.vault.vaults.file import read_credentials
from tests.cli.command import document
from tests.examples.facts import rows
from tests.examples.place import EXAMPLES, ROOT, Place, results
from tests.postgres import Postgres

PLAYBOOKS = sorted(str(file.relative_to(ROOT)) for file in EXAMPLES.rglob("*.yaml"))


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_every_playbook_is_valid_without_a_warning(place: Place, playbook: str) -> None:
    assert document(place.noetl("validate", playbook, "--json")) == {"valid": True, "errors": [], "warnings": []}


def test_the_readme_shows_the_hello_example_and_what_it_prints(place: Place) -> None:
    readme = (ROOT / "README.md").read_text()
    assert (EXAMPLES / "hello/hello.yaml").read_text() in readme
    shown = place.noetl("run", "examples/hello/hello.yaml")
    assert shown.stdout.split("completed\n", 1)[1].strip() == "Hello, Ada! Hello, Grace!"
    assert "completed\n\nHello, Ada! Hello, Grace!\n" in readme


def test_every_example_is_in_the_list_of_examples() -> None:
    text = (EXAMPLES / "README.md").read_text()
    missing = [playbook for playbook in PLAYBOOKS if playbook.removeprefix("examples/") not in text and Path(playbook).name != "service.yaml"]
    assert missing == []


def test_retry_tries_again_goes_on_without_and_handles_the_failure(place: Place) -> None:
    report = place.report("examples/retry/retry.yaml")
    assert {name: step["status"] for name, step in report["steps"].items()} == {
        "start": "completed",
        "choosy": "completed",
        "hopeless": "failed",
        "plan_b": "completed",
    }
    assert results(report)["plan_b"] == {
        "start": "worked at attempt 3",
        "choosy": "was left out: ValueError: invalid literal for int() with base 10: 'forty-two'",
        "hopeless": "gave up after 3 attempts: GET http://127.0.0.1:1/: connection refused",
    }


@pytest.mark.parametrize(("size", "pages"), [(400, 4), (1458, 1)])
def test_paging_fetches_every_page_once_and_stops_its_service(place: Place, size: int, pages: int) -> None:
    found = results(place.report("examples/paging/paging.yaml", "--set", f"page_size={size}"))
    airports = len(rows("airports"))
    assert found["check"] == {"airports": airports, "codes": airports, "calls": pages + 2 + 1, "refused": 2}
    assert found["service"]["ended_by"] == "request"


def test_sub_playbook_makes_one_invoice_for_each_order(place: Place) -> None:
    found = results(place.report("examples/sub_playbook/sub_playbook.yaml"))
    assert found["start"]["results"] == [
        {"customer": "Ada", "net": 370.0, "gross": 440.3},
        {"customer": "Grace", "net": 96, "gross": 114.24},
        {"customer": "Alan", "net": 500.0, "gross": 595.0},
    ]
    assert found["report"] == {"invoices": 3, "gross": 1149.54}


def test_the_child_runs_alone_too(place: Place) -> None:
    order = {"order": {"customer": "Ada", "items": [{"name": "gear", "price": 40, "count": 2}]}}
    found = results(place.report("examples/sub_playbook/invoice.yaml", "--payload", json.dumps(order)))
    assert found["total"] == {"customer": "Ada", "net": 80, "gross": 96.0}


@pytest.fixture
def login(postgres: Postgres, tmp_path: Path) -> dict[str, str]:
    """The example's credentials with a real server's address and login in them."""
    entries: list[dict[str, Any]] = json.loads((EXAMPLES / "credentials.example.json").read_text())
    filled = [entry | {"data": postgres.credential()} if entry["name"] == "pg_local" else entry for entry in entries]
    file = tmp_path / "credentials.json"
    file.write_text(json.dumps(filled))
    return {"NOETL_CREDENTIALS": str(file)}


def test_create_table_makes_the_table_and_adds_nobody_twice(place: Place, login: dict[str, str]) -> None:
    for _ in range(2):
        found = results(place.report("examples/postgres/create_table.yaml", env=login))
        names = [row["name"] for row in found["select_users"]["rows"]]
        assert names == ["Ada Lovelace", "Grace Hopper", "Robert'); DROP TABLE users; --"]


def test_create_table_without_credentials_says_what_to_do(place: Place) -> None:
    shown = place.noetl("run", "examples/postgres/create_table.yaml")
    assert shown.returncode == 1
    assert "there is no credential 'pg_local': add it to the vault, or to the file that NOETL_CREDENTIALS names" in shown.stdout


def test_the_example_of_credentials_can_be_read() -> None:
    records = read_credentials(EXAMPLES / "credentials.example.json")
    assert {name: record.kind for name, record in records.items()} == {"pg_local": "postgres", "some_api": "bearer"}
