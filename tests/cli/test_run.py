"""`noetl run`: what it prints, what it returns, what it leaves behind."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from noetl import __version__
from noetl.cli.main import COMMANDS
from tests.cli.command import document, ended, files, listed, noetl, start, write

HELLO = '- {step: start, tool: {kind: noop, result: "hello {{ workload.who }}"}}'
FAILING = """
    - {step: start, tool: {kind: noop, result: 1}, next: bad}
    - {step: bad, tool: {kind: python, code: "print('out'); 1/0"}}
"""


def test_a_run_prints_its_id_then_each_step_then_how_it_ended_and_its_result(tmp_path: Path) -> None:
    write(tmp_path, HELLO, head="workload: {who: world}")
    run = noetl("run", "test.yaml", cwd=tmp_path)
    assert run.returncode == 0
    assert run.stderr == ""
    identifier = listed(tmp_path)[0]["execution_id"]
    assert re.fullmatch(rf"execution {identifier} test\ncompleted start  \d+\.\d\d s\ncompleted\n\nhello world\n", run.stdout)


def test_a_result_that_is_no_text_is_printed_as_json_and_cut_where_it_fills_the_screen(tmp_path: Path) -> None:
    write(tmp_path, '- {step: start, tool: {kind: noop, result: {long: "{{ \'x\'.ljust(300) }}", list: "{{ range(100) | list }}"}}}')
    lines = noetl("run", "test.yaml", cwd=tmp_path).stdout.partition("completed\n\n")[2].splitlines()
    assert lines[0] == "{"
    assert max(map(len, lines)) == 200
    assert lines[-1] == "… (65 more lines; --json shows all)"
    assert len(lines) == 41


def test_a_run_that_fails_says_where_and_why_and_how_to_go_on(tmp_path: Path) -> None:
    write(tmp_path, FAILING)
    run = noetl("run", "test.yaml", cwd=tmp_path)
    assert run.returncode == 1
    identifier = listed(tmp_path)[0]["execution_id"]
    assert re.search(r"^failed    bad  \d+\.\d\d s: ZeroDivisionError: division by zero$", run.stdout, re.MULTILINE)
    assert run.stdout.endswith("failed at step 'bad': ZeroDivisionError: division by zero\n")
    assert run.stderr == f"[bad] out\nretry the failed steps: noetl run --resume {identifier}\n"


def test_with_json_there_is_exactly_one_object_on_standard_output(tmp_path: Path) -> None:
    write(tmp_path, FAILING)
    run = noetl("run", "test.yaml", "--json", cwd=tmp_path)
    assert run.returncode == 1
    report = document(run)
    assert list(report) == ["execution_id", "status", "error", "steps"]
    assert report["execution_id"] == listed(tmp_path)[0]["execution_id"]
    assert (report["status"], report["error"]["step"], report["error"]["kind"]) == ("failed", "bad", "python")
    assert report["steps"]["start"] == {"status": "completed", "runs": 1, "result": 1}
    assert report["steps"]["bad"]["error"]["message"] == "ZeroDivisionError: division by zero"
    assert set(report["steps"]["bad"]) == {"status", "runs", "error"}
    assert f"execution {report['execution_id']} test\n[bad] out\n" in run.stderr


def test_quiet_says_the_id_and_what_went_wrong_only(tmp_path: Path) -> None:
    write(tmp_path, FAILING)
    run = noetl("run", "test.yaml", "--quiet", cwd=tmp_path)
    identifier = listed(tmp_path)[0]["execution_id"]
    assert run.stdout == f"execution {identifier} test\nfailed at step 'bad': ZeroDivisionError: division by zero\n"
    assert "out" not in run.stderr
    write(tmp_path, HELLO)
    assert re.fullmatch(r"execution \d+ test\n", noetl("run", "test.yaml", "-q", cwd=tmp_path).stdout)


def test_the_payload_is_laid_over_the_workload_and_assignments_over_the_payload(tmp_path: Path) -> None:
    write(tmp_path, '- {step: start, tool: {kind: noop, result: "{{ workload }}"}}', head="workload: {a: {b: 1, c: 2}, list: [1, 2], text: x}")
    (tmp_path / "payload.json").write_text('{"a": {"b": 10}, "list": [3]}')
    options = ["--set", "a.d=[1, 2]", "--set", "text=not JSON", "--set", "a.e.f=true", "--set", 'number="5"']
    run = noetl("run", "test.yaml", "--json", "--payload", "@payload.json", *options, cwd=tmp_path)
    workload = {"a": {"b": 10, "c": 2, "d": [1, 2], "e": {"f": True}}, "list": [3], "text": "not JSON", "number": "5"}
    assert document(run)["steps"]["start"]["result"] == workload
    run = noetl("run", "test.yaml", "--json", "--payload", '{"a": null}', cwd=tmp_path)
    assert document(run)["steps"]["start"]["result"]["a"] is None


def test_a_playbook_is_found_by_its_catalog_path(tmp_path: Path) -> None:
    (tmp_path / "catalog" / "etl" / "daily").mkdir(parents=True)
    (tmp_path / "here").mkdir()
    write(tmp_path / "catalog" / "etl" / "daily", HELLO, name="daily")
    run = noetl("run", "etl/daily", cwd=tmp_path / "here", env={"NOETL_PLAYBOOK_PATH": str(tmp_path / "catalog")})
    assert run.returncode == 0, run.stderr


def test_noetl_home_is_where_everything_is_kept(tmp_path: Path) -> None:
    write(tmp_path, FAILING)
    noetl("run", "test.yaml", cwd=tmp_path, env={"NOETL_HOME": "elsewhere"})
    identifier = listed(tmp_path, "--store", "elsewhere")[0]["execution_id"]
    assert {"elsewhere/noetl.db", f"elsewhere/logs/{identifier}.jsonl"} <= files(tmp_path)
    assert ".noetl" not in files(tmp_path)


def test_a_store_that_is_a_file_has_its_directory_beside_it(tmp_path: Path) -> None:
    write(tmp_path, FAILING)
    run = noetl("run", "test.yaml", "--store", "my runs.db", cwd=tmp_path)
    identifier = listed(tmp_path, "--store", "my runs.db")[0]["execution_id"]
    assert f"my runs.db-files/logs/{identifier}.jsonl" in files(tmp_path)
    assert run.stderr.endswith(f"noetl run --resume {identifier} --store 'my runs.db'\n")


def test_a_store_in_memory_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    write(tmp_path, FAILING + '\n    - {step: big, tool: {kind: python, code: "result = list(range(50000))"}}')
    before = files(tmp_path)
    run = noetl("run", "test.yaml", "--store", "memory", "--json", cwd=tmp_path, env={"TMPDIR": str(tmp_path / "tmp")})
    assert (run.returncode, document(run)["status"]) == (1, "failed")
    assert "--resume" not in run.stderr, "there is nothing to resume"
    assert files(tmp_path) == before


def test_verbose_says_what_the_check_warns_of(tmp_path: Path) -> None:
    write(tmp_path, HELLO + "\n- {step: lost, tool: {kind: noop}}")
    assert "warning" not in noetl("run", "test.yaml", cwd=tmp_path).stderr
    run = noetl("run", "test.yaml", "-v", cwd=tmp_path)
    assert re.search(r"test.yaml:7:\d+: warning: ", run.stderr)


def test_a_guard_that_can_not_be_evaluated_is_a_warning_on_standard_error(tmp_path: Path) -> None:
    write(tmp_path, "- {step: start, next: {arcs: [{step: b, when: '{{ nothing > 1 }}'}]}}\n- {step: b}")
    for options in ([], ["--json"]):
        run = noetl("run", "test.yaml", *options, cwd=tmp_path)
        assert "warning: start: " in run.stderr
        assert run.returncode == 0


def test_a_setting_that_sets_nothing_is_a_warning(tmp_path: Path) -> None:
    write(tmp_path, HELLO)
    run = noetl("run", "test.yaml", cwd=tmp_path, env={"NOETL_HOEM": "x"})
    assert run.stderr == "warning: NOETL_HOEM sets nothing: did you mean NOETL_HOME?\n"
    assert run.returncode == 0


def test_there_are_no_colours_in_a_pipe(tmp_path: Path) -> None:
    write(tmp_path, FAILING)
    run = noetl("run", "test.yaml", cwd=tmp_path, env={"TERM": "xterm-256color"})
    rejected = noetl("run", "none.yaml", cwd=tmp_path, env={"TERM": "xterm-256color"})
    assert "\x1b" not in run.stdout + run.stderr + rejected.stderr


def test_a_reader_that_goes_away_does_not_stop_the_run(tmp_path: Path) -> None:
    write(tmp_path, "- {step: start, loop: {in: [1, 2]}, tool: {kind: python, code: print(1)}, next: b}\n- {step: b}\n")
    for options in ([], ["--json"]):
        process = subprocess.Popen(
            ["sh", "-c", f"{sys.executable} -m noetl run test.yaml {' '.join(options)} 2>/dev/null; echo exit $? >&2"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == "exit 0\n"
        process.stderr.close()
        process.wait()
    assert [execution["status"] for execution in listed(tmp_path)] == ["completed", "completed"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_an_output_that_can_not_be_written_is_said_and_the_run_goes_on(tmp_path: Path) -> None:
    write(tmp_path, HELLO)
    for options in ([], ["--json"]):
        with Path("/dev/full").open("w") as full:
            run = noetl("run", "test.yaml", *options, cwd=tmp_path, stdout=full)
        assert "error: the output can't be written: No space left on device\n" in run.stderr
        assert listed(tmp_path)[0]["status"] == "completed"
        assert run.returncode == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_list_that_can_not_be_written_is_said(tmp_path: Path) -> None:
    write(tmp_path, HELLO)
    noetl("run", "test.yaml", cwd=tmp_path)
    with Path("/dev/full").open("w") as full:
        found = noetl("executions", "list", cwd=tmp_path, stdout=full)
    assert (found.returncode, found.stderr) == (1, "error: the output can't be written: No space left on device\n")


def test_closed_streams_do_not_matter(tmp_path: Path) -> None:
    write(tmp_path, FAILING)
    run = subprocess.run(["sh", "-c", f"{sys.executable} -m noetl run test.yaml <&- >&- 2>&-"], cwd=tmp_path, check=False)
    assert run.returncode == 1
    assert listed(tmp_path)[0]["status"] == "failed"


def test_a_character_that_the_terminal_lacks_is_escaped(tmp_path: Path) -> None:
    write(tmp_path, "- {step: 'größe→', tool: {kind: noop, result: '→'}}")
    run = noetl("run", "test.yaml", cwd=tmp_path, env={"PYTHONIOENCODING": "latin-1"}, encoding="latin-1")
    assert run.returncode == 0, run.stderr
    assert "größe\\u2192" in run.stdout


def test_the_version_and_the_commands(tmp_path: Path) -> None:
    assert noetl("--version", cwd=tmp_path).stdout == f"noetl, version {__version__}\n"
    shown = noetl("--help", cwd=tmp_path).stdout
    assert re.findall(r"^  (\w+)  ", shown, re.MULTILINE) == sorted(COMMANDS)
    unknown = noetl("rnu", cwd=tmp_path)
    assert (unknown.returncode, "No such command 'rnu'" in unknown.stderr) == (2, True)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_there_is_completion_for_the_shell(tmp_path: Path, shell: str) -> None:
    script = noetl(cwd=tmp_path, env={"_NOETL_COMPLETE": f"{shell}_source"})
    assert "_NOETL_COMPLETE" in script.stdout, script.stderr
    completed = noetl(cwd=tmp_path, env={"_NOETL_COMPLETE": "bash_complete", "COMP_WORDS": "noetl executions c", "COMP_CWORD": "2"})
    assert completed.stdout == "plain,cancel\n"


def test_the_schema_is_one_json_document(tmp_path: Path) -> None:
    schema = json.loads(noetl("schema", cwd=tmp_path).stdout)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"


HEAVY = {"aiohttp", "asyncpg", "cryptography", "duckdb", "numpy", "pandas", "psutil", "pyarrow", "rich"}
LOADED = (
    "import atexit, sys; atexit.register(lambda: print('\\n'.join(sys.modules), file=open('modules', 'w'))); from noetl.cli.main import main; main()"
)


@pytest.mark.parametrize("arguments", [["--help"], ["run", "test.yaml"], ["run", "--json", "--store", "memory", "test.yaml"], ["executions", "list"]])
def test_a_plain_command_loads_nothing_heavy(tmp_path: Path, arguments: list[str]) -> None:
    write(tmp_path, HELLO)
    subprocess.run([sys.executable, "-c", LOADED, *arguments], cwd=tmp_path, capture_output=True, check=True)
    modules = set((tmp_path / "modules").read_text().split())
    assert modules & HEAVY == set()
    if arguments[0] != "run":
        assert "noetl.engine.execution" not in modules
    if arguments == ["--help"]:
        assert {name for name in modules if name.startswith("noetl.")} == {"noetl.cli", "noetl.cli.main"}
        assert "asyncio" not in modules


def test_many_runs_share_one_store_and_each_owns_its_shard(tmp_path: Path) -> None:
    write(
        tmp_path,
        "- {step: start, loop: {in: '{{ range(20) | list }}'}, tool: {kind: noop, result: '{{ item }}'}, next: sum}\n- {step: sum, tool: {kind: noop, result: '{{ start.results | sum }}'}}",
    )
    runs = [start("run", "test.yaml", cwd=tmp_path) for _ in range(5)]
    for process in runs:
        status, printed = ended(process)
        assert status == 0
        assert printed.endswith("completed\n\n190\n")
    assert [execution["status"] for execution in listed(tmp_path)] == ["completed"] * 5
    connection = sqlite3.connect(tmp_path / ".noetl" / "noetl.db")
    assert connection.execute("select count(distinct shard), count(*) from executions").fetchone() == (5, 5)
    assert connection.execute("select count(*) from shards where node is not null").fetchone() == (0,), "each has given its shard up"
    connection.close()


def test_what_tools_keep_for_an_execution_is_gone_when_it_has_completed(tmp_path: Path) -> None:
    write(tmp_path, "- {step: start, tool: {kind: duckdb, command: create table t (a int)}}")
    assert noetl("run", "test.yaml", cwd=tmp_path).returncode == 0
    assert not [name for name in files(tmp_path / ".noetl") if name.endswith(".duckdb")]
