"""`noetl store backup`: the store at one moment, while others write to it."""

from __future__ import annotations

import stat
from pathlib import Path

from tests.cli.command import document, files, newest, noetl, write
from tests.serving import Node


def test_a_backup_is_a_store_of_its_own(tmp_path: Path) -> None:
    write(tmp_path, "- {step: start, tool: {kind: noop, result: 7}}")
    noetl("run", "test.yaml", cwd=tmp_path)
    identifier = newest(tmp_path)
    before = files(tmp_path)
    made = noetl("store", "backup", "copy.db", cwd=tmp_path)
    assert (made.returncode, made.stderr) == (0, "")
    assert files(tmp_path) - before == {"copy.db"}
    assert stat.S_IMODE((tmp_path / "copy.db").stat().st_mode) == 0o600
    report = document(noetl("executions", "show", identifier, "--store", "copy.db", "--json", cwd=tmp_path))
    assert report["steps"]["start"]["result"] == 7


def test_a_file_that_is_there_is_never_overwritten(tmp_path: Path) -> None:
    write(tmp_path, "- {step: start}")
    noetl("run", "test.yaml", cwd=tmp_path)
    (tmp_path / "copy.db").write_text("precious")
    refused = noetl("store", "backup", "copy.db", cwd=tmp_path)
    assert (refused.returncode, refused.stderr) == (2, "error: copy.db is there already: name another file\n")
    assert (tmp_path / "copy.db").read_text() == "precious"


def test_a_node_goes_on_meanwhile(node: Node) -> None:
    node.noetl("register", "tests/fixtures/playbooks/hello_world/hello_world.yaml")
    first = document(node.noetl("execute", "playbook", "tests/fixtures/playbooks/hello_world", "--wait", "--json"))
    assert noetl("store", "backup", "copy.db", cwd=node.folder).returncode == 0
    assert document(node.noetl("execute", "playbook", "tests/fixtures/playbooks/hello_world", "--wait", "--json"))["status"] == "completed"
    kept = document(noetl("executions", "list", "--store", "copy.db", "--json", cwd=node.folder))
    assert [execution["execution_id"] for execution in kept] == [first["execution_id"]]


def test_what_can_not_be_copied_is_said(tmp_path: Path) -> None:
    nothing = noetl("store", "backup", "copy.db", cwd=tmp_path)
    assert (nothing.returncode, "nothing was run here yet" in nothing.stderr) == (2, True)
    (tmp_path / ".noetl").mkdir()
    (tmp_path / ".noetl" / "noetl.db").write_text("no database, but a text that is long enough to be looked at" * 20)
    broken = noetl("store", "backup", "copy.db", cwd=tmp_path)
    assert (broken.returncode, "error: the store can't be copied to copy.db: file is not a database" in broken.stderr) == (1, True)
    nowhere = noetl("store", "backup", "none/copy.db", cwd=tmp_path)
    assert (nowhere.returncode, "No such file or directory" in nowhere.stderr) == (1, True)
    assert files(tmp_path) == {".noetl", ".noetl/noetl.db"}
