"""`noetl register`: files into the catalog of a node."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.command import document, noetl, write
from tests.serving import Node

STEP = "- {step: start, tool: {kind: noop, result: %s}}"


def test_a_playbook_is_new_then_unchanged_then_a_new_version(node: Node, tmp_path: Path) -> None:
    write(tmp_path, STEP % 1, name="counted")
    assert node.noetl("register", "counted.yaml", cwd=tmp_path).stdout == "counted  version 1  new\n"
    assert node.noetl("register", "counted.yaml", cwd=tmp_path).stdout == "counted  version 1  unchanged\n"
    write(tmp_path, STEP % 2, name="counted")
    found = document(node.noetl("register", "counted.yaml", "--json", cwd=tmp_path))
    assert (found["path"], found["version"], found["new"], found["warnings"]) == ("counted", 2, True, [])


def test_it_may_go_elsewhere_with_labels(node: Node, tmp_path: Path) -> None:
    write(tmp_path, STEP % 1)
    assert node.noetl("register", "test.yaml", "--path", "risk/score", "--label", "team=a=b", cwd=tmp_path).stdout == "risk/score  version 1  new\n"
    assert document(node.noetl("catalog", "show", "playbook", "risk/score", "--json"))["labels"] == {"team": "a=b"}
    assert "must be NAME=VALUE" in node.noetl("register", "test.yaml", "--label", "team", cwd=tmp_path).stderr


def test_errors_are_shown_as_validate_shows_them(node: Node, tmp_path: Path) -> None:
    write(tmp_path, "- {step: start, tool: {kind: pyton}}\n- {step: lost, tool: {kind: noop}, next: [nowhere]}")
    refused = node.noetl("register", "test.yaml", cwd=tmp_path)
    checked = noetl("validate", "test.yaml", cwd=tmp_path)
    assert (refused.returncode, refused.stdout, refused.stderr) == (2, "", checked.stderr)
    assert "test.yaml:6:30: error: unknown tool kind 'pyton'\n    hint: did you mean 'python'?\n" in refused.stderr


def test_a_directory_is_registered_whole_and_what_is_no_playbook_is_said(node: Node, tmp_path: Path) -> None:
    inner = tmp_path / "all" / "inner"
    (inner / ".hidden").mkdir(parents=True)
    write(tmp_path / "all", STEP % 1, name="first")
    write(inner, STEP % 1, name="second")
    write(inner, "- {step: start, tool: {kind: nope}}", name="wrong")
    write(inner / ".hidden", STEP % 1, name="hidden")
    (inner / "compose.yml").write_text("services: {}\n")
    (inner / "broken.yaml").write_text("kind: Playbook\nworkflow: [\n")
    found = node.noetl("register", "all", cwd=tmp_path)
    assert found.returncode == 2, "two of them were rejected"
    assert found.stdout == "first  version 1  new\nsecond  version 1  new\n"
    assert "all/inner/compose.yml: skipped: no playbook\n" in found.stderr
    assert "all/inner/broken.yaml:3:1: error: YAML:" in found.stderr
    assert "all/inner/wrong.yaml:6:30: error: unknown tool kind 'nope'" in found.stderr
    as_json = node.noetl("register", "all", "--json", cwd=tmp_path)
    assert [(each["path"], each["new"]) for each in json.loads(as_json.stdout)] == [("first", False), ("second", False)]


def test_a_directory_without_playbooks_is_an_error(node: Node, tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text("services: {}\n")
    found = node.noetl("register", ".", cwd=tmp_path)
    assert (found.returncode, found.stderr) == (2, "compose.yaml: skipped: no playbook\nerror: there is no playbook below .\n")


def test_scripts_that_are_named_as_files_are_sent_along(node: Node, tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "clean.py").write_text("result = 'cleaned {{ not a template }}'\n")
    write(tmp_path, "- {step: start, tool: {kind: python, script: {uri: scripts/clean.py, source: {type: file}}}}", name="scripted")
    assert node.noetl("register", "scripted.yaml", cwd=tmp_path).stdout == "scripted  version 1  new\n"
    (tmp_path / "scripts" / "clean.py").unlink()
    report = document(node.noetl("execute", "playbook", "scripted", "--wait", "--json"))
    assert report["steps"]["start"]["result"] == "cleaned {{ not a template }}"
    assert "with the file scripts/clean.py" in node.noetl("catalog", "show", "playbook", "scripted").stderr


def test_a_script_that_is_not_there_is_a_warning(node: Node, tmp_path: Path) -> None:
    write(tmp_path, "- {step: start, tool: {kind: python, script: {uri: gone.py}}}", name="unscripted")
    found = node.noetl("register", "unscripted.yaml", cwd=tmp_path)
    assert (found.returncode, found.stdout) == (0, "unscripted  version 1  new\n")
    assert f"unscripted.yaml: warning: script gone.py was not found; looked for {tmp_path}/gone.py" in found.stderr


def test_what_can_not_be_read_is_said_before_anything_is_sent(node: Node, tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"kind: Playbook\nname: caf\xe9\n")
    found = node.noetl("register", "latin.yaml", cwd=tmp_path)
    assert (found.returncode, found.stdout) == (2, "")
    assert "latin.yaml:1:1: error: not UTF-8 text" in found.stderr
    missing = node.noetl("register", "missing.yaml", cwd=tmp_path)
    assert (missing.returncode, "'missing.yaml' does not exist" in missing.stderr) == (2, True)
    assert "--path is for one file" in node.noetl("register", ".", "--path", "a", cwd=tmp_path).stderr


def test_a_schema_has_a_name_and_versions(node: Node, tmp_path: Path) -> None:
    (tmp_path / "order.json").write_text('{"type": "object"}')
    (tmp_path / "list.json").write_text("[]")
    assert node.noetl("register", "order.json", "--schema", "demo/order", cwd=tmp_path).stdout == "demo/order  version 1  new\n"
    assert node.noetl("register", "order.json", "--schema", "demo/order", cwd=tmp_path).stdout == "demo/order  version 1  unchanged\n"
    assert node.noetl("catalog", "list", "schema").stdout.startswith("demo/order  version 1")
    assert json.loads(node.noetl("catalog", "show", "schema", "demo/order").stdout) == {"type": "object"}
    wrong = node.noetl("register", "list.json", "--schema", "demo/order", cwd=tmp_path)
    assert wrong.returncode == 2
    assert "list.json is no JSON object" in wrong.stderr
