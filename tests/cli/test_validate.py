"""`noetl validate`."""

from __future__ import annotations

import re
from pathlib import Path

from tests.cli.command import document, files, noetl, write

GOOD = "- {step: start, tool: {kind: noop}}"
LOST = GOOD + "\n- {step: lost, tool: {kind: noop}}"
BAD = "- {step: start, colour: red, tool: {kind: nop}, next: nowhere}"


def test_a_valid_playbook_has_status_0(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    checked = noetl("validate", "test.yaml", cwd=tmp_path)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "test.yaml: valid\n", "")
    assert document(noetl("validate", "test.yaml", "--json", cwd=tmp_path)) == {"valid": True, "errors": [], "warnings": []}
    assert files(tmp_path) == {"test.yaml"}


def test_warnings_are_shown_and_do_not_make_it_invalid(tmp_path: Path) -> None:
    write(tmp_path, LOST)
    checked = noetl("validate", "test.yaml", cwd=tmp_path)
    assert (checked.returncode, checked.stdout) == (0, "test.yaml: valid (1 warning)\n")
    assert re.match(r"test.yaml:7:\d+: warning: .*lost", checked.stderr)
    (warning,) = document(noetl("validate", "test.yaml", "--json", cwd=tmp_path))["warnings"]
    assert warning["line"] == 7


def test_all_errors_are_shown_and_the_status_is_1(tmp_path: Path) -> None:
    write(tmp_path, BAD)
    checked = noetl("validate", "test.yaml", cwd=tmp_path)
    assert (checked.returncode, checked.stdout) == (1, "test.yaml: 3 errors\n")
    assert len(re.findall(r"^test.yaml:6:\d+: error: ", checked.stderr, re.MULTILINE)) == 3
    assert "    hint: did you mean 'noop'?" in checked.stderr
    report = document(noetl("validate", "test.yaml", "--json", cwd=tmp_path))
    assert (report["valid"], len(report["errors"])) == (False, 3)
    assert all({"message", "line", "column", "path", "key"} <= set(error) for error in report["errors"])


def test_of_several_files_each_has_its_report(tmp_path: Path) -> None:
    names = [write(tmp_path, workflow, name=name) for name, workflow in (("good", GOOD), ("bad", BAD), ("lost", LOST))]
    checked = noetl("validate", *names, cwd=tmp_path)
    assert (checked.returncode, checked.stdout) == (1, "good.yaml: valid\nbad.yaml: 3 errors\nlost.yaml: valid (1 warning)\n")
    reports = document(noetl("validate", *names, "--json", cwd=tmp_path))
    assert [(report["file"], report["valid"]) for report in reports] == [("good.yaml", True), ("bad.yaml", False), ("lost.yaml", True)]


def test_older_spellings_are_warnings_when_asked_for(tmp_path: Path) -> None:
    write(tmp_path, "- {step: start, tool: {kind: noop}, next: [end]}\n- {step: end}")
    assert document(noetl("validate", "test.yaml", "--json", cwd=tmp_path))["warnings"] == []
    assert document(noetl("validate", "test.yaml", "--json", "--strict", cwd=tmp_path))["warnings"] != []


def test_a_file_that_is_no_text_is_an_error_with_a_line(tmp_path: Path) -> None:
    (tmp_path / "test.yaml").write_bytes(b"\xff\xfe")
    checked = noetl("validate", "test.yaml", "--json", cwd=tmp_path)
    assert checked.returncode == 1
    (error,) = document(checked)["errors"]
    assert (error["line"], "UTF-8" in error["message"]) == (1, True)


def test_bad_usage_has_status_2(tmp_path: Path) -> None:
    for arguments in ([], ["none.yaml"], ["."]):
        assert noetl("validate", *arguments, cwd=tmp_path).returncode == 2
