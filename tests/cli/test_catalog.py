"""`noetl catalog`: what a node knows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cli.command import document, write
from tests.serving import Node


@pytest.fixture(scope="module")
def texts(node: Node) -> dict[int, str]:
    """Three versions of the playbook `sales/report`."""
    folder = node.folder / "sales"
    folder.mkdir()
    found: dict[int, str] = {}
    for version in (1, 2, 3):
        (folder / "add.sql").write_text(f"select {version}\n")
        name = write(folder, f"- step: start\n  tool: {{kind: duckdb, script: add.sql}}\n- {{step: v{version}}}", name="report")
        assert node.noetl("register", name, "--path", "sales/report", cwd=folder).stdout == f"sales/report  version {version}  new\n"
        found[version] = (folder / name).read_text()
    return found


def test_playbooks_are_listed_in_their_latest_version(node: Node, texts: dict[int, str]) -> None:
    lines = node.noetl("catalog", "list", "playbook").stdout.splitlines()
    assert [line for line in lines if re.fullmatch(r"sales/report  version 3  \d{4}-\d\d-\d\d \d\d:\d\d:\d\d  local", line)]
    found = document(node.noetl("catalog", "list", "playbook", "--json"))
    entry = next(entry for entry in found["entries"] if entry["path"] == "sales/report")
    assert (entry["version"], entry["resource_type"], found["next"]) == (3, "playbook", None)


def test_a_playbook_is_printed_as_it_was_registered(node: Node, texts: dict[int, str]) -> None:
    latest = node.noetl("catalog", "show", "playbook", "sales/report")
    assert latest.stdout == texts[3]
    assert re.match(r"sales/report  version 3  registered .* by local\nwith the file add.sql\n$", latest.stderr)
    assert node.noetl("catalog", "show", "playbook", "sales/report", "--version", "1").stdout == texts[1]
    assert document(node.noetl("catalog", "show", "playbook", "sales/report", "--json"))["files"] == {"add.sql": "select 3\n"}


@pytest.mark.parametrize(("versions", "old", "new"), [((), 2, 3), (("1",), 1, 3), (("1", "2"), 1, 2), (("3", "1"), 3, 1)])
def test_two_versions_are_compared_with_their_scripts(node: Node, texts: dict[int, str], versions: tuple[str, ...], old: int, new: int) -> None:
    found = node.noetl("catalog", "diff", "playbook", "sales/report", *versions)
    assert found.returncode == 0
    lines = found.stdout.splitlines()
    assert lines[:2] == [f"--- sales/report version {old}", f"+++ sales/report version {new}"]
    assert {f"-- {{step: v{old}}}", f"+- {{step: v{new}}}", f"-select {old}", f"+select {new}", f"+++ sales/report add.sql version {new}"} <= set(
        lines
    )


def test_what_is_not_there_is_said(node: Node, texts: dict[int, str]) -> None:
    for arguments, says in (
        (("show", "playbook", "sales/none"), "there is no playbook 'sales/none'"),
        (("show", "playbook", "sales/report", "--version", "9"), "in version 9"),
        (("diff", "playbook", "sales/report", "9"), "in version 9"),
        (("show", "tool", "pythn"), "there is no kind of tool 'pythn': did you mean 'python'?"),
        (("show", "tool", "zzz"), "`noetl catalog list tool` shows them"),
    ):
        found = node.noetl("catalog", *arguments)
        assert (found.returncode, found.stdout) == (2, "")
        assert says in found.stderr


def test_the_first_version_has_none_to_compare_with(node: Node, tmp_path: Path) -> None:
    node.noetl("register", write(tmp_path, "- {step: start}", name="single"), cwd=tmp_path)
    found = node.noetl("catalog", "diff", "playbook", "single")
    assert (found.returncode, found.stderr) == (2, "error: 'single' has no version before 1\n")


def test_tools_are_listed_and_shown_with_their_fields(node: Node) -> None:
    assert re.search(r"^python +Run Python code", node.noetl("catalog", "list", "tool").stdout, re.MULTILINE)
    assert "python" in {entry["kind"] for entry in document(node.noetl("catalog", "list", "tool", "--json"))["entries"]}
    shown = node.noetl("catalog", "show", "tool", "python").stdout
    assert re.search(r"^  code +Source text$", shown, re.MULTILINE)
    assert document(node.noetl("catalog", "show", "tool", "python", "--json"))["available"] is True
